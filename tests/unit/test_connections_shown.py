"""What is shown of a run's connections: alike ones together, and why one came to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.summary import print_connections
from runner.clock import SystemClock
from runner.events import ConnectionEnded, RunCreated
from runner.history import History
from runner.settings import Settings
from runner.store.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_connection_that_failed_says_why_and_stands_apart_from_one_that_did_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(Settings(tmp_path / "home", tmp_path, tmp_path, tmp_path / "policy"))
    host = ("a", 1, "run", "api.example.com", 443, "https://api.example.com")
    with Journal(tmp_path / "home" / "journal.db", SystemClock()) as journal:
        ownership = journal.create_run("r1", "{}", RunCreated("w", "staging", "fake", "d", "p"))
        good = ConnectionEnded(*host, sent=3, received=9)
        events = [good, ConnectionEnded(*host, failed="cannot be reached"), good]
        journal.append(
            ownership, [*events, ConnectionEnded("a", 1, "run", "b.example", 443, denied="no rule")]
        )
    rows = history.connections("r1")
    assert [(row["failed"], row["denied"], row["count"], row["sent"]) for row in rows] == [
        ("", "", 2, 6),
        ("cannot be reached", "", 1, 0),
        ("", "no rule", 1, 0),
    ]
    print_connections(rows)
    said = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in said[3:]] == ["cannot be reached", "denied: no rule"]
