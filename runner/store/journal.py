"""The journal: every event of every run in one SQLite database, synced before anyone acts on it.

Write-ahead log with ``synchronous=FULL``: a transaction is wholly there or not, whatever dies. Every
record carries its owner and a fence that only grows: who opened a run last may append, nobody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from runner.errors import FenceLost, StoreError, UsageError
from runner.events import Event, Record, RunCreated, RunRetried
from runner.store.codec import decode, encode
from runner.store.database import Database
from runner.store.tables import keep

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from runner.clock import Clock
    from runner.store.secret_rows import OpenLease, SecretUse

_QUEUED = "queued"
Arbiter = Callable[["sqlite3.Connection", Sequence[Event], float], Sequence[Event]]
"""Maps (database, events, now) to the events that are recorded."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to append to a run, until somebody else opens it."""

    run: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Before:
    """The run that a new one goes on from, as it stood at record ``seq``, and the events it hands on.

    ``origin`` is the run whose idempotency keys both keep.
    """

    run: str
    seq: int
    origin: str
    carried: Sequence[Event]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run at a glance; times are seconds since 1970, None where it has not come to that."""

    run: str
    workflow: str
    mode: str
    engine: str
    definition: str
    plan: str
    status: str
    created: float
    started: float | None
    ended: float | None


class Journal:
    """One connection, usable from many threads; many processes may hold one each."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open or make the database; raises ``StoreError`` when it is not usable."""
        self._database = Database(path)
        self._clock = clock
        self._owner = f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the database; nothing may be called afterwards."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_run(
        self, run: str, plan_json: str, event: RunCreated, before: Before | None = None
    ) -> Ownership:
        """Record a new run, ours, and with it that it goes on from ``before``; both or neither.

        Raises ``StoreError`` when the id is taken, ``UsageError`` when ``before`` is not as it was.
        """
        row = (run, event.workflow, event.mode, event.engine, event.definition, event.plan, _QUEUED)
        with self._lock, self._database.transaction() as database:
            if database.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone():
                raise StoreError(f"run {run} exists already")
            database.execute(
                "INSERT INTO runs (run, workflow, mode, engine, definition, plan_digest, status, created,"
                " fence, owner, plan) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
                (*row, self._clock.now(), self._owner, plan_json),
            )
            ownership = Ownership(run, self._owner, 0)
            self._insert(database, ownership, [event, *(before.carried if before else ())])
            if before:
                self._add(database, before.run, before.seq, RunRetried(run))
        return ownership

    def open_run(self, run: str) -> Ownership:
        """Take a run over: whoever held it before can no longer append."""
        with self._lock, self._database.transaction() as database:
            fence = _fence(database, run) + 1
            database.execute("UPDATE runs SET fence = ?, owner = ? WHERE run = ?", (fence, self._owner, run))
        return Ownership(run, self._owner, fence)

    def borrow(self, run: str) -> Ownership:
        """Return the right to append to a run for as long as nobody opens it."""
        with self._lock, self._database.transaction() as database:
            return Ownership(run, self._owner, _fence(database, run))

    def append(
        self, ownership: Ownership, events: Sequence[Event], arbiter: Arbiter | None = None
    ) -> list[Record]:
        """Record events, synced, all or none; raises ``FenceLost`` when another runner took over.

        ``arbiter`` may change the events inside the transaction, by what runs share in the same database.
        """
        with self._lock, self._database.transaction() as database:
            if _fence(database, ownership.run) != ownership.fence:
                raise fence_lost(ownership.run)
            allowed = arbiter(database, events, self._clock.now()) if arbiter else events
            return self._insert(database, ownership, allowed)

    def confirm(self, ownership: Ownership) -> None:
        """Raise ``FenceLost`` when another runner took the run over."""
        rows = self._read("SELECT fence FROM runs WHERE run = ?", (ownership.run,))
        if not rows or rows[0][0] != ownership.fence:
            raise fence_lost(ownership.run)

    @contextlib.contextmanager
    def tables(self) -> Iterator[sqlite3.Connection]:
        """Give the database inside one transaction, for what runs share: breakers and turns."""
        with self._lock, self._database.transaction() as database:
            yield database

    def note(self, run: str, event: Event, *, ended_at: int | None = None) -> Record:
        """Record an event from outside (a request to cancel) without taking the run over.

        Raises ``UsageError`` when the run has ended, unless ``ended_at`` is the number of its last record.
        """
        with self._lock, self._database.transaction() as database:
            return self._add(database, run, ended_at, event)

    def settle(self, run: str, events: Sequence[Event]) -> None:
        """Record what became of a run's leases, whether it has ended or not, without taking it over."""
        with self._lock, self._database.transaction() as database:
            self._insert(database, Ownership(run, self._owner, _fence(database, run)), events)

    def _add(self, database: sqlite3.Connection, run: str, seq: int | None, event: Event) -> Record:
        fence = _fence(database, run)
        (ended,) = database.execute("SELECT ended FROM runs WHERE run = ?", (run,)).fetchone()
        if seq is None and ended is not None:
            raise UsageError(f"run {run} has ended", cure=f"runner show {run}")
        if seq is not None and seq != _last(database, run):
            raise UsageError(f"run {run} was changed by somebody else meanwhile", cure=f"runner show {run}")
        return self._insert(database, Ownership(run, self._owner, fence), [event])[0]

    def records(self, run: str, after: int = 0) -> list[Record]:
        """Return a run's records with ``seq`` above ``after``, in order."""
        rows = self._read(
            "SELECT seq, at, owner, fence, data FROM events WHERE run = ? AND seq > ? ORDER BY seq",
            (run, after),
        )
        return [_record(row) for row in rows]

    def plan_json(self, run: str) -> str:
        """Return the plan that was kept with the run; raises ``UsageError`` for an unknown run."""
        rows = self._read("SELECT plan FROM runs WHERE run = ?", (run,))
        if not rows:
            raise _unknown(run)
        return str(rows[0][0])

    def runs(self) -> list[RunRow]:
        """Return all runs, oldest first."""
        rows = self._read(
            "SELECT run, workflow, mode, engine, definition, plan_digest, status, created, started, ended"
            " FROM runs ORDER BY number"
        )
        return [RunRow(*row) for row in rows]

    def open_leases(self) -> list[OpenLease]:
        """Return every lease that was not returned, oldest run first."""
        if not self._read("SELECT 1 FROM leases LIMIT 1"):  # as nearly always: nothing is loaded for it
            return []
        from runner.store.secret_rows import OPEN_LEASES, lease_of

        return [lease_of(row) for row in self._read(OPEN_LEASES)]

    def uses(self) -> list[SecretUse]:
        """Return which runs secrets were handed to, oldest run first; reads the whole journal."""
        from runner.store.secret_rows import USES, uses_of

        return uses_of(self._read(USES))

    def find(self, prefix: str) -> str:
        """Return the run that ``prefix`` (or ``latest``) means; raises ``UsageError`` when none or many."""
        if prefix == "latest":
            rows = self._read("SELECT run FROM runs ORDER BY number DESC LIMIT 1")
        else:
            rows = self._read(
                "SELECT run FROM runs WHERE substr(run, 1, length(?1)) = ?1 ORDER BY run = ?1 DESC, number"
                " LIMIT 4",
                (prefix,),
            )
        found = [str(row[0]) for row in rows]
        if not found or not prefix:
            raise _unknown(prefix)
        if len(found) > 1 and found[0] != prefix:
            raise UsageError(f"{prefix} could be {', '.join(found)}", cure="give more of the run's id")
        return found[0]

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.read(statement, values)

    def _insert(
        self, database: sqlite3.Connection, ownership: Ownership, events: Sequence[Event]
    ) -> list[Record]:
        run, owner, fence = ownership.run, ownership.owner, ownership.fence
        at, last = self._clock.now(), _last(database, run)
        records = [Record(seq, at, owner, fence, event) for seq, event in enumerate(events, last + 1)]
        database.executemany(
            "INSERT INTO events (run, seq, at, owner, fence, data) VALUES (?, ?, ?, ?, ?, ?)",
            [(run, each.seq, at, owner, fence, _dump(each.event)) for each in records],
        )
        for event in events:
            keep(database, run, at, event)
        return records


def fence_lost(run: str) -> FenceLost:
    """Return the error of a runner whose run another one drives now."""
    return FenceLost(f"another runner has taken run {run} over", cure=f"runner show {run}")


def _last(database: sqlite3.Connection, run: str) -> int:
    query = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ?"
    return int(database.execute(query, (run,)).fetchone()[0])


def _fence(database: sqlite3.Connection, run: str) -> int:
    row = database.execute("SELECT fence FROM runs WHERE run = ?", (run,)).fetchone()
    if row is None:
        raise _unknown(run)
    if type(row[0]) is not int:
        raise StoreError(f"the journal's fence of run {run} cannot be read", cure="restore it from a backup")
    return row[0]


def _dump(event: Event) -> str:
    return json.dumps(encode(event), separators=(",", ":"))


def _record(row: tuple[Any, ...]) -> Record:
    seq, at, owner, fence, data = row
    try:
        return Record(seq, at, owner, fence, decode(json.loads(data)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the journal's record {seq} cannot be read: {error}", cure="a newer Runner may have written it"
        ) from error


def _unknown(run: str) -> UsageError:
    return UsageError(f"there is no run {run!r}", cure="runner ps lists the runs")
