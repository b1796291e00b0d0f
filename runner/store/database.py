"""The journal's SQLite file: opening it safely, and its failures in plain words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError, StoreError
from runner.vault.files import one_at_a_time, own_file, own_folder, storing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = 3
_BUSY = 20.0  # seconds that a writer waits for the others
_SCHEMA = (
    (
        "CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE,"
        " workflow TEXT NOT NULL, mode TEXT NOT NULL, engine TEXT NOT NULL, definition TEXT NOT NULL,"
        " plan_digest TEXT NOT NULL, status TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,"
        " fence INTEGER NOT NULL, owner TEXT NOT NULL, plan TEXT NOT NULL)"
    ),
    (
        "CREATE TABLE events (run TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, owner TEXT NOT NULL,"
        " fence INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID"
    ),
)
_SINCE_2 = (
    (
        "CREATE TABLE breakers (name TEXT PRIMARY KEY, state TEXT NOT NULL, failures INTEGER NOT NULL,"
        " opened_at REAL NOT NULL, probe TEXT NOT NULL, rule TEXT NOT NULL) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE turns (number INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE,"
        " team TEXT NOT NULL, taken INTEGER NOT NULL)"
    ),
)
_SINCE_3 = (
    (
        "CREATE TABLE leases (run TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL,"
        " phase TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, lease TEXT NOT NULL,"
        " expires REAL NOT NULL,"
        " PRIMARY KEY (run, step, attempt, phase, source, name)) WITHOUT ROWID"
    ),
)
_STEPS = {  # from each older version to this one
    0: (*_SCHEMA, *_SINCE_2, *_SINCE_3),
    1: (*_SINCE_2, *_SINCE_3),
    2: _SINCE_3,
}
_CURES = {
    "FULL": ("the disk is full", "free some space (`runner gc` removes leftovers), then `runner resume`"),
    "READONLY": ("it is read-only", "make the state folder writable, or point $RUNNER_HOME elsewhere"),
    "CANTOPEN": ("it cannot be opened", "make the state folder writable, or point $RUNNER_HOME elsewhere"),
    "PERM": ("this user may not", "make the state folder writable, or point $RUNNER_HOME elsewhere"),
    "BUSY": ("other runners hold it for too long", "see what they do (runner ps), then try again"),
    "IOERR": ("the disk refuses (full, or failing)", "look at `df` and the kernel's log, then try again"),
    "CORRUPT": ("it is damaged", "move it aside and restore it from a backup"),
    "NOTADB": ("it is not a journal", "move it aside, or point $RUNNER_HOME elsewhere"),
}


class Database:
    """A connection; not thread-safe, the caller holds a lock."""

    def __init__(self, path: Path) -> None:
        """Open or make ``path``; raises ``StoreError``."""
        self._path = path
        own_folder(path.parent)
        for suffix in ("", "-wal", "-shm"):
            own_file(path.with_name(path.name + suffix))
        with self._opening(), self._translated():
            self._connection = self._connect()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._connection.close()

    def read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows."""
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one transaction: synced at its end, undone by any error."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.rollback()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StoreError(
                f"{self._path} was written by a newer Runner (schema {version}, this one knows {_VERSION})",
                cure="upgrade this Runner, or point $RUNNER_HOME elsewhere",
            )
        if version in _STEPS:
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*_STEPS[version], f"PRAGMA user_version = {_VERSION}"):
                connection.execute(statement)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Let one process at a time switch the database to its mode and make its tables."""
        path = self._path.with_name(self._path.name + ".lock")
        with one_at_a_time(path):
            if not self._path.exists():
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                with storing(self._path):
                    os.close(os.open(self._path, flags, 0o600))
            yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RunnerError:
            raise
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            for word, (what, cure) in _CURES.items():
                if name.startswith(f"SQLITE_{word}"):
                    raise StoreError(
                        f"the journal {self._path} failed: {what} ({name})", cure=cure
                    ) from error
            raise StoreError(f"the journal {self._path} failed: {error} ({name})") from error
