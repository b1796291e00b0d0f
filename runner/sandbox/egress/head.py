"""The head of an HTTP/1 request (RFC 9112), so strict that no two readers can understand it differently."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied
from runner.workflow.hosts import canonical_host

if TYPE_CHECKING:
    from runner.sandbox.egress.passage import Limits
    from runner.sandbox.egress.wires import Wire

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.([01])")
_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LONE = re.compile(rb"(?<!\r)\n|\r[^\n]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#%\\\s]+)(?::([0-9]{1,5}))?")
_FRAMING = (b"content-length", b"transfer-encoding", b"host")
_MOST_HEADERS = 100
_LAST_PORT = 65535
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head: header names in lower case, ``raw`` as it came."""

    method: bytes
    target: str
    minor: int
    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, in order."""
        return [value for each, value in self.headers if each == name]

    @property
    def has_body(self) -> bool:
        """Whether something is said to follow the head."""
        return bool(self.values(b"transfer-encoding")) or self.values(b"content-length") not in ([], [b"0"])


async def read_head(wire: Wire, limits: Limits, first: bytes) -> tuple[bytes, bytes]:
    """Return a head and what came after it, or two times nothing when none began.

    Raises ``Denied`` for one that is too long, too slow or ends its lines wrongly.
    """
    data = first
    try:
        async with asyncio.timeout(limits.head_seconds):
            while not _is_whole(data, limits.head_bytes):
                more = await wire.receive()
                if not more:
                    break
                data += more
    except TimeoutError:
        if data:
            raise Denied("a request head that took too long", status=408) from None
    if not data:
        return b"", b""
    if _END not in data:
        raise _bad("half a head")
    end = data.index(_END) + len(_END)
    return data[:end], data[end:]


def _is_whole(data: bytes, most: int) -> bool:
    """Whether a head has ended; raises ``Denied`` for one that may not go on."""
    end = data.find(_END)
    if _LONE.search(data, 0, end if end >= 0 else len(data)):
        raise _bad("lines that do not end in CR LF")
    if max(end, 0) > most or (end < 0 and len(data) > most):
        raise Denied(f"a request head of more than {most} bytes", status=431)
    return end >= 0


def parse_head(raw: bytes) -> Head:
    """Return the request of a whole head; raises ``Denied`` for anything ambiguous."""
    first, *lines = raw.removesuffix(_END).split(b"\r\n")
    line = _LINE.fullmatch(first)
    if not line:
        raise _bad("a request line that is none")
    if len(lines) > _MOST_HEADERS:
        raise Denied(f"more than {_MOST_HEADERS} headers", status=431)
    head = Head(line[1], line[2].decode(), int(line[3]), tuple(map(_header, lines)), raw)
    _check_framing(head)
    return head


def split_authority(text: str, default: int = 0) -> tuple[str, int]:
    """Return the canonical host and the port of ``HOST:PORT``; raises ``Denied``, also without any port."""
    match = _AUTHORITY.fullmatch(text)
    port = int(match[2] or default) if match else 0
    if not match or not 1 <= port <= _LAST_PORT:
        raise _bad(f"{text[:100]} in place of HOST:PORT")
    try:
        return canonical_host(match[1]), port
    except ValueError as error:
        raise _bad(str(error)) from None


def same_host(head: Head, host: str, port: int) -> bool:
    """Whether every ``Host`` of a request names this host; one without a port means any."""
    for value in head.values(b"host"):
        try:
            if split_authority(value.decode("latin-1"), port) != (host, port):
                return False
        except Denied:
            return False
    return True


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _TEXT.fullmatch(value):
        raise _bad("a header line that is none")
    return name.lower(), value.strip(b" \t")


def _check_framing(head: Head) -> None:
    if any(name not in _FRAMING and name.replace(b"_", b"-") in _FRAMING for name, _ in head.headers):
        raise _bad("a header that looks like another")
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if len(lengths) > 1 or (lengths and codings):
        raise _bad("its length given twice")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise _bad("a length that is no number")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked" or not head.minor):
        raise _bad("a transfer coding that is not just chunked")
    if len(head.values(b"host")) > 1:
        raise _bad("two Host headers")


def _bad(what: str) -> Denied:
    return Denied(f"a request with {what}", status=400)
