"""Outlets as streams of the wire, spoken to byte by byte: the real sandbox-init in a bare bubblewrap."""

from __future__ import annotations

import errno
import struct
import time
from typing import TYPE_CHECKING

import pytest
from test_init import Init

from runner.sandbox import wire
from runner.sandbox.base import Message, Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Outlet("127.0.0.1", 4000)
PROXY = Outlet("127.0.0.1", 3128)
CLIENT = """
import socket, sys
def connect(): return socket.create_connection(("127.0.0.1", 4000))
"""


@pytest.fixture
def init() -> Iterator[Init]:
    one = Init()
    with one.process:
        yield one
        one.process.kill()


def begin(init: Init, code: str, *outlets: Outlet) -> None:
    argv = ("python3", "-c", CLIENT + code)
    message = Message(argv, {"PATH": "/usr/local/bin:/usr/bin:/bin"}, (), {}, 20, 5)
    init.send(wire.encode_message(message, outlets or (HERE,)))


def await_frame(init: Init, kind: int, after: int = 0) -> tuple[int, bytes]:
    """Return the stream and the rest of the first frame of this kind."""
    while not (found := [body for each, body in init.frames[after:] if each == kind]):
        assert init.read()
    return int.from_bytes(found[0][:4], "big"), found[0][4:]


def data_of(init: Init, stream: int) -> bytes:
    frames = [body for kind, body in init.frames if kind == wire.DATA]
    return b"".join(body[4:] for body in frames if int.from_bytes(body[:4], "big") == stream)


def test_a_connection_is_a_stream_with_a_window_and_both_ends(init: Init) -> None:
    begin(
        init,
        "s = connect(); s.sendall(b'question'); s.shutdown(1)\n"
        "got = b''\nwhile more := s.recv(9): got += more\nprint(got.decode())",
    )
    stream, opened = await_frame(init, wire.OPEN)
    outlet, window = struct.unpack(">BI", opened)
    assert (outlet, window) == (0, 1 << 20)
    await_frame(init, wire.FINISH)
    assert data_of(init, stream) == b"question"
    init.send(wire.encode_data(stream, b"the whole ") + wire.encode_data(stream, b"answer"))
    init.send(wire.encode_finish(stream))
    assert init.status() == 0
    assert init.output() == b"the whole answer\n"


def test_the_step_sends_no_more_than_its_window_until_more_is_welcome(init: Init) -> None:
    begin(init, "s = connect(); s.sendall(bytes(3 << 20)); print('sent')")
    stream, opened = await_frame(init, wire.OPEN)
    window = struct.unpack(">BI", opened)[1]
    while len(data_of(init, stream)) < window:
        assert init.read()
    time.sleep(0.3)
    assert len(data_of(init, stream)) == window
    init.send(wire.encode_credit(stream, 1 << 19))
    while len(data_of(init, stream)) < window + (1 << 19):
        assert init.read()
    init.send(wire.encode_credit(stream, 4 << 20))
    assert init.status() == 0
    assert len(data_of(init, stream)) == 3 << 20


def test_what_the_step_does_not_read_waits_and_more_than_the_window_breaks_the_stream(init: Init) -> None:
    begin(init, "import time; s = connect(); time.sleep(1.5); print(len(s.recv(99, socket.MSG_WAITALL)))")
    stream, opened = await_frame(init, wire.OPEN)
    window = struct.unpack(">BI", opened)[1]
    piece = wire.encode_data(stream, bytes(1 << 16))
    init.send(piece * (window >> 16))
    init.send(piece * (16 << 4))  # what its kernel holds, and far more
    assert await_frame(init, wire.RESET)[0] == stream
    assert init.process.poll() is None


