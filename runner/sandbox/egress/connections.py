"""The connections of one sandbox that its carrier holds: so many at once, none once the sandbox is gone."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.base import Carrier

MOST = 256


class Connections:
    """Hands connections to ``carrier`` and knows which of them are open."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._lock = threading.Lock()
        self._free = threading.Semaphore(MOST)
        self._open: set[_Counted] = set()
        self._closed = False

    def await_room(self) -> bool:
        """Take one place, once there is one; False when the sandbox is gone."""
        self._free.acquire()
        return not self._closed

    def take_room(self) -> bool:
        """Take one place, if there is one now."""
        return self._free.acquire(blocking=False)

    def give_room_back(self) -> None:
        """Return a place that was taken for nothing."""
        self._free.release()

    def hand_on(self, outlet: int, connection: socket.socket) -> None:
        """Give the carrier a connection that a place was taken for; the connection is then its own."""
        family, kind = connection.family, connection.type
        counted = _Counted(family, kind, fileno=connection.detach())
        counted.when_closed = self._forget
        with self._lock:
            self._open.add(counted)
            closed = self._closed
        if closed:
            counted.close()
        else:
            self._carrier.carry(outlet, counted)

    def close(self) -> None:
        """End every connection that is still open; whoever holds it reads its end and closes it."""
        with self._lock:
            self._closed = True
            left = list(self._open)
        self._free.release()
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _forget(self, connection: _Counted) -> None:
        with self._lock:
            known = connection in self._open
            self._open.discard(connection)
        if known:
            self._free.release()


class _Counted(socket.socket):
    """A connection that says when it is closed, or given away."""

    when_closed: Callable[[_Counted], None] | None = None

    def close(self) -> None:
        super().close()
        self._tell()

    def detach(self) -> int:
        descriptor = super().detach()
        self._tell()
        return descriptor

    def _tell(self) -> None:
        if self.when_closed is not None:
            self.when_closed(self)
