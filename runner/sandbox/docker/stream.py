"""The two-way byte stream of a container: the engine's framing around sandbox-init's framing.

The engine's frame: 1 byte stream (1 stdout, 2 stderr), 3 bytes zero, 4 bytes big-endian length, payload.
https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerAttach
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading

from runner.sandbox.wire import FrameReader

_HEADER = 8
_STDOUT = b"\x01"
_RECEIVE = 256 * 1024
_SENDING = 30.0


class Demultiplexer:
    """Takes the engine's frames off; what a container writes on stderr is not protocol and is kept apart."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._stream = 1
        self.complaint = b""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of stdout in ``data``, which may be cut anywhere."""
        view, at, pieces = memoryview(data), 0, []
        while at < len(data):
            if self._left == 0:
                at = self._take_head(data, at)
                continue
            piece = view[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._stream == 1:
                pieces.append(piece)
            else:
                self.complaint = (self.complaint + bytes(piece))[-1000:]
        return b"".join(pieces)

    def _take_head(self, data: bytes, at: int) -> int:
        missing = _HEADER - len(self._head)
        self._head += data[at : at + missing]
        if len(self._head) == _HEADER:
            self._stream = self._head[0]
            self._left = int.from_bytes(self._head[4:], "big")
            self._head = b""
        return at + missing


class Wire:
    """Sends to and receives from PID 1; ``send`` may come from any thread, ``receive`` from one."""

    def __init__(self, stream: socket.socket, already: bytes) -> None:
        self._stream = stream
        self._already = already
        self._demultiplexer = Demultiplexer()
        self._frames = FrameReader()
        self._sending = threading.Lock()
        self.ended = False

    def send(self, data: bytes) -> None:
        """Send all of ``data``; raises ``OSError`` when nobody listens any more."""
        with self._sending:
            self._stream.settimeout(_SENDING)
            self._stream.sendall(data)

    def receive(self, seconds: float) -> list[tuple[int, bytes]] | None:
        """Return the frames that came next, None at the end; raises ``TimeoutError`` after ``seconds``.

        Raises ``SandboxError`` when what came is no frame.
        """
        if self.ended:
            return None
        data, self._already = self._already, b""
        if not data:
            data = self._read(seconds)
        if not data:
            self.ended = True
            return None
        frames = self._frames.feed(self._demultiplexer.feed(data))
        return [(kind, bytes(payload)) for kind, payload in frames]

    def speaks_before(self, other: int, seconds: float) -> bool:
        """Whether PID 1 says something before the descriptor ``other`` does, in ``seconds`` at most."""
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        poll.register(other, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        if self._stream.fileno() not in ready:
            return False
        return self._stream.recv(1, socket.MSG_PEEK) == _STDOUT

    @property
    def complaint(self) -> str:
        """The last that PID 1 or the runtime wrote on stderr."""
        return self._demultiplexer.complaint.decode(errors="replace").strip()

    def close(self) -> None:
        """Hang up: PID 1 then kills everything in the sandbox."""
        self.ended = True
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()

    def _read(self, seconds: float) -> bytes:
        try:
            self._stream.settimeout(seconds)
            return self._stream.recv(_RECEIVE)
        except TimeoutError:
            raise
        except OSError:
            return b""
