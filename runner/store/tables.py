"""What the journal keeps beside its events: how a run stands, and which leases are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

_STATUS = {RunStarted: "running", RunHeld: "held", TurnAwaited: "waiting", TurnTaken: "running"}


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
