"""First messages of TLS as no library would send them."""

from __future__ import annotations

import itertools

Extension = tuple[int, bytes]


def server_names(*names: tuple[int, bytes]) -> Extension:
    listed = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for kind, name in names)
    return 0, len(listed).to_bytes(2, "big") + listed


def sni(name: str) -> Extension:
    return server_names((0, name.encode()))


def client_hello(*extensions: Extension, tail: bytes = b"", version: bytes = b"\x03\x03") -> bytes:
    """Return the handshake message."""
    block = b"".join(
        kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in extensions
    )
    body = (
        version
        + bytes(32)
        + b"\x00"
        + b"\x00\x02\x13\x01"
        + b"\x01\x00"
        + len(block).to_bytes(2, "big")
        + block
        + tail
    )
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(message: bytes, *sizes: int) -> bytes:
    """Return a message in records of the given sizes; the last ones are as large as they may be."""
    out, at = b"", 0
    for size in itertools.chain(sizes, itertools.repeat(1 << 14)):
        if at >= len(message):
            return out
        part = message[at : at + size]
        out += b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
        at += size
    return out
