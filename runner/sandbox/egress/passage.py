"""What one attempt may still do and has done: limits, bytes used, and what is reported of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied, Failed
from runner.sandbox.egress.rules import Connection
from runner.workflow.hosts import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.egress.rules import Rule


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds that a connection may take; ``connections`` and ``reports`` are an attempt's."""

    head_bytes: int = 16_384
    head_seconds: float = 10.0
    hello_seconds: float = 30.0
    resolve_seconds: float = 5.0
    connect_seconds: float = 10.0
    idle_seconds: float = 3600.0
    connections: int = 128
    reports: int = 200


class Ledger:
    """Reports connections: the first ones at once, then alike ones together when the attempt ends."""

    def __init__(self, report: Callable[[Connection], None], most: int) -> None:
        """``most`` is how many are reported alone, and how many kinds are told apart after them."""
        self._report = report
        self._most = most
        self._alone = 0
        self._alike: dict[Connection, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Report a connection, or count it with its like."""
        if self._alone < self._most:
            self._alone += 1
            self._report(connection)
            return
        kind = replace(connection, sent=0, received=0, seconds=0.0)
        if kind not in self._alike and len(self._alike) >= self._most:
            kind = Connection("", 0, denied="too many different ones to tell apart" if kind.denied else "")
        so_far = self._alike.get(kind)
        self._alike[kind] = _sum(kind, so_far, connection) if so_far else replace(connection, host=kind.host)

    def close(self) -> None:
        """Report what was counted together."""
        alike, self._alike = self._alike, {}
        for connection in alike.values():
            self._report(connection)


def _sum(kind: Connection, one: Connection, other: Connection) -> Connection:
    return replace(
        kind,
        sent=one.sent + other.sent,
        received=one.received + other.received,
        seconds=one.seconds + other.seconds,
        count=one.count + other.count,
    )


class Budget:
    """The bytes that each rule has let through in all of an attempt."""

    def __init__(self) -> None:
        self._used: Counter[Rule] = Counter()

    def take(self, rule: Rule, size: int) -> bool:
        """Count bytes for a rule; False when it had no more to give."""
        self._used[rule] += size
        return not rule.most or self._used[rule] <= rule.most


@dataclass(slots=True)
class Passage:
    """One connection under way: where it goes, what passed, and what became of it.

    ``answered``: the step has had the beginning of an answer; ``quiet``: nobody needs to hear of it.
    """

    budget: Budget
    host: str = ""
    port: int = 0
    rule: Rule | None = None
    sent: int = 0
    received: int = 0
    denied: str = ""
    failed: str = ""
    method: str = ""
    answered: bool = False
    quiet: bool = False
    began: float = field(default_factory=time.monotonic)

    def note(self, error: Denied | Failed) -> None:
        """Keep what went wrong, before anything is said of it that may take time."""
        if isinstance(error, Denied):
            self.denied = error.why
        else:
            self.failed = error.why

    def up(self, size: int) -> None:
        """Count bytes from the step; raises ``Denied`` when its rule has no more to give."""
        self.sent += size
        self._take(size)

    def down(self, size: int) -> None:
        """Count bytes to the step; raises ``Denied`` when its rule has no more to give."""
        self.received += size
        self._take(size)

    def ended(self) -> Connection:
        """Return what is to be said of it."""
        return Connection(
            self.host,
            self.port,
            rule=self.rule.written if self.rule else "",
            denied=self.denied,
            failed=self.failed,
            sent=self.sent,
            received=self.received,
            seconds=round(time.monotonic() - self.began, 6),
            method=self.method,
        )

    def _take(self, size: int) -> None:
        if self.rule and not self.budget.take(self.rule, size):
            where = shown(self.rule.host, self.rule.port)
            raise Denied(f"{self.rule.most} bytes were all that {where} may carry", "raise max_bytes there")
