"""The circuit breakers of a state folder: one row a name, for every workflow and process alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runner.failsafe.breaker import CLOSED, HALF_OPEN, OPEN, BreakerState
from runner.settings import BreakerRule

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from typing import Any

WORKFLOW = "workflow/"
"""A breaker with this before a workflow's name holds that workflow after so many failed runs in a row."""
_STATES = frozenset({CLOSED, OPEN, HALF_OPEN})
_WRITE = (
    "INSERT INTO breakers (name, state, failures, opened_at, probe, rule) VALUES (?, ?, ?, ?, ?, '')"
    " ON CONFLICT (name) DO UPDATE SET state = excluded.state, failures = excluded.failures,"
    " opened_at = excluded.opened_at, probe = excluded.probe"
)


def workflow_rule(workflow: str, failures: int) -> BreakerRule:
    """Return the rule that holds a workflow; no time releases it, a person does."""
    return BreakerRule(WORKFLOW + workflow, failures, float("inf"))


def read(database: sqlite3.Connection, name: str) -> BreakerState:
    """Return what is kept of a breaker; a new one is closed, one that cannot be read opened long ago."""
    row = database.execute(
        "SELECT state, failures, opened_at, probe FROM breakers WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        return BreakerState()
    kept = BreakerState(*row)
    is_ours = kept.state in _STATES and tuple(map(type, row)) == (str, int, float, str)
    return kept if is_ours else BreakerState(OPEN)


def write(database: sqlite3.Connection, name: str, state: BreakerState) -> None:
    """Keep the state of a breaker."""
    database.execute(_WRITE, (name, *asdict(state).values()))


def trip(database: sqlite3.Connection, name: str, now: float) -> None:
    """Open a breaker by hand."""
    write(database, name, BreakerState(OPEN, read(database, name).failures, now))


def reset(database: sqlite3.Connection, name: str) -> None:
    """Close a breaker by hand, with its failures forgotten."""
    write(database, name, BreakerState())


@dataclass(frozen=True, slots=True)
class BreakerRow:
    """One breaker as it is listed; ``probe_at`` is seconds since 1970, None where no time opens it."""

    name: str
    state: str
    failures: int
    limit: int | None
    probe_at: float | None
    probe: str


def rows(database: sqlite3.Connection, declared: Mapping[str, BreakerRule]) -> list[BreakerRow]:
    """Return every breaker that is declared or kept, by name."""
    kept: dict[str, Any] = dict.fromkeys(declared)
    kept.update(dict.fromkeys(name for (name,) in database.execute("SELECT name FROM breakers")))
    return [_row(name, read(database, name), declared.get(name)) for name in sorted(kept)]


def _row(name: str, kept: BreakerState, rule: BreakerRule | None) -> BreakerRow:
    at = kept.opened_at + rule.reset if rule and kept.state == OPEN else None
    probe = kept.probe if kept.state == HALF_OPEN else ""
    failures = kept.failures if kept.state != CLOSED or kept.failures else 0
    return BreakerRow(name, kept.state, failures, rule.failures if rule else None, at, probe)
