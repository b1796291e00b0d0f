"""What follows for an attempt whose runner died: it is made again at once, unless it may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_stores import MemoryStores
from scripted_engine import Bench, ScriptedDriver, step

from runner.engine.commands import Hold, Pause, Settle, Start
from runner.engine.decide import decide
from runner.engine.run import Run
from runner.events import PHASE_COMPENSATE, AttemptEnded, AttemptStarted, RunCreated, RunStarted
from runner.planning.plan import Plan, PlannedStep, Retry

if TYPE_CHECKING:
    from pathlib import Path

    from runner.engine.commands import Command

NOW = 100.0
ONCE = Retry(max_attempts=1, on=(75,))


def left_by_a_dead_runner(one: PlannedStep, times: int = 1) -> tuple[Plan, Run]:
    """Return a run whose runner died so many times while its step ran, as the last resume finds it."""
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {one.id: one})
    run = Run(plan, "r1")
    for number in range(1, times + 1):
        run.apply_event(RunStarted(resumed=number > 1), NOW)
        run.apply_event(AttemptStarted(one.id, number), NOW)
        run.apply_event(AttemptEnded(one.id, number, reason="infra", lost=True), NOW)
    return plan, run


def next_of(one: PlannedStep, times: int = 1) -> Command:
    plan, run = left_by_a_dead_runner(one, times)
    return decide(plan, run, NOW)[0]


@pytest.mark.parametrize("times", [1, 50])
def test_an_attempt_whose_runner_died_is_made_again_at_once_however_often_that_happens(times: int) -> None:
    assert next_of(step("a", retry=ONCE), times) == Pause("a", times + 1, NOW)


def test_a_write_whose_runner_died_is_held_for_a_person() -> None:
    assert isinstance(next_of(step("a", effects="write", retry=ONCE)), Hold)


def test_an_idempotent_write_whose_runner_died_is_made_again() -> None:
    assert next_of(step("a", effects="write", idempotent=True)) == Pause("a", 2, NOW)


def test_a_write_whose_runner_died_is_undone_and_then_made_again() -> None:
    undo = step("a", effects="write", retry=ONCE)
    assert next_of(step("a", effects="write", compensate=undo)) == Start("a", 1, PHASE_COMPENSATE)


def test_the_exits_of_a_step_count_beside_the_attempts_whose_runner_died() -> None:
    plan, run = left_by_a_dead_runner(step("a", retry=Retry(max_attempts=1)), 3)
    run.apply_event(AttemptStarted("a", 4), NOW)
    run.apply_event(AttemptEnded("a", 4, exit_code=1, reason="exit"), NOW)
    assert decide(plan, run, NOW)[0] == Settle("a", "failed", "exit")


def test_the_exits_of_a_step_count_though_somebody_found_its_lost_attempt_before_the_next_runner() -> None:
    one = step("a", retry=Retry(max_attempts=2, on=(75,)))
    plan, run = left_by_a_dead_runner(one, 0)
    run.apply_event(RunStarted(), NOW)
    run.apply_event(AttemptStarted("a", 1), NOW)
    run.apply_event(AttemptEnded("a", 1, exit_code=75, reason="exit"), NOW)
    run.apply_event(AttemptStarted("a", 2), NOW)
    run.apply_event(AttemptEnded("a", 2, reason="infra", lost=True), NOW)
    run.apply_event(RunStarted(resumed=True), NOW)
    assert decide(plan, run, NOW)[0] == Pause("a", 3, NOW)
    run.apply_event(AttemptStarted("a", 3), NOW)
    run.apply_event(AttemptEnded("a", 3, exit_code=75, reason="exit"), NOW)
    assert decide(plan, run, NOW)[0] == Settle("a", "failed", "exit")


def test_the_time_until_a_lost_attempt_is_found_is_not_the_runs() -> None:
    plan, run = left_by_a_dead_runner(step("a"), 0)
    run.apply_event(RunStarted(), NOW)
    run.apply_event(AttemptStarted("a", 1), NOW + 2)
    run.apply_event(AttemptEnded("a", 1, reason="infra", lost=True), NOW + 9000)
    run.apply_event(RunStarted(resumed=True), NOW + 9999)
    assert (run.used, plan.timeout) == (2, None)


def test_a_resume_takes_the_write_of_a_dead_runner_for_begun_and_asks_a_person(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", MemoryStores(tmp_path))
    bench.stores.append([RunCreated("w", "staging", "scripted", "d", "p"), RunStarted()])
    bench.stores.append([AttemptStarted("a", 1)])
    driver = ScriptedDriver()
    assert bench.run(driver, step("a", effects="write", retry=ONCE)).status == "held"
    assert driver.made == []
