"""The egress proxy of one run: one thread with an event loop, and a gate for each attempt."""

from __future__ import annotations

import resource
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.sandbox.egress.gate import Gate
from runner.sandbox.egress.passage import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runner.sandbox.egress.dial import Resolver
    from runner.sandbox.egress.rules import Connection, Policy, Rule
    from runner.sandbox.egress.services import Services

_LIMITS = Limits()
_CLOSE_SECONDS = 30.0
_FILES = 16_384


class Proxy:
    """Carries what steps send to where their policies allow: ``start``, a ``gate`` an attempt, ``close``.

    What it is made of loads in its own thread, while the first sandbox is made.
    """

    def __init__(
        self, *, resolver: Resolver | None = None, trust: Path | None = None, limits: Limits = _LIMITS
    ) -> None:
        """``resolver`` gives a name's addresses; ``trust`` (PEM) is believed beside the system."""
        self._resolver = resolver
        self._trust = trust
        self._limits = limits
        self._services: Future[Services] = Future()
        self._gates: list[Gate] = []
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def start(self, *, headers: bool = False) -> None:
        """Begin to serve, and with ``headers`` to make keys; returns at once. May be called again."""
        with self._starting:
            if self._thread is None:
                _make_room()
                self._thread = threading.Thread(
                    target=self._serve, args=(headers,), name="egress", daemon=True
                )
                self._thread.start()

    @property
    def authority(self) -> bytes:
        """The certificate (PEM) that a step must trust where a header is added for it."""
        self.start(headers=True)
        return self._services.result().authority().certificate

    def gate(
        self, policy: Policy, outlets: Sequence[Rule | None], report: Callable[[Connection], None]
    ) -> Gate:
        """Return an attempt's way out: an outlet without a rule is the HTTP proxy, another its rule's.

        ``report`` is called from the proxy's thread, for what ended or was denied.
        """
        self.start(headers=bool(policy.injections))
        gate = Gate(self._services, policy, outlets, report)
        with self._starting:
            self._gates = [*(each for each in self._gates if not each.closed), gate]
        return gate

    def close(self) -> None:
        """End every connection and the thread; one that still loads ends by itself. May be called twice."""
        for gate in self._gates:
            gate.close()
        with self._starting:
            self._closed = True
            thread = self._thread if self._services.done() else None
        if thread and not self._services.exception():
            self._services.result().stop()
            thread.join(_CLOSE_SECONDS)

    def _serve(self, headers: bool) -> None:  # noqa: FBT001 - a thread's target
        try:
            import asyncio

            from runner.sandbox.egress import desk  # noqa: F401 - loaded here, not in the engine's way
            from runner.sandbox.egress.dial import look_up
            from runner.sandbox.egress.services import Services

            loop = asyncio.new_event_loop()
            services = Services(loop, self._resolver or look_up, self._trust, self._limits)
        except BaseException as error:
            self._services.set_exception(error)
            raise SystemExit from error  # whoever waits for the services says it: the thread ends in silence
        with self._starting:
            self._services.set_result(services)
            wanted = not self._closed
        try:
            if wanted and headers:
                with suppress(
                    OSError
                ):  # certificates that cannot be read: the connection that needs them says so
                    services.prepare()
            if wanted:
                loop.run_forever()
        finally:
            loop.close()


def _make_room() -> None:
    """Allow this process the files that many steps' connections take: the usual 1024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
