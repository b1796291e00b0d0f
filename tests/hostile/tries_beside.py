"""Hostile steps that need another one beside them, or time: ``python3 tries_beside.py ROLE URL``.

``URL`` is a server's where ``/meet`` answers once two have come.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = sys.argv[2]
PROXY = ("127.0.0.1", 3128)
NEIGHBOUR = 7777
ABSTRACT = "\0runner-hostile-neighbour"
MANY = 1000
FRAME = ">cI"


def tell(**words: object) -> None:
    print(json.dumps(words), flush=True)


def get(path: str, seconds: float = 60) -> str:
    """Return what the server answers, or why it does not."""
    try:
        return urllib.request.urlopen(f"{URL}{path}", timeout=seconds).read().decode()  # noqa: S310
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return str(error)


def listeners() -> Iterator[socket.socket]:
    yield socket.create_server(("127.0.0.1", NEIGHBOUR))
    for place in (ABSTRACT, "/tmp/neighbour"):
        one = socket.socket(socket.AF_UNIX)
        one.bind(place)
        one.listen()
        yield one


def victim() -> None:
    """Listen wherever a neighbour could come from, and count who comes."""
    ears = list(listeners())
    met, came = get("/meet"), 0
    end = time.monotonic() + 6
    for ear in ears:
        ear.settimeout(0)
    while time.monotonic() < end:
        for ear in ears:
            with contextlib.suppress(OSError):
                ear.accept()
                came += 1
        time.sleep(0.02)
    tell(met=met, came=came)


def intruder() -> None:
    """Look for the neighbour, its sockets and its processes."""
    met, found = get("/meet"), []
    places = [(socket.AF_INET, ("127.0.0.1", NEIGHBOUR)), (socket.AF_UNIX, ABSTRACT)]
    places += [(socket.AF_UNIX, "/tmp/neighbour"), (socket.AF_UNIX, "/.runner/carrier")]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for family, place in places:
            with contextlib.suppress(OSError), socket.socket(family) as peer:
                peer.connect(place)
                found.append(str(place))
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [str(path)] * (b"\0victim\0" in path.read_bytes())
        found += [line for line in Path("/proc/net/unix").read_text().splitlines() if "neighbour" in line]
        time.sleep(0.2)
    tell(met=met, found=found)


def flooder() -> None:
    """Fill the way out: a thousand connections that say nothing, half a request, or never read."""
    kept: list[socket.socket] = []
    refused = 0
    for number in range(MANY):
        try:
            peer = socket.create_connection(PROXY, timeout=0.2)
            peer.send((b"", b"CONNECT evil.exa", b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")[number % 3])
            kept.append(peer)
        except OSError:
            refused += 1
            if refused > 20:
                break
    other = f"import sys; sys.argv[1:] = ['other', '{URL}']; sys.path.insert(0, '/app'); import tries_beside as it"
    asked = subprocess.run(
        [sys.executable, "-c", f"{other}; print(it.get('/', 8))"], capture_output=True, text=True, check=False
    )
    for peer in kept:
        peer.close()
    time.sleep(1)
    tell(kept=len(kept), meanwhile=asked.stdout + asked.stderr[-300:], after=get("/"))


def eater() -> None:
    """Read what never ends."""
    got = 0
    cut_off = (OSError, http.client.HTTPException)
    with contextlib.suppress(*cut_off), urllib.request.urlopen(f"{URL}/flood") as answer:  # noqa: S310
        while more := answer.read(4096):
            got += len(more)
    tell(got=got)


def leaver() -> None:
    """Leave a process behind that holds a connection, and end."""
    if os.fork():
        time.sleep(2)
        return
    os.setsid()
    for number in (0, 1, 2):
        os.close(number)
    get("/hang")


def frame(kind: bytes, body: bytes) -> bytes:
    return struct.pack(FRAME, kind, len(body)) + body


def forger() -> None:
    """Speak as PID 1, where that can be reached: first nonsense, then a stream to another outlet than there is."""
    stream = struct.pack(">I", 200)
    nonsense = frame(b"o", b"") + frame(b"o", struct.pack(">IBI", 201, 0, 0xFFFFFFFF)) + frame(b"c", stream)
    opened = frame(b"o", stream + b"\x07" + struct.pack(">I", 1 << 20))
    ask = frame(b"d", stream + b"CONNECT forged.example:443 HTTP/1.1\r\n\r\n")
    wrote = 0
    with contextlib.suppress(OSError):
        wrote = os.write(os.open("/proc/1/fd/1", os.O_WRONLY), nonsense + opened + ask)
    time.sleep(1)
    tell(wrote=wrote, after=get("/"))


def once() -> None:
    """Read what does not end the first time."""
    got = get("/once", 100)
    tell(got=got[:20])


def asker() -> None:
    """Ask again and again."""
    asked = [get("/") for _ in range(int(os.environ.get("TIMES", "40")))]
    tell(asked=len(asked), other=sorted({each for each in asked if each != "hello"}))


if __name__ == "__main__":
    roles = (victim, intruder, flooder, eater, leaver, forger, once, asker)
    {each.__name__: each for each in roles}[sys.argv[1]]()
