"""The other way out: connections as streams of PID 1's wire, where no socket can be shared.

Each stream has a window each way, of a size that PID 1 says: whoever takes bytes says so, and only then do
more come. What nobody takes waits at its own source, and the wire never waits for it. Whoever reads the wire
never writes to it: PID 1 may be waiting to be read.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sandbox import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.egress.connections import Connections

_CHUNK = 64 * 1024 - 9  # with its head, a frame fills a pipe once
_WINDOWS = 40 << 20  # what PID 1 gives all its streams together, and what they may keep here
_OPENING = 5
_PATIENCE = 1.0
_PAUSE = 0.005
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR


@dataclass(slots=True, eq=False)
class _Stream:
    """One connection: ``ours`` is the other end of the carrier's.

    ``credit`` bytes may go to the step; ``owed`` bytes were taken from it since PID 1 was told.
    ``ended``: the carrier said all. ``finishing``: the step did, and the rest of it is ``pending``;
    ``finished``: the carrier has that too. ``watched`` is what we wait for.
    """

    number: int
    ours: socket.socket
    window: int
    credit: int
    owed: int = 0
    pending: bytearray = field(default_factory=bytearray)
    ended: bool = False
    finishing: bool = False
    finished: bool = False
    watched: int = 0

    @property
    def wanted(self) -> int:
        reading = _READ if self.credit and not self.ended else 0
        return reading | (_WRITE if self.pending else 0)


class Streams:
    """All streams of one sandbox; ``send`` writes to PID 1, ``take`` is told what PID 1 wrote."""

    def __init__(self, send: Callable[[bytes], None], connections: Connections) -> None:
        """Start nothing before the first connection."""
        self._send = send
        self._connections = connections
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._watched: dict[int, _Stream] = {}
        self._poll: select.epoll | None = None
        self._wake = -1
        self._words: list[bytes] = []
        self._closed = False
        self._patience = 0.0
        self._thread: threading.Thread | None = None

    def take(self, kind: int, payload: bytes) -> None:
        """Obey a frame of PID 1; one of a stream that is no more means nothing."""
        number, body = int.from_bytes(payload[:4], "big"), memoryview(payload)[4:]
        if self._poll is None:
            self._begin()
        if kind == wire.OPEN:
            if len(body) == _OPENING and number not in self._streams:
                self._open(number, body[0], int.from_bytes(body[1:], "big"))
            return
        with self._lock:
            stream = self._streams.get(number)
            words = self._heed(stream, kind, body) if stream else b""
        if words:
            self._reply(words)

    def end(self) -> None:
        """Nothing comes from PID 1 any more: what it said before is still given to the carriers."""
        with self._lock:
            self._patience = _PATIENCE
            for stream in list(self._streams.values()):
                stream.ended = stream.finishing = True
                self._settle(stream)

    def close(self) -> None:
        """Drop every stream, once the carriers had a while to take the last of it, and end the thread."""
        until = time.monotonic() + self._patience
        while self._streams and time.monotonic() < until:
            time.sleep(_PAUSE)
        with self._lock:
            for stream in list(self._streams.values()):
                self._drop(stream)
            self._closed = True
        if self._thread:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            self._thread = None
            with (
                self._lock
            ):  # not by the thread: its number may be another's by the time that it is written to
                os.close(self._wake)
                self._wake = -1

    def _open(self, number: int, outlet: int, window: int) -> None:
        with self._lock:
            kept = window + sum(stream.window for stream in self._streams.values())
        if kept > _WINDOWS or not self._connections.take_room():  # its carrier is slower than the step
            self._reply(wire.encode_reset(number))
            return
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, window)
        with self._lock:
            stream = self._streams[number] = _Stream(number, ours, window, window)
            self._watch(stream)
        self._connections.hand_on(outlet, theirs)

    def _reply(self, words: bytes) -> None:
        """Have the thread write to the wire."""
        with self._lock:
            self._words.append(words)
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _begin(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wake, _READ)
        self._thread = threading.Thread(target=self._live, args=(self._poll,), name="streams", daemon=True)
        self._thread.start()

    def _live(self, poll: select.epoll) -> None:
        """Move what the carriers say, and what they did not take at once."""
        with poll:
            while not self._closed:
                for descriptor, events in poll.poll():
                    if descriptor == self._wake:
                        os.eventfd_read(descriptor)
                    with self._lock:
                        stream = self._watched.get(descriptor)
                        words = self._move(stream, events) if stream else b""
                        due, self._words = [*self._words, words], []
                    self._say(b"".join(due))

    def _heed(self, stream: _Stream, kind: int, body: memoryview) -> bytes:
        if kind == wire.DATA and len(stream.pending) + len(body) > stream.window:
            self._drop(stream)
            return wire.encode_reset(stream.number)
        if kind == wire.DATA:
            stream.pending += body
            return self._give(stream)
        if kind == wire.CREDIT:
            stream.credit += int.from_bytes(body, "big")
        elif kind == wire.FINISH:
            stream.finishing = True
        elif kind == wire.RESET:
            self._drop(stream)
            return b""
        self._settle(stream)
        return b""

    def _move(self, stream: _Stream, events: int) -> bytes:
        words = self._give(stream) if events & _WRITE else b""
        if events & (_READ | _GONE) and stream.wanted & _READ and stream.number in self._streams:
            words += self._hear(stream)
        return words

    def _give(self, stream: _Stream) -> bytes:
        """Give the carrier what it takes now; return what PID 1 is to be told."""
        try:
            taken = stream.ours.send(stream.pending)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._drop(stream)
            return wire.encode_reset(stream.number)
        del stream.pending[:taken]
        stream.owed += taken
        self._settle(stream)
        if stream.owed < stream.window // 4:
            return b""
        owed, stream.owed = stream.owed, 0
        return wire.encode_credit(stream.number, owed)

    def _hear(self, stream: _Stream) -> bytes:
        """Return as a frame what the carrier said."""
        try:
            data = stream.ours.recv(min(_CHUNK, stream.credit))
        except BlockingIOError:
            return b""
        except OSError:
            self._drop(stream)
            return wire.encode_reset(stream.number)
        stream.credit -= len(data)
        stream.ended = not data
        self._settle(stream)
        return wire.encode_data(stream.number, data) if data else wire.encode_finish(stream.number)

    def _settle(self, stream: _Stream) -> None:
        """Pass the step's end on when it is due, and wait for what is still to come."""
        if stream.finishing and not stream.pending and not stream.finished:
            stream.finished = True
            with suppress(OSError):
                stream.ours.shutdown(socket.SHUT_WR)
        if stream.ended and stream.finished:
            self._drop(stream)
        else:
            self._watch(stream)

    def _watch(self, stream: _Stream) -> None:
        """Have the poll wait for what is wanted of a stream; of one that wants nothing, not even its end."""
        if self._poll is None or stream.wanted == stream.watched:
            return
        descriptor = stream.ours.fileno()
        if stream.watched and stream.wanted:
            self._poll.modify(descriptor, stream.wanted)
        elif stream.wanted:
            self._poll.register(descriptor, stream.wanted)
            self._watched[descriptor] = stream
        else:
            self._poll.unregister(descriptor)
            del self._watched[descriptor]
        stream.watched = stream.wanted

    def _drop(self, stream: _Stream) -> None:
        if self._streams.pop(stream.number, None):
            self._watched.pop(stream.ours.fileno(), None)
            stream.ours.close()

    def _say(self, words: bytes) -> None:
        if words:
            with suppress(OSError):  # the sandbox is gone; its end is read elsewhere
                self._send(words)
