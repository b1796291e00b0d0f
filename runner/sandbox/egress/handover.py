"""The fast way out: PID 1 hands its listening sockets over, and the runner accepts from them itself.

A unix socket of the attempt's own stands in the sandbox. PID 1 connects to it before the step begins, sends
the descriptors, and waits for the answer, by which time nobody listens there any more. What a step then sends
goes by the kernel straight from its socket to ours.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.sandbox.base import Outlet
    from runner.sandbox.egress.connections import Connections

_PATIENCE = 10.0
_PAUSE = 0.05
_ANY_USER = 0o666  # its folder lets nobody else near it


class Handover:
    """Takes over the outlets of one sandbox by the socket at ``path``."""

    def __init__(self, path: Path, outlets: Sequence[Outlet]) -> None:
        """Listen, so that the socket can be mounted; raises ``OSError``."""
        self._path = path
        self._places = [(outlet.address, outlet.port) for outlet in outlets]
        self._listener = _listen(path)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    def begin(self, connections: Connections) -> None:
        """Wait for PID 1 in a thread, and hand on what its sockets accept."""
        self._thread = threading.Thread(target=self._serve, args=(connections,), name="outlets", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Accept no more, once what is already there was accepted."""
        if self._stop >= 0:
            os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        """Stop listening and remove the socket; may be called twice."""
        self.end()
        if self._thread:
            self._thread.join()
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _serve(self, connections: Connections) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            sockets = self._take_over(selector)
            try:
                self._accept(selector, sockets, connections)
            finally:
                for one in sockets:
                    one.close()

    def _take_over(self, selector: selectors.BaseSelector) -> list[socket.socket]:
        """Return the sandbox's listening sockets, in the outlets' order; none when PID 1 has another way."""
        selector.register(self._listener, selectors.EVENT_READ)
        stopped = any(key.fd == self._stop for key, _ in selector.select())
        selector.unregister(self._listener)
        sockets: list[socket.socket] = []
        with suppress(OSError):
            if not stopped:
                sockets = self._receive()
        self._listener.close()
        return sockets

    def _receive(self) -> list[socket.socket]:
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            connection.settimeout(_PATIENCE)
            _, descriptors, _, _ = socket.recv_fds(connection, 1, len(self._places))
            sockets = [socket.socket(fileno=one) for one in descriptors]
            if [one.getsockname() for one in sockets] == self._places:
                connection.sendall(b"\x01")
                return sockets
        for one in sockets:
            one.close()
        return []

    def _accept(
        self, selector: selectors.BaseSelector, sockets: Sequence[socket.socket], connections: Connections
    ) -> None:
        for number, one in enumerate(sockets):
            one.settimeout(0)
            selector.register(one, selectors.EVENT_READ, number)
        while sockets:
            ready = [key for key, _ in selector.select()]
            last = any(key.fd == self._stop for key in ready)
            for number, one in enumerate(sockets):
                waits = last or any(key.data == number for key in ready)
                while waits:
                    waits = _welcome(one, number, connections) and last
            if last:
                return


def _welcome(listening: socket.socket, number: int, connections: Connections) -> bool:
    """Hand on one connection; False when there is none, or the sandbox is gone."""
    if not connections.await_room():
        return False
    try:
        connection, _ = listening.accept()
    except OSError as error:
        connections.give_room_back()
        if not isinstance(error, BlockingIOError):  # the process is short of descriptors: no haste
            time.sleep(_PAUSE)
        return False
    connections.hand_on(number, connection)
    return True


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path may be longer than an address
        path.chmod(_ANY_USER)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener
