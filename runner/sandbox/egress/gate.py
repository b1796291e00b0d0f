"""One attempt's gate: takes the connections that its sandbox makes, and costs nothing before the first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runner.errors import SandboxError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from runner.sandbox.egress.desk import Desk
    from runner.sandbox.egress.rules import Connection, Policy, Rule
    from runner.sandbox.egress.services import Services


class Gate:
    """A ``Carrier`` whose proxy may still be loading: only a connection waits for it."""

    def __init__(
        self,
        services: Future[Services],
        policy: Policy,
        outlets: Sequence[Rule | None],
        report: Callable[[Connection], None],
    ) -> None:
        """``report`` is called from the proxy's thread for what ended or was denied."""
        self._services = services
        self._policy = policy
        self._outlets = tuple(outlets)
        self._report = report
        self._desk: Desk | None = None
        self._wrong: SandboxError | None = None
        self._opening = threading.Lock()
        self.closed = False

    def carry(self, outlet: int, connection: socket.socket) -> None:
        """Own a connection; returns at once when the proxy is there. After ``close`` it is only closed."""
        desk = self._open()
        if desk is None:
            connection.close()
        else:
            desk.carry(outlet, connection)

    def close(self) -> None:
        """End every connection; when this returns, each was reported. May be called twice.

        Raises what ``report`` raised, if it did, and ``SandboxError`` where the proxy could not begin.
        """
        with self._opening:
            self.closed = True
            wrong, self._wrong = self._wrong, None
        if self._desk:
            self._desk.close()
        if wrong:
            raise wrong

    def _open(self) -> Desk | None:
        with self._opening:
            if self._desk is None and not self.closed:
                self._desk = self._made()
            return self._desk

    def _made(self) -> Desk | None:
        wrong = self._services.exception()
        if wrong:  # nobody is carried, and the attempt's end says why
            self._wrong = SandboxError(f"the way out cannot begin: {wrong}")
            return None
        from runner.sandbox.egress.desk import Desk  # loaded by the proxy's thread

        return Desk(self._services.result(), self._policy, self._outlets, self._report)
