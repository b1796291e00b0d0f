"""Turns in concurrency groups: first come, first served, and only a run that somebody drives counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from runner.planning.plan import Turns


def ahead(
    database: sqlite3.Connection, run: str, turns: Turns, is_live: Callable[[str], bool]
) -> tuple[str, ...]:
    """Take the run's turn and return nothing, or return the runs that it has to wait for.

    A run that nobody drives loses its place: it asks anew when it is resumed.
    """
    database.execute("INSERT OR IGNORE INTO turns (run, team, taken) VALUES (?, ?, 0)", (run, turns.group))
    rows = database.execute(
        "SELECT run, taken FROM turns WHERE team = ? ORDER BY number", (turns.group,)
    ).fetchall()
    gone = [other for other, _ in rows if other != run and not is_live(other)]
    database.executemany("DELETE FROM turns WHERE run = ?", [(other,) for other in gone])
    others = [(other, taken) for other, taken in rows if other != run and other not in gone]
    place = [other for other, _ in rows].index(run)
    earlier = {other for other, _ in rows[:place]}
    before = tuple(other for other, taken in others if taken or other in earlier)
    if len(before) >= turns.limit:
        return before
    database.execute("UPDATE turns SET taken = 1 WHERE run = ?", (run,))
    return ()


def give_back(database: sqlite3.Connection, run: str) -> None:
    """Leave the group."""
    database.execute("DELETE FROM turns WHERE run = ?", (run,))
