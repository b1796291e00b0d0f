"""What all attempts of a run share on their way out, and what all connections of one attempt do."""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied, Failed, in_words
from runner.sandbox.egress.dial import Dialer, Lookups
from runner.sandbox.egress.passage import Budget, Ledger, Passage
from runner.sandbox.egress.tunnel import SCRATCH, Direction, Tunnel

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runner.sandbox.egress.authority import Authority
    from runner.sandbox.egress.dial import Resolver
    from runner.sandbox.egress.passage import Limits
    from runner.sandbox.egress.rules import Connection, Policy
    from runner.sandbox.egress.wires import PlainWire


class Services:
    """One run's loop, name service, keys and limits."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, resolver: Resolver, trust: Path | None, limits: Limits
    ) -> None:
        """``trust`` is a file of certificates (PEM) to trust beside the system's."""
        self.loop = loop
        self.limits = limits
        self.lookups = Lookups(resolver)
        self.scratch = memoryview(bytearray(SCRATCH))
        self._trust = trust
        self._making = threading.Lock()
        self._authority: Authority | None = None
        self._client: ssl.SSLContext | None = None

    def stop(self) -> None:
        """End the loop, from any thread and however often."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)

    def prepare(self) -> None:
        """Make and load what an added header takes, before it is needed."""
        from runner.sandbox.egress import inject  # noqa: F401 - loaded for later

        self.authority()
        self.client()

    def authority(self) -> Authority:
        """Return the certificate authority of the run, made when any thread first asks."""
        with self._making:
            if self._authority is None:
                from runner.sandbox.egress.authority import Authority  # keys take time that few runs need

                self._authority = Authority()
            return self._authority

    def client(self) -> ssl.SSLContext:
        """Return how servers are verified: by name, against what is trusted."""
        if self._client is None:
            self._client = ssl.create_default_context()
            if self._trust:
                self._client.load_verify_locations(self._trust)
            self._client.options |= ssl.OP_NO_RENEGOTIATION
            self._client.set_alpn_protocols(["http/1.1"])
        return self._client


class Attempt:
    """The policy of one attempt, and the one place where its connections are opened, joined and reported."""

    def __init__(self, services: Services, policy: Policy, report: Callable[[Connection], None]) -> None:
        self.services = services
        self.limits = services.limits
        self.policy = policy
        self.dialer = Dialer(services.lookups, services.limits)
        self.ledger = Ledger(report, services.limits.reports)
        self._budget = Budget()

    @contextlib.contextmanager
    def passage(self) -> Iterator[Passage]:
        """Report what becomes of a connection. Its errors end here: they are the step's or the network's."""
        passage = Passage(self._budget)
        try:
            yield passage
        except (Denied, Failed) as error:
            passage.note(error)
        except OSError as error:
            passage.failed = in_words(error)
        finally:
            if not passage.quiet and (passage.host or passage.denied):
                self.ledger.add(passage.ended())

    async def tunnel(self, step: PlainWire, server: socket.socket, passage: Passage) -> None:
        """Join a step and a server until both have ended."""
        first = step.taken()
        passage.up(len(first))
        await self.services.loop.sock_sendall(server, first)
        tunnel = Tunnel(self.services.scratch, self.limits.idle_seconds)
        await tunnel.run(Direction(step.peer, server, passage.up), Direction(server, step.peer, passage.down))
