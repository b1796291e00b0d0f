"""Where a step may connect to, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sandbox.base import Outlet
from runner.workflow.hosts import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CANARY", "PROXY_ADDRESS", "PROXY_PORT", "Connection", "Injection", "Policy", "Rule", "outlets_of"]

PROXY_ADDRESS = "127.0.0.1"
PROXY_PORT = 3128
_LOCAL = "localhost"
CANARY = "canary.runner.invalid"
"""The host that a sandbox asks for before the step begins: always denied, never recorded."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A header that the proxy adds for one host: ``value`` is the whole header value and secret.

    ``methods`` and ``paths`` limit what it is added to: anything else is denied. Empty ones limit nothing.
    In a path ``*`` stands for characters of one segment, ``**`` for any.
    """

    host: str
    port: int
    header: str
    value: bytes = field(repr=False)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """All that one attempt may do on the network."""

    rules: tuple[Rule, ...]
    injections: tuple[Injection, ...] = ()

    def web(self, host: str, port: int) -> Rule | None:
        """Return the rule for a web host: its own before the closest ``*.``."""
        fitting = [rule for rule in self.rules if rule.kind == "web" and rule.covers(host, port)]
        return max(fitting, key=lambda rule: (not rule.host.startswith("*."), len(rule.host)), default=None)

    def injected(self, host: str, port: int) -> tuple[Injection, ...]:
        """Return what is added for a host."""
        return tuple(each for each in self.injections if (each.host, each.port) == (host, port))


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that ended; bytes as the step sees them.

    ``denied`` says which rule was against it, ``failed`` what went wrong with one that was allowed. ``count``
    is how many alike ones this stands for; bytes and seconds are their sums. ``method`` is HTTP's:
    ``CONNECT`` for a tunnel, in which no other can be seen; empty where there was none.
    """

    host: str
    port: int
    rule: str = ""
    denied: str = ""
    failed: str = ""
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    count: int = 1
    method: str = ""


def outlets_of(rules: Iterable[Rule]) -> tuple[Outlet, ...]:
    """Return the outlets of a sandbox: first the proxy's, then one for each ``tcp`` rule, in their order.

    Each host has a loopback address of its own, so that two with the same port do not meet; localhost has it.
    """
    addresses = {_LOCAL: PROXY_ADDRESS}
    outlets = [Outlet(PROXY_ADDRESS, PROXY_PORT)]
    for rule in rules:
        if rule.kind == "tcp":
            address = addresses.setdefault(rule.host, f"127.0.0.{len(addresses) + 1}")
            outlets.append(Outlet(address, rule.port, "" if rule.host == _LOCAL else rule.host))
    return tuple(outlets)
