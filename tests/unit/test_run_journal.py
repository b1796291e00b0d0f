"""The journal as one run sees it: what runs share is asked in the transaction that records the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scripted_engine import step

from runner.admission import breakers
from runner.admission.arbiter import Arbiter
from runner.clock import SystemClock
from runner.events import (
    AttemptEnded,
    AttemptStarted,
    BreakerRefused,
    Event,
    RunCreated,
    RunEnded,
    SecretOpened,
    TurnAwaited,
    TurnTaken,
)
from runner.failsafe.breaker import CLOSED, OPEN
from runner.planning.plan import Plan, Turns
from runner.settings import BreakerRule
from runner.store.journal import Journal
from runner.wiring import RunJournal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULE = BreakerRule("hub", 2, 60.0)
FAILED = AttemptEnded("a", 1, exit_code=1, reason="exit")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db", SystemClock()) as opened:
        yield opened


def seen_by(journal: Journal, run: str, turns: Turns | None = None) -> RunJournal:
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": step("a", breaker=RULE)})
    ownership = journal.create_run(run, "{}", RunCreated("w", "staging", "scripted", "d", "p"))
    return RunJournal(journal, ownership, Arbiter(run, replace(plan, turns=turns), lambda _: True), 1)


def events(mine: RunJournal, *wanted: Event) -> list[Event]:
    return [record.event for record in mine.append(wanted)]


def state(journal: Journal) -> str:
    with journal.tables() as tables:
        return breakers.read(tables, "hub").state


def test_an_attempt_behind_an_open_breaker_is_refused_and_its_secrets_stay_closed(journal: Journal) -> None:
    mine = seen_by(journal, "r1")
    with journal.tables() as tables:
        breakers.trip(tables, "hub", SystemClock().now())
    (refused,) = events(mine, AttemptStarted("a", 1), SecretOpened("a", 1, "pin"))
    assert isinstance(refused, BreakerRefused)
    assert [type(record.event) for record in journal.records("r1")] == [RunCreated, BreakerRefused]


def test_the_failures_of_all_runs_together_open_a_breaker(journal: Journal) -> None:
    one, two = seen_by(journal, "r1"), seen_by(journal, "r2")
    events(one, AttemptStarted("a", 1), FAILED)
    assert state(journal) == CLOSED
    events(two, AttemptStarted("a", 1), FAILED)
    assert state(journal) == OPEN


def test_a_full_group_makes_a_run_wait_until_the_one_ahead_has_ended(journal: Journal) -> None:
    turns = Turns("one", 1)
    first, second = seen_by(journal, "r1", turns), seen_by(journal, "r2", turns)
    assert events(first, TurnTaken("one")) == [TurnTaken("one")]
    assert events(second, TurnTaken("one")) == [TurnAwaited("one", ("r1",))]
    assert events(second, TurnTaken("one")) == []
    events(first, RunEnded("succeeded"))
    assert events(second, TurnTaken("one")) == [TurnTaken("one")]
