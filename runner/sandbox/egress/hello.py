"""The first message of TLS (RFC 8446, 4.1.2), read strictly: which server does the client ask for?"""

from __future__ import annotations

from dataclasses import dataclass

MOST = 32_768
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ENCRYPTED_HELLO = 0xFE0D
_RECORD = 5
_LARGEST_RECORD = 1 << 14
_MAJOR = 3


@dataclass(frozen=True, slots=True)
class Hello:
    """``name`` is the server name as sent (None: none); ``encrypted``: another may be hidden in it."""

    name: str | None
    encrypted: bool


class NotTls(ValueError):
    """These bytes do not begin a TLS connection; the words say why."""


class _Reader:
    """Bytes taken from the front; raises ``NotTls`` where there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise NotTls("its first message is cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))

    def done(self) -> bool:
        return self.at == len(self.data)


def read_hello(data: bytes) -> Hello | None:
    """Return the hello that ``data`` begins with, None while more is needed; raises ``NotTls``."""
    message = _message(data)
    return None if message is None else _parse(message)


def _message(data: bytes) -> bytes | None:
    """Return the whole first handshake message, put together from its records, or None."""
    message, at = b"", 0
    while len(data) > at:
        size = _record(data[at : at + _RECORD])
        if size is None or len(data) < at + _RECORD + size:
            message += data[at + _RECORD :]
            break
        message += data[at + _RECORD : at + _RECORD + size]
        at += _RECORD + size
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):  # noqa: PLR2004
            return message
    _check_unfinished(message, data)
    return None


def _check_unfinished(message: bytes, data: bytes) -> None:
    if message and message[0] != _CLIENT_HELLO:
        raise NotTls("its first message is no ClientHello")
    if len(data) > MOST or int.from_bytes(message[1:4], "big") > MOST:
        raise NotTls("its first message is too long")


def _record(head: bytes) -> int | None:
    """Return the size of the record that ``head`` begins, or None while its head is not whole."""
    if head[0] != _HANDSHAKE or (len(head) > 1 and head[1] != _MAJOR):
        raise NotTls("it does not begin with a TLS handshake")
    if len(head) < _RECORD:
        return None
    size = int.from_bytes(head[3:], "big")
    if not 1 <= size <= _LARGEST_RECORD:
        raise NotTls("its first record has no proper size")
    return size


def _parse(message: bytes) -> Hello:
    reader = _Reader(message)
    if reader.number(1) != _CLIENT_HELLO:
        raise NotTls("its first message is no ClientHello")
    body = reader.vector(3)
    if not reader.done():
        raise NotTls("something follows its ClientHello in the same record")
    if body.take(2)[0] != _MAJOR:
        raise NotTls("its ClientHello has no proper version")
    body.take(32)
    for size in (1, 2, 1):
        body.vector(size)
    extensions = _extensions(body)
    name = extensions.get(_SERVER_NAME)
    return Hello(None if name is None else _server_name(name), _ENCRYPTED_HELLO in extensions)


def _extensions(body: _Reader) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if body.done():
        return found
    block = body.vector(2)
    if not body.done():
        raise NotTls("something follows its extensions")
    while not block.done():
        kind = block.number(2)
        if kind in found:
            raise NotTls("it has an extension twice")
        found[kind] = block.vector(2).data
    return found


def _server_name(data: bytes) -> str:
    reader = _Reader(data)
    names = reader.vector(2)
    kind, name = names.number(1), names.vector(2).data
    if kind or not names.done() or not reader.done():
        raise NotTls("it names more than one server")
    if not name or not all(0x21 <= byte <= 0x7E for byte in name):  # noqa: PLR2004 - printable ASCII
        raise NotTls("its server name is no name")
    return name.decode()
