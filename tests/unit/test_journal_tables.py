"""What the journal keeps beside its events: leases that are open, who had a secret, and journals of before."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from runner.clock import SystemClock
from runner.events import (
    AttemptStarted,
    LeaseAsked,
    LeaseReturned,
    LeaseTaken,
    RunCreated,
    RunEnded,
    SecretOpened,
    SecretRevoked,
)
from runner.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREATED = RunCreated("digest", "staging", "bubblewrap", "d" * 64, "p" * 64)
PLACE = ("load", 1, "run")
ASKED = LeaseAsked(*PLACE, "db", "lease:ro", 50.0)
TAKEN = LeaseTaken(*PLACE, "db", "lease:ro", "id-1", 60.0)
RETURNED = LeaseReturned(*PLACE, "lease:ro", "id-1")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db", SystemClock()) as opened:
        opened.create_run("r1", "{}", CREATED)
        yield opened


def test_a_lease_is_open_from_its_intent_to_its_return(journal: Journal) -> None:
    ownership = journal.open_run("r1")
    journal.append(ownership, [ASKED])
    (lease,) = journal.open_leases()
    assert (lease.run, lease.step, lease.lease, lease.names) == ("r1", "load", "", ("db",))
    assert (lease.workflow, lease.mode, lease.definition, lease.plan) == (
        "digest",
        "staging",
        "d" * 64,
        "p" * 64,
    )
    journal.append(ownership, [TAKEN, LeaseTaken(*PLACE, "user", "lease:ro", "id-1", 60.0)])
    (lease,) = journal.open_leases()
    assert (lease.lease, lease.expires, set(lease.names)) == ("id-1", 60.0, {"db", "user"})
    journal.append(ownership, [RETURNED])
    assert journal.open_leases() == []


def test_a_lease_can_be_returned_after_its_run_has_ended(journal: Journal) -> None:
    journal.append(journal.open_run("r1"), [TAKEN, RunEnded("failed")])
    journal.settle("r1", [RETURNED])
    assert journal.open_leases() == []
    assert journal.runs()[0].status == "failed"
    assert journal.records("r1")[-1].event == RETURNED


def test_events_of_secrets_come_back_as_they_were(journal: Journal) -> None:
    events = [ASKED, TAKEN, RETURNED, SecretRevoked(("a", "b"), "anna")]
    journal.append(journal.open_run("r1"), events)
    assert [record.event for record in journal.records("r1")][1:] == events


def test_uses_tell_who_had_a_secret_and_whether_it_was_leased(journal: Journal) -> None:
    journal.create_run("r2", "{}", RunCreated("other", "production", "docker", "d", "p"))
    for run in ("r1", "r2"):
        opened = [AttemptStarted("load", 1), SecretOpened("load", 1, "db"), SecretOpened("load", 1, "key")]
        journal.append(journal.open_run(run), opened)
    journal.append(journal.open_run("r1"), [TAKEN])
    found = {(use.name, use.run): (use.workflow, use.mode, use.leased) for use in journal.uses()}
    assert found == {
        ("db", "r1"): ("digest", "staging", True),
        ("key", "r1"): ("digest", "staging", False),
        ("db", "r2"): ("other", "production", False),
        ("key", "r2"): ("other", "production", False),
    }


@pytest.mark.parametrize(("version", "dropped"), [(2, ["leases"]), (1, ["leases", "breakers", "turns"])])
def test_a_journal_of_before_is_opened_and_goes_on(
    journal: Journal, tmp_path: Path, version: int, dropped: list[str]
) -> None:
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as database:
        for table in dropped:
            database.execute(f"DROP TABLE {table}")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with Journal(tmp_path / "journal.db", SystemClock()) as opened:
        opened.append(opened.open_run("r1"), [TAKEN])
        assert [lease.lease for lease in opened.open_leases()] == ["id-1"]
