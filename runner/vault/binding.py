"""What the operator says of a secret's name: where its value comes from, and who may have it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runner.errors import UsageError

_HOST = re.compile(
    r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?"
)
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}): ([\x20-\x7e]*\{\}[\x20-\x7e]*)")
_METHOD = re.compile(r"[A-Z]{1,20}")
_PATH = re.compile(r"/[\x21-\x7e]{0,500}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_WHOLE = (
    "env:",
    "file:",
    "store:",
    "command:",
    "sops:",
    "identity:",
)  # one value, whatever is in a reference


@dataclass(frozen=True, slots=True)
class Terms:
    """How a credential may be used that a step never sees; empty ``methods`` and ``paths`` mean all of them.

    ``header`` is the line to add, ``{}`` where the value goes: ``Authorization: Bearer {}``.
    """

    hosts: tuple[str, ...] = ()
    header: str = ""
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    @property
    def is_header(self) -> bool:
        """Whether the proxy alone may have the value: a step that had it would heed no method or path."""
        return bool(self.header or self.methods or self.paths)

    def allow(self, host: str, port: int) -> bool:
        """Whether a canonical host is among those named; without a port 443 is meant."""
        return any(_covers(each.lower(), host, port) for each in self.hosts)

    def check(self) -> None:
        """Raise ``UsageError`` for terms that no request could be held to."""
        _all(_HOST, self.hosts, "a host", "write HOST or HOST:PORT, as in api.example.com")
        _all(_METHOD, self.methods, "an HTTP method", "write it in capitals, as in GET")
        _all(_PATH, self.paths, "a path", "begin with /, as in /v1/*")
        if self.header and not (_HEADER.fullmatch(self.header) and self.header.count("{}") == 1):
            raise UsageError(
                f"{self.header!r} is no header", cure='write "NAME: VALUE" with {} for the secret'
            )
        if not self.hosts and (self.header or self.methods or self.paths):
            raise UsageError(
                "a credential for a header is sent to named hosts only", cure="add --host, once for each"
            )


@dataclass(frozen=True, slots=True)
class Binding:
    """``name`` comes from ``source`` (``SCHEME:REFERENCE``, with ``#FIELD`` where it has several values).

    Empty ``workflows`` and ``definitions`` mean any. ``ttl`` is the longest life of a lease and
    ``rotate_after`` the age from which a value is overdue, in seconds; ``since`` is when this was said, in
    seconds since 1970.
    """

    name: str
    source: str
    mode: str = "staging"
    workflows: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    ttl: float | None = None
    rotate_after: float | None = None
    terms: Terms = field(default_factory=Terms)
    since: float = 0.0

    @property
    def scheme(self) -> str:
        """Which kind of source it is."""
        return self.source.partition(":")[0]

    @property
    def reference(self) -> str:
        """What the source is asked for."""
        return self._cut()[0].partition(":")[2]

    @property
    def value_field(self) -> str:
        """Which of the source's values it is; empty: all there is."""
        return self._cut()[1]

    def _cut(self) -> tuple[str, str]:
        head, mark, tail = self.source.rpartition("#")
        if not mark or self.source.startswith(_WHOLE) or not _FIELD.fullmatch(tail):
            return self.source, ""
        return head, tail


@dataclass(frozen=True, slots=True)
class Revocation:
    """``who`` took away, ``at`` a time, what was bound or set before; empty fields mean all of them."""

    name: str = ""
    mode: str = ""
    workflow: str = ""
    who: str = ""
    at: float = 0.0

    def covers(self, name: str, mode: str, workflow: str) -> bool:
        """Whether it is about this name, in this mode, for this workflow."""
        asked = ((self.name, name), (self.mode, mode), (self.workflow, workflow))
        return all(own in ("", other) for own, other in asked)


def _covers(named: str, host: str, port: int) -> bool:
    name, colon, number = named.rpartition(":")
    if not colon or not number.isdigit():
        name, number = named, "443"
    if name.startswith("*."):
        return host.endswith(name[1:]) and int(number) == port
    return name.strip("[]") == host and int(number) == port


def _all(pattern: re.Pattern[str], values: tuple[str, ...], what: str, cure: str) -> None:
    for value in values:
        if not pattern.fullmatch(value):
            raise UsageError(f"{value!r} is not {what}", cure=cure)
