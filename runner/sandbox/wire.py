"""The frames between the engine and ``sandbox-init``.

A frame is one byte of type, four bytes of big-endian payload length, and at most 1 MiB of payload. The
source of truth is the head of ``init/sandbox_init.c``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from runner.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.sandbox.base import Message, Outlet

VERSION = 2
MAX_PAYLOAD = 1 << 20

HELLO = ord("H")
BEGAN = ord("B")
STDOUT = ord("O")
STDERR = ord("E")
END = ord("Z")

OPEN = ord("o")
DATA = ord("d")
CREDIT = ord("c")
FINISH = ord("f")
RESET = ord("r")
OF_STREAMS = frozenset({OPEN, DATA, CREDIT, FINISH, RESET})

EXITED = 0
SIGNALLED = 1
TIMED_OUT = 2
NOT_EXECUTED = 3
BAD_MESSAGE = 4
STOPPED = 5
NO_OUTLET = 6
NOT_PROVED = 7

_HEADER = struct.Struct(">cI")
_STREAM = struct.Struct(">cII")
_TEN_YEARS = 315_576_000.0
_END = struct.Struct(">Bi")


@dataclass(frozen=True, slots=True)
class End:
    """Why init says the step ended: ``kind``, one of the constants above, and its ``code``.

    The code is a status for ``EXITED``, ``TIMED_OUT`` and ``STOPPED``, a signal for ``SIGNALLED``, else an
    errno, or what could not be proved (``enum proof``). A hint about the reason only: the engine's wait
    gives the exit code.
    """

    kind: int
    code: int


def encode_message(message: Message, outlets: Sequence[Outlet] = (), *, by_socket: bool = False) -> bytes:
    """Return the frames that start the step; raises ``SandboxError`` for what no process can be given.

    ``by_socket``: a socket stands in the sandbox that takes the outlets over.
    """
    frames = [_frame(b"A", _bytes(argument)) for argument in message.argv]
    frames += [_frame(b"E", _bytes(f"{name}={value}")) for name, value in message.env.items()]
    frames += [
        _frame(b"S", bytes([secret.as_env]) + secret.name.encode() + b"\0" + secret.value, secret.name)
        for secret in message.secrets
    ]
    frames += [
        _frame(b"L", struct.pack(">?4sH", by_socket, IPv4Address(outlet.address).packed, outlet.port))
        for outlet in outlets
    ]
    times = struct.pack(">QQ", _milliseconds(message.seconds), _milliseconds(message.grace))
    return b"".join([*frames, _frame(b"T", times), _frame(b"R", b"")])


def encode_kill(signal: int) -> bytes:
    """Return the frame that sends ``signal`` to the step's process group."""
    return _frame(b"K", bytes([signal]))


def encode_data(stream: int, data: bytes | memoryview) -> bytes:
    """Return the frame that carries bytes of a stream to the step."""
    return b"".join((_STREAM.pack(b"d", 4 + len(data), stream), data))


def encode_credit(stream: int, size: int) -> bytes:
    """Return the frame that asks for ``size`` more bytes of a stream."""
    return _STREAM.pack(b"c", 8, stream) + size.to_bytes(4, "big")


def encode_finish(stream: int) -> bytes:
    """Return the frame that says that no more bytes of a stream come."""
    return _STREAM.pack(b"f", 4, stream)


def encode_reset(stream: int) -> bytes:
    """Return the frame that breaks a stream."""
    return _STREAM.pack(b"r", 4, stream)


def decode_end(payload: bytes | memoryview) -> End:
    """Read the payload of an ``END`` frame; raises ``SandboxError`` for another length."""
    if len(payload) != _END.size:
        raise SandboxError("sandbox-init sent a malformed last frame")
    kind, code = _END.unpack(payload)
    return End(kind, code)


class FrameReader:
    """Cuts a byte stream into frames, however it was chunked.

    A payload that lies whole in what was fed is handed out as a view of it, not copied.
    """

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        """Begin at a frame's first byte."""
        self._rest = bytearray()
        self._need = _HEADER.size

    @property
    def unfinished(self) -> bool:
        """Whether the stream, if it ended now, would end inside a frame."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[tuple[int, memoryview]]:
        """Return the frames that ``data`` completes, as (type, payload).

        Raises ``SandboxError`` for a payload above 1 MiB: the stream is then lost.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest = bytearray()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[tuple[int, memoryview]]:
        view, at, size = memoryview(data), 0, len(data)
        frames: list[tuple[int, memoryview]] = []
        self._need = _HEADER.size
        while size - at >= _HEADER.size:
            start = at + _HEADER.size
            length = int.from_bytes(view[at + 1 : start], "big")
            if length > MAX_PAYLOAD:
                raise SandboxError(f"sandbox-init sent a frame of {length} bytes")
            if size - start < length:
                self._need = _HEADER.size + length
                break
            at = start + length
            frames.append((view[start - _HEADER.size], view[start:at]))
        self._rest += view[at:]
        return frames


def _frame(kind: bytes, payload: bytes, name: str = "an argument or variable") -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise SandboxError(f"{name} is longer than {MAX_PAYLOAD} bytes", cure="hand it on as a file")
    return _HEADER.pack(kind, len(payload)) + payload


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SandboxError("an argument or variable holds half a character (a lone surrogate)") from None


def _milliseconds(seconds: float) -> int:
    return round(min(max(0.0, seconds), _TEN_YEARS) * 1000)
