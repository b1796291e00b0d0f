"""Where a step may connect to, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sandbox.base import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.workflow.hosts import Rule

PROXY_ADDRESS = "127.0.0.1"
PROXY_PORT = 3128


@dataclass(frozen=True, slots=True)
class Injection:
    """A header that the proxy adds for one host: ``value`` is the whole header value and secret.

    ``methods`` and ``paths`` (globs of the path) limit what it is added to; anything else is denied.
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


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that ended, or was denied (``denied`` says why); bytes as the step sees them."""

    host: str
    port: int
    rule: str = ""
    denied: str = ""
    sent: int = 0
    failed: str = ""
    received: int = 0
    seconds: float = 0.0
    count: int = 1


def outlets_of(rules: Iterable[Rule]) -> tuple[Outlet, ...]:
    """Return the outlets of a sandbox: first the proxy's, then one for each ``tcp`` rule, in their order.

    Each host has a loopback address of its own, so that two with the same port do not meet.
    """
    addresses: dict[str, str] = {}
    outlets = [Outlet(PROXY_ADDRESS, PROXY_PORT)]
    for rule in rules:
        if rule.kind == "tcp":
            address = addresses.setdefault(rule.host, f"127.0.0.{len(addresses) + 2}")
            outlets.append(Outlet(address, rule.port, rule.host))
    return tuple(outlets)
