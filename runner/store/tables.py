"""What the journal keeps beside its events: how a run stands, and which leases are open."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.events import (
    Event,
    LeaseAsked,
    LeaseReturned,
    LeaseTaken,
    RunEnded,
    RunHeld,
    RunStarted,
    TurnAwaited,
    TurnTaken,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_STATUS = {RunStarted: "running", RunHeld: "held", TurnAwaited: "waiting", TurnTaken: "running"}
OPEN_LEASES = (
    "SELECT run, step, attempt, phase, source, lease, max(expires), group_concat(name, ' '), workflow, mode,"
    " definition, plan_digest FROM leases JOIN runs USING (run)"
    " GROUP BY run, step, attempt, phase, source ORDER BY number, step, attempt"
)
USES = (
    "SELECT run, workflow, mode, at, data FROM events JOIN runs USING (run)"
    ' WHERE data LIKE \'{"kind":"SecretOpened"%\' OR data LIKE \'{"kind":"LeaseTaken"%\''
    " ORDER BY number, seq"
)


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A lease that nobody returned, and the attempt that has it; ``lease`` is empty while only asked for.

    ``expires`` is seconds since 1970; ``names`` are those that the workflow has for it.
    """

    run: str
    step: str
    attempt: int
    phase: str
    source: str
    lease: str
    expires: float
    names: tuple[str, ...]
    workflow: str
    mode: str
    definition: str
    plan: str


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A run that a secret was handed to, last ``at`` (since 1970); ``leased``: each time with a lease."""

    name: str
    run: str
    workflow: str
    mode: str
    at: float
    leased: bool


def keep(database: sqlite3.Connection, run: str, at: float, event: Event) -> None:
    """Keep in the tables what an event means for them."""
    if isinstance(event, RunStarted):
        database.execute(
            "UPDATE runs SET status = ?, started = coalesce(started, ?), ended = NULL WHERE run = ?",
            (_STATUS[RunStarted], at, run),
        )
    elif isinstance(event, RunHeld | TurnAwaited | TurnTaken):
        database.execute("UPDATE runs SET status = ? WHERE run = ?", (_STATUS[type(event)], run))
    elif isinstance(event, RunEnded):
        database.execute("UPDATE runs SET status = ?, ended = ? WHERE run = ?", (event.status, at, run))
    elif isinstance(event, LeaseAsked | LeaseTaken | LeaseReturned):
        _keep_lease(database, run, event)


def _keep_lease(
    database: sqlite3.Connection, run: str, event: LeaseAsked | LeaseTaken | LeaseReturned
) -> None:
    place = (run, event.step, event.attempt, event.phase, event.source)
    if isinstance(event, LeaseReturned):
        database.execute(
            "DELETE FROM leases WHERE run = ? AND step = ? AND attempt = ? AND phase = ? AND source = ?",
            place,
        )
        return
    lease = event.lease if isinstance(event, LeaseTaken) else ""
    database.execute(
        "INSERT OR REPLACE INTO leases (run, step, attempt, phase, source, name, lease, expires)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*place, event.name, lease, event.expires),
    )


def lease_of(row: tuple[Any, ...]) -> OpenLease:
    """Return a row of ``OPEN_LEASES``."""
    run, step, attempt, phase, source, lease, expires, names, *of_run = row
    return OpenLease(run, step, attempt, phase, source, lease, expires, tuple(names.split(" ")), *of_run)


def uses_of(rows: Iterable[tuple[Any, ...]]) -> list[SecretUse]:
    """Return the rows of ``USES``, one for each run and name."""
    last: dict[tuple[str, str], tuple[str, str, float]] = {}
    leases: dict[tuple[str, str], set[tuple[str, int]]] = {}
    opened: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for run, workflow, mode, at, data in rows:
        event = json.loads(data)
        use = run, str(event["name"])
        found = leases if event["kind"] == LeaseTaken.__name__ else opened
        found.setdefault(use, set()).add((event["step"], event["attempt"]))
        last[use] = workflow, mode, at
    return [
        SecretUse(name, run, *told, leased=opened.get((run, name), set()) <= leases.get((run, name), set()))
        for (run, name), told in last.items()
    ]
