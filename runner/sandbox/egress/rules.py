"""Where a step may connect to, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

PROXY_ADDRESS = "127.0.0.1"
PROXY_PORT = 3128


@dataclass(frozen=True, slots=True)
class Rule:
    """One host that a step may reach; ``written`` is the line that says so.

    ``host`` is in lower case without a final dot: a name, an address, or ``*.`` and a name. ``kind`` is
    ``web`` (by the proxy) or ``tcp`` (an outlet of its own). Only TLS passes unless ``insecure``; only public
    addresses are connected to unless ``private``. ``most`` is how many bytes may pass in all, 0 for any.
    """

    host: str
    port: int
    kind: str = "web"
    insecure: bool = False
    private: bool = False
    most: int = 0
    written: str = ""


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
    received: int = 0
    seconds: float = 0.0
