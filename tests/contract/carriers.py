"""Small carriers for tests: each connection is served by a function in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

PIECE = bytes(range(256)) * 256


class Serving:
    """Gives each connection to ``serve``; ``errors`` are what broke, ``numbers`` the outlets used."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self.numbers: list[int] = []
        self.errors: list[OSError] = []

    def carry(self, outlet: int, connection: socket.socket) -> None:
        self.numbers.append(outlet)
        thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            try:
                self._serve(connection)
            except OSError as error:
                self.errors.append(error)

    def finish(self) -> None:
        """Wait for every connection's end; fails when one lives on."""
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive()


def echo(connection: socket.socket) -> None:
    """Send back what comes, until the other side has said all."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def deny(connection: socket.socket) -> None:
    """Answer as the proxy does to what nobody may reach."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def download(pieces: int) -> Callable[[socket.socket], None]:
    """Send ``pieces`` times ``PIECE`` (64 KiB)."""

    def serve(connection: socket.socket) -> None:
        for _ in range(pieces):
            connection.sendall(PIECE)

    return serve


def upper(connection: socket.socket) -> None:
    """Read all, and only then answer: what needs a half-closed connection."""
    with connection.makefile("rb") as said, contextlib.suppress(BrokenPipeError):
        connection.sendall(said.read().upper())
