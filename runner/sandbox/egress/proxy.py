"""The egress proxy of one run: one thread with an event loop, and a gate for each attempt."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from runner.sandbox.egress.dial import look_up
from runner.sandbox.egress.gate import Gate
from runner.sandbox.egress.passage import Limits
from runner.sandbox.egress.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runner.sandbox.egress.dial import Resolver
    from runner.sandbox.egress.rules import Connection, Policy, Rule

_LIMITS = Limits()
_CLOSE_SECONDS = 30.0


class Proxy:
    """Carries what steps send to where their policies allow: ``start``, a ``gate`` an attempt, ``close``."""

    def __init__(
        self, *, resolver: Resolver = look_up, trust: Path | None = None, limits: Limits = _LIMITS
    ) -> None:
        """``resolver`` gives a name's addresses; ``trust`` (PEM) verifies servers in the system's place."""
        self._loop = asyncio.new_event_loop()
        self._services = Services(self._loop, resolver, trust, limits)
        self._gates: list[Gate] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="egress", daemon=True)

    @property
    def authority(self) -> bytes:
        """The certificate (PEM) that a step must trust where a header is added for it."""
        return self._services.authority().certificate

    def start(self) -> None:
        """Begin to serve; called once."""
        self._thread.start()

    def gate(
        self, policy: Policy, outlets: Sequence[Rule | None], report: Callable[[Connection], None]
    ) -> Gate:
        """Return an attempt's way out: an outlet without a rule is the HTTP proxy, another its rule's."""
        gate = Gate(self._services, policy, outlets, report)
        self._gates = [*(each for each in self._gates if not each.closed), gate]
        return gate

    def close(self) -> None:
        """End every connection and the thread. May be called twice."""
        for gate in self._gates:
            gate.close()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread.ident:
            self._thread.join(_CLOSE_SECONDS)
        self._loop.close()
