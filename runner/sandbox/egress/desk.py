"""Where one attempt's connections are served, in the loop's thread: what its policy allows is let out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from runner.sandbox.egress import tcp, web
from runner.sandbox.egress.denial import Denied, answer
from runner.sandbox.egress.services import Attempt
from runner.sandbox.egress.wires import PlainWire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from runner.sandbox.egress.rules import Connection, Policy, Rule
    from runner.sandbox.egress.services import Services

_CLOSE_SECONDS = 30.0


class Desk:
    """Serves connections by outlet: one without a rule is the HTTP proxy, another leads to its host."""

    def __init__(
        self,
        services: Services,
        policy: Policy,
        outlets: Sequence[Rule | None],
        report: Callable[[Connection], None],
    ) -> None:
        """``report`` is called from the loop's thread for what ended or was denied."""
        self._loop = services.loop
        self._outlets = tuple(outlets)
        self._attempt = Attempt(services, policy, report)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._wrong: BaseException | None = None

    def carry(self, outlet: int, connection: socket.socket) -> None:
        """Own a connection; returns at once. After ``close`` it is only closed."""
        try:
            self._loop.call_soon_threadsafe(self._begin, outlet, connection)
        except RuntimeError:
            connection.close()

    def close(self) -> None:
        """End every connection; when this returns, each was reported. May be called twice.

        Raises what ``report`` raised, if it did.
        """
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_SECONDS)
        wrong, self._wrong = self._wrong, None
        if wrong:
            raise wrong

    async def _end(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)
        self._attempt.ledger.close()

    def _begin(self, outlet: int, connection: socket.socket) -> None:
        connection.settimeout(0)
        if self._closed:
            connection.close()
        elif len(self._tasks) >= self._attempt.limits.connections:
            self._turn_away(connection)
        else:
            task = self._loop.create_task(self._serve(outlet, connection))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _turn_away(self, connection: socket.socket) -> None:
        """Deny without waiting for anything: what hangs must not make others hang."""
        denied = Denied(f"more than {self._attempt.limits.connections} connections at once", status=503)
        with connection, self._attempt.passage():
            with contextlib.suppress(OSError):
                connection.send(answer(denied))
                connection.recv(self._attempt.limits.head_bytes)
            raise denied

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self._wrong = self._wrong or task.exception()

    async def _serve(self, outlet: int, connection: socket.socket) -> None:
        rule = self._outlets[outlet] if outlet < len(self._outlets) else None
        with connection:
            wire = PlainWire(connection)
            if rule:
                await tcp.serve(wire, rule, self._attempt)
            else:
                await web.serve(wire, self._attempt)
            await wire.part()
