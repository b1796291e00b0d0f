"""What is done about a dead run's folders: its attempts are recorded with their results, then the folders go."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scripted_engine import step

from runner.admission import breakers
from runner.clock import SystemClock
from runner.events import AttemptEnded, AttemptStarted, RunCreated, RunStarted
from runner.failsafe.breaker import HALF_OPEN, BreakerState
from runner.leftovers import Leftovers
from runner.planning.codec import VERSION, plan_json
from runner.planning.plan import Plan
from runner.settings import BreakerRule
from runner.store.artifacts import Artifacts
from runner.store.journal import Journal
from runner.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.events import Event

RULE = BreakerRule("hub", 2, 60.0)
PLAN = Plan(
    "w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": step("a", outputs=("f", "g*"), breaker=RULE)}
)


class Dies(BaseException):
    """The process ends."""


class DyingJournal(Journal):
    """A journal whose process ends instead of appending."""

    def append(self, *_: object) -> object:  # type: ignore[override]
        raise Dies


class House:
    """A state folder with one run whose runner died in its only attempt."""

    def __init__(self, folder: Path, plan: Plan = PLAN) -> None:
        self.layout, self.told = Layout(folder), list[str]()
        with self.journal() as journal:
            created = RunCreated("w", "staging", "fake", "d", "p")
            ownership = journal.create_run("r1", json.dumps(plan_json(plan)), created)
            journal.append(ownership, [RunStarted(), AttemptStarted("a", 1)])
        self.attempts = self.layout.attempts("r1", 0)
        self.out = self.attempts / "0-r1" / "out"
        self.out.mkdir(parents=True)
        (self.out / "f").write_text("half")
        (self.out / "good").write_text("")

    def journal(self) -> Journal:
        return Journal(self.layout.journal, SystemClock())

    def clear(
        self,
        is_live: Callable[[str], bool] = lambda _: False,
        journal: type[Journal] = Journal,
        ours: str = "",
    ) -> list[str]:
        opened = lambda: journal(self.layout.journal, SystemClock())  # noqa: E731 - one word
        return Leftovers(self.layout, opened, is_live, self.told.append, ours).clear()

    def last(self) -> Event:
        with self.journal() as journal:
            return journal.records("r1")[-1].event


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "home")


def names(ended: Event) -> list[str]:
    assert isinstance(ended, AttemptEnded)
    assert (ended.lost, ended.reason, ended.attempt) == (True, "infra", 1)
    return [kept.name for kept in ended.artifacts]


def test_a_lost_attempt_ends_with_what_it_left_and_its_folder_goes(house: House) -> None:
    assert house.clear() == [str(house.attempts)]
    ended = house.last()
    assert names(ended) == ["f", "good"]
    assert isinstance(ended, AttemptEnded)
    assert Artifacts(house.layout.home).path(ended.artifacts[0].sha256).read_text() == "half"
    assert not house.attempts.exists()
    assert house.clear() == []
    assert house.last() == ended, "once"


def test_who_dies_before_it_is_recorded_leaves_it_to_the_next(house: House) -> None:
    for _ in range(2):
        with pytest.raises(Dies):
            house.clear(journal=DyingJournal)
    assert isinstance(house.last(), AttemptStarted)
    house.clear()
    assert names(house.last()) == ["f", "good"]


def test_it_is_left_to_a_runner_that_opens_the_run_meanwhile(house: House) -> None:
    def opens_it(run: str) -> bool:
        with house.journal() as journal:
            journal.open_run(run)
        return False

    assert house.clear(opens_it) == []
    assert isinstance(house.last(), AttemptStarted)
    assert (house.out / "f").exists()
    house.clear(ours="r1")
    assert names(house.last()) == ["f", "good"]


def test_a_live_run_is_left_alone(house: House) -> None:
    assert house.clear(lambda _: True) == []
    assert isinstance(house.last(), AttemptStarted)
    assert (house.out / "f").exists()


def test_the_probe_of_a_breaker_is_given_back(house: House) -> None:
    with house.journal() as journal, journal.tables() as tables:
        breakers.write(tables, "hub", BreakerState(HALF_OPEN, 2, 1.0, "r1/a/1"))
    house.clear()
    with house.journal() as journal, journal.tables() as tables:
        assert breakers.read(tables, "hub") == BreakerState(HALF_OPEN, 2, 1.0, "")


def test_a_file_beyond_the_limit_is_named_and_not_taken(house: House) -> None:
    limit = replace(PLAN.steps["a"].limits).output
    with (house.out / "f").open("wb") as file:
        file.truncate(limit + 1)
    house.clear()
    assert names(house.last()) == ["good"]
    assert house.told == [f"run r1, a: not taken: f: is too much: more than {limit} bytes in all"]


def test_the_folder_of_a_run_that_the_journal_does_not_know_goes(house: House) -> None:
    stranger = house.layout.attempts("r2", 0)
    assert house.clear(lambda run: run == "r1") == [str(stranger)]


@pytest.mark.parametrize(("version", "goes"), [(VERSION - 1, True), (VERSION + 1, False)])
def test_the_folder_of_a_run_of_an_older_runner_goes_and_that_is_said_once(
    house: House, version: int, *, goes: bool
) -> None:
    with house.journal() as journal, journal.tables() as tables:
        tables.execute("UPDATE runs SET plan = json_set(plan, '$.version', ?)", (version,))
    assert house.clear() == ([str(house.attempts)] if goes else [])
    house.clear()
    kept = "goes with nothing kept" if goes else "stays where it is"
    assert [kept in words for words in house.told] == [True] * (1 if goes else 2), house.told
    assert isinstance(house.last(), AttemptStarted)


def test_the_archive_of_packages_that_nobody_waits_for_is_not_kept(tmp_path: Path) -> None:
    house = House(tmp_path / "home", replace(PLAN, workflow="w:requirements"))
    assert house.clear() == [str(house.attempts)]
    assert names(house.last()) == []


def test_the_folder_of_a_run_whose_journal_is_damaged_stays_and_that_is_said(house: House) -> None:
    with house.journal() as journal, journal.tables() as tables:
        tables.execute("UPDATE events SET data = '[]' WHERE seq = 3")
    assert house.clear() == []
    assert (house.out / "f").exists()
    assert house.told[0].startswith(
        "what run r1 left stays where it is: the journal's record 3 cannot be read"
    )
