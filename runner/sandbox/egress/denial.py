"""What the proxy says when it does not let something through."""

from __future__ import annotations

import os

_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
ACCESS_DENIED = b"\x15\x03\x01\x00\x02\x02\x31"


class Denied(Exception):
    """Against the policy: ``why``, the ``cure`` with the line to add, and the HTTP status that says so.

    ``alert`` says it to a client that does not speak HTTP: of TLS (RFC 8446, 6.2), unless it speaks another.
    """

    def __init__(self, why: str, cure: str = "", *, status: int = 403, alert: bytes = ACCESS_DENIED) -> None:
        super().__init__(why)
        self.why = why
        self.cure = cure
        self.status = status
        self.alert = alert


class Failed(Exception):
    """Allowed, but it did not work: ``why``."""

    def __init__(self, why: str, *, status: int = 502) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


def in_words(error: OSError) -> str:
    """Return what the network's error says to people."""
    reason = getattr(error, "reason", None)  # ``ssl.SSLError`` has numbers of its own
    if isinstance(reason, str):
        return f"TLS: {reason.lower().replace('_', ' ')}"
    return os.strerror(error.errno) if error.errno else str(error)


def answer(error: Denied | Failed) -> bytes:
    """Return a whole HTTP/1.1 response in plain words, after which the connection ends."""
    what = f"egress denied: {error.why}" if isinstance(error, Denied) else error.why
    cure = f"{error.cure}\n" if isinstance(error, Denied) and error.cure else ""
    body = f"runner: {what}\n{cure}".encode()
    head = (
        f"HTTP/1.1 {error.status} {_PHRASES[error.status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