@pytest.mark.parametrize("by", ["carrier", "step"])
def test_a_broken_stream_ends_on_both_sides_and_its_number_is_not_used_again(init: Init, by: str) -> None:
    breaks = "import struct; s.setsockopt(1, 13, struct.pack('ii', 1, 0)); s.close()\n"
    waits = "try: s.recv(1)\nexcept ConnectionResetError: print('reset')\n"
    again = "s = connect(); s.sendall(b'again'); s.shutdown(1); s.recv(1)\n"
    begin(init, "s = connect(); s.sendall(b'x')\n" + (waits if by == "carrier" else breaks) + again)
    first, _ = await_frame(init, wire.OPEN)
    if by == "carrier":
        await_frame(init, wire.DATA)
        init.send(wire.encode_reset(first))
    else:
        assert await_frame(init, wire.RESET)[0] == first
    seen = next(i for i, (kind, _) in enumerate(init.frames) if kind == wire.OPEN) + 1
    second, _ = await_frame(init, wire.OPEN, seen)
    assert second != first
    init.send(wire.encode_data(first, b"late") + wire.encode_finish(first) + wire.encode_credit(first, 9))
    init.send(wire.encode_finish(second))
    assert init.status() == 0
    assert data_of(init, second) == b"again"
    assert init.output() == (b"reset\n" if by == "carrier" else b"")


@pytest.mark.parametrize(
    "frame",
    [
        b"L\0\0\0\6\0\x7f\0\0\1\x0f",
        b"L\0\0\0\7\2\x7f\0\0\1\x0f\xa0",
        b"L\0\0\0\7\0\x0a\0\0\1\x0f\xa0",
        b"L\0\0\0\7\0\0\0\0\0\x0f\xa0",
        b"L\0\0\0\7\0\x7f\0\0\1\x0f\xa0" * 33,
        b"d\0\0\0\4\0\0\0\0",
    ],
    ids=["short", "flags", "outside", "any", "many", "parked"],
)
def test_an_outlet_that_makes_no_sense_is_125(init: Init, frame: bytes) -> None:
    init.send(frame)
    assert init.status() == 125
    assert init.end().kind == wire.BAD_MESSAGE


def test_a_stream_s_frame_without_outlets_is_125(init: Init) -> None:
    init.step("echo up; sleep 60")
    init.read_until(b"up")
    init.send(wire.encode_finish(0))
    assert init.status() == 125


def test_a_port_that_may_not_be_listened_on_ends_it_before_the_step(init: Init) -> None:
    begin(init, "print('ran')", Outlet("127.0.0.1", 443))
    assert init.status() == 125
    assert init.end() == wire.End(wire.NO_OUTLET, errno.EACCES)
    assert init.output() == b""


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", wire.End(wire.EXITED, 0)),
        (b"HTTP/1.0 403 Forbidden\r\n\r\n", wire.End(wire.NOT_PROVED, 4)),
        (b"HTTP/1.1 200 OK\r\n\r\n", wire.End(wire.NOT_PROVED, 4)),
        (b"HTTP/1.1", wire.End(wire.NOT_PROVED, 3)),
    ],
)
def test_the_step_begins_only_when_the_proxy_has_refused(init: Init, answer: bytes, end: wire.End) -> None:
    begin(init, "print('ran')", PROXY)
    stream, _ = await_frame(init, wire.OPEN)
    await_frame(init, wire.DATA)
    assert (wire.BEGAN, b"") not in init.frames
    for size in (5, 30):
        init.send(wire.encode_data(stream, answer[:size]))
        answer = answer[size:]
    init.send(wire.encode_finish(stream))
    init.status()
    assert data_of(init, stream).startswith(b"CONNECT canary.runner.invalid:443 HTTP/1.1\r\nHost: ")
    assert init.end() == end
    assert init.output() == (b"ran\n" if end.kind == wire.EXITED else b"")


def test_everything_dies_when_the_runner_goes_away_before_the_proxy_answered(init: Init) -> None:
    begin(init, "print('ran')", PROXY)
    await_frame(init, wire.DATA)
    assert init.process.stdin is not None
    init.process.stdin.close()
    assert init.status() == 137
