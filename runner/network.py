"""The way out of one run's sandboxes, in the shape that the engine asks for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from runner.engine.ports import SecretPort
    from runner.planning.plan import Plan, PlannedStep
    from runner.sandbox.egress.gate import Gate
    from runner.sandbox.egress.proxy import Proxy
    from runner.sandbox.egress.rules import Connection, Injection


@dataclass(frozen=True, slots=True)
class GatedWay:
    """One attempt's way out: the proxy's gate, and what programs inside need to find it."""

    gate: Gate
    env: Mapping[str, str]
    files: Mapping[str, bytes]

    def carry(self, outlet: int, connection: socket.socket) -> None:
        """Own a connection from now on."""
        self.gate.carry(outlet, connection)

    def close(self) -> None:
        """End every connection; may be called twice."""
        self.gate.close()


@dataclass(slots=True)
class RunNetwork:
    """The proxy of one run, which starts with the first step that has a way out.

    ``trust`` is the operator's file of authorities beside the system's, ``private`` the hosts (``host:port``)
    that may stand on private addresses: a run that ends, and undoes what it did, is asked only here.
    """

    trust: Path | None
    private: frozenset[str]
    _proxy: Proxy | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def prepare(self, plan: Plan) -> None:
        """Start the proxy where a step of the plan has a way out: it loads while its sandbox is made."""
        steps = [step for step in plan.steps.values() if not step.shadowed and step.egress is not None]
        if steps:
            self._running().start(headers=any(use.as_header for step in steps for use in step.secrets))

    def open(
        self, step: PlannedStep, secrets: Mapping[str, SecretPort], report: Callable[[Connection], None]
    ) -> GatedWay:
        """Return a way that leads where the step may go; raises ``PolicyDenied`` for a header elsewhere."""
        from runner.planning.network import refuse_rules
        from runner.sandbox.egress.rules import Policy
        from runner.sandbox.egress.trust import FILE, authorities, environment

        rules = step.egress or ()
        refuse_rules(step.id, rules, self.private)
        injections: list[Injection] = []
        for use in step.secrets:
            if use.as_header:
                injections += _added(step, use.secret, secrets[use.secret])
            else:
                _refuse_strangers(step, use.secret, secrets[use.secret])
        proxy = self._running()
        proxy.start()
        outlets = (None, *(rule for rule in (*rules, *step.closed) if rule.kind == "tcp"))
        gate = proxy.gate(Policy(rules, tuple(injections)), outlets, report)
        own = (proxy.authority,) if injections else ()
        return GatedWay(gate, environment(rule.host for rule in rules), {FILE: authorities(self.trust, *own)})

    def close(self) -> None:
        """End the proxy; may be called twice."""
        with self._lock:
            proxy, self._proxy = self._proxy, None
        if proxy:
            proxy.close()

    def _running(self) -> Proxy:
        from runner.sandbox.egress.proxy import Proxy

        with self._lock:
            if self._proxy is None:
                self._proxy = Proxy(trust=self.trust)
            return self._proxy


def _added(step: PlannedStep, name: str, secret: SecretPort) -> Iterator[Injection]:
    """Yield the headers that a secret becomes: on the hosts that the operator bound it to, and no other."""
    terms = secret.terms
    if terms is None or not terms.hosts:
        raise PolicyDenied(
            f"secret {name} goes into a header and is bound to no host",
            cure=f"runner secrets bind {name} --from … --host HOST --header 'Authorization: Bearer {{}}'",
        )
    exact = [rule for rule in step.egress or () if rule.kind == "web" and not rule.host.startswith("*.")]
    fitting = [rule for rule in exact if terms.allow(rule.host, rule.port)]
    if not fitting:
        raise PolicyDenied(
            f"secret {name} is bound to {', '.join(terms.hosts)}, which {step.id} does not reach",
            cure="name one of these hosts under egress (in staging under staging.egress)",
        )
    from runner.sandbox.egress.rules import Injection

    header, _, form = (terms.header or "Authorization: Bearer {}").partition(": ")
    value = form.encode().replace(b"{}", secret.reveal())
    if set(value) & set(b"\r\n\0"):
        raise PolicyDenied(f"secret {name} has more than one line, which no header can", cure="set it anew")
    for rule in fitting:
        yield Injection(rule.host, rule.port, header, value, terms.methods, terms.paths)


def _refuse_strangers(step: PlannedStep, name: str, secret: SecretPort) -> None:
    """Raise ``PolicyDenied`` where a step that sees the secret reaches a host that it is not bound to."""
    terms = secret.terms
    if terms is None or not terms.hosts:
        return
    others = [rule.written for rule in step.egress or () if not terms.allow(rule.host, rule.port)]
    if others:
        raise PolicyDenied(
            f"secret {name} is bound to {', '.join(terms.hosts)}; {step.id} reaches {', '.join(others)} too",
            cure="move what needs the other hosts into a step of its own, or ask the operator",
        )
