"""What the proxy says when it does not let something through."""

from __future__ import annotations

from http import HTTPStatus


class Denied(Exception):
    """Against the policy: ``why``, the ``cure`` with the line to add, and the HTTP status that says so."""

    def __init__(self, why: str, cure: str = "", *, status: int = 403) -> None:
        super().__init__(why)
        self.why = why
        self.cure = cure
        self.status = status


class Failed(Exception):
    """Allowed, but it did not work: ``why``."""

    def __init__(self, why: str, *, status: int = 502) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


def answer(error: Denied | Failed) -> bytes:
    """Return a whole HTTP/1.1 response in plain words, after which the connection ends."""
    what = f"egress denied: {error.why}" if isinstance(error, Denied) else error.why
    cure = f"{error.cure}\n" if isinstance(error, Denied) and error.cure else ""
    body = f"runner: {what}\n{cure}".encode()
    phrase = HTTPStatus(error.status).phrase
    head = (
        f"HTTP/1.1 {error.status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
