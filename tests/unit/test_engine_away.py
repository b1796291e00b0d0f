"""An engine that stays away: the run is left as it is, and what could not be removed is tried once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_stores import MemoryStores
from scripted_engine import Bench, Inside, ScriptedDriver, step

from runner.engine.run import fold
from runner.errors import EngineUnavailable, FenceLost
from runner.events import RunEnded, StepSettled
from runner.planning.plan import Plan, Retry
from runner.sandbox.base import Capabilities, Exit
from runner.sandbox.docker.removals import Removals

if TYPE_CHECKING:
    from pathlib import Path

QUICK = Retry(backoff=0.001, max_delay=0.001)


class Away(ScriptedDriver):
    """An engine that loses every attempt; ``away`` says whether it answers when it is asked."""

    away = True

    def check(self) -> Capabilities:
        if self.away:
            raise EngineUnavailable("nothing answers")
        return super().check()


def lose(_: Inside) -> Exit:
    return Exit(None, "infra", "nobody confirmed the end")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run", MemoryStores(tmp_path))


def test_a_run_whose_engine_stays_away_is_left_to_a_resume_and_not_failed(bench: Bench) -> None:
    one = step("a", retry=QUICK)
    with pytest.raises(EngineUnavailable, match="stops here"):
        bench.run(Away({"a": lose}), one)
    assert bench.events(RunEnded) == bench.events(StepSettled) == []
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": one})
    assert fold(plan, bench.stores.records, "r1").undecided == {"a"}
    assert bench.run(ScriptedDriver(), one).status == "succeeded"


def test_a_step_that_a_living_engine_loses_each_time_fails(bench: Bench) -> None:
    driver = Away({"a": lose})
    driver.away = False
    ended = bench.run(driver, step("a", retry=QUICK))
    assert (ended.status, ended.steps["a"].reason) == ("failed", "infra")


def test_a_cancelled_run_ends_even_where_no_engine_answers(bench: Bench) -> None:
    def lose_and_cancel(_: Inside) -> Exit:
        bench.cancellation.cancel("SIGINT")
        return Exit(None, "infra", "nobody confirmed the end")

    assert bench.run(Away({"a": lose_and_cancel}), step("a", retry=QUICK)).over


def test_a_removal_that_failed_is_made_once_more_at_the_end() -> None:
    removals, made = Removals(), []

    def remove() -> None:
        made.append(len(made))
        if len(made) == 1:
            raise EngineUnavailable("away for a moment")

    removals.submit(remove)
    removals.finish()
    assert made == [0, 1]


def test_a_removal_that_fails_at_the_end_too_is_said() -> None:
    removals = Removals()

    def fail() -> None:
        raise EngineUnavailable("away for good")

    removals.submit(fail)
    with pytest.raises(EngineUnavailable, match="away for good"):
        removals.finish()


def test_a_runner_that_has_a_successor_by_now_starts_nothing_any_more(bench: Bench) -> None:
    bench.stores.successor = True
    driver = ScriptedDriver()
    with pytest.raises(FenceLost):
        bench.run(driver, step("a"))
    assert driver.begun == []
