"""A wall clock that jumps: under a runner, between two runners, and in what one left for the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scripted_engine import step

from runner.clock import Deadline, SteadyClock
from runner.engine.commands import Expire, Start
from runner.engine.decide import decide, next_time
from runner.engine.run import Run
from runner.events import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    RetryScheduled,
    RunHeld,
    RunStarted,
)
from runner.planning.plan import Plan, Retry

YEAR = 365 * 86400.0


@dataclass
class Jumping:
    """A machine whose wall clock somebody sets: ``wall`` jumps, ``boot`` does not."""

    wall: float = 1000.0
    boot: float = 50.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


def plan_of(*, timeout: float | None = None) -> Plan:
    one = step("a", retry=Retry(max_attempts=9, max_delay=30.0))
    return replace(Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": one}), timeout=timeout)


def paused(plan: Plan, until: float) -> Run:
    run = Run(plan, "r1")
    run.apply_event(RunStarted(), 1000.0)
    run.apply_event(AttemptStarted("a", 1), 1000.0)
    run.apply_event(AttemptEnded("a", 1, exit_code=1, reason="exit"), 1000.0)
    run.apply_event(RetryScheduled("a", 2, until), 1000.0)
    return run


def test_a_runner_s_time_is_the_wall_s_at_its_beginning_and_then_what_has_really_passed() -> None:
    machine = Jumping()
    steady = SteadyClock(machine)
    deadline = Deadline.after(10, steady)
    machine.pass_time(3)
    machine.wall += YEAR
    assert steady.now() == 1003.0
    assert steady.elapsed() == 53.0
    assert deadline.left() == 7.0
    machine.wall -= 2 * YEAR
    assert steady.now() == 1003.0
    assert not deadline.passed
    machine.pass_time(8)
    assert deadline.passed


def test_a_pause_of_a_runner_whose_clock_ran_ahead_does_not_hold_its_successor() -> None:
    plan = plan_of()
    run = paused(plan, until=1000.0 + YEAR)
    assert decide(plan, run, 1001.0) == [Start("a", 2)]


def test_a_pause_that_the_step_can_have_is_kept_and_ends_in_time() -> None:
    plan = plan_of()
    run = paused(plan, until=1030.0)
    assert next_time(run) == 1030.0
    assert decide(plan, run, 1029.9) == []
    assert decide(plan, run, 1030.0) == [Start("a", 2)]


def test_a_pause_is_over_for_a_runner_whose_clock_jumped_ahead() -> None:
    plan = plan_of()
    assert decide(plan, paused(plan, until=1030.0), 1000.0 + YEAR) == [Start("a", 2)]


def test_the_time_between_two_runners_does_not_count_whichever_way_the_clock_went() -> None:
    plan = plan_of(timeout=100.0)
    for jump in (YEAR, -YEAR):
        run = paused(plan, until=1000.0)
        run.apply_event(RetryScheduled("a", 2, 1060.0), 1060.0)  # 60 s were used when the runner died
        run.apply_event(RunStarted(resumed=True), 1060.0 + jump)
        assert run.deadline == 1060.0 + jump + 40.0
        assert Expire(100.0) not in decide(plan, run, 1060.0 + jump + 39.0)
        assert decide(plan, run, 1060.0 + jump + 40.0) == [Expire(100.0)]


def test_what_a_process_with_a_slower_clock_notes_gives_the_run_no_time_back() -> None:
    plan = plan_of(timeout=100.0)
    run = paused(plan, until=1000.0)
    run.apply_event(CancelRequested("somebody whose clock is a year behind"), 1000.0 - YEAR)
    run.apply_event(RunStarted(resumed=True), 2000.0)
    assert run.deadline is not None
    assert run.deadline <= 2100.0


def test_the_time_that_a_run_was_held_does_not_count() -> None:
    plan = plan_of(timeout=100.0)
    run = paused(plan, until=1000.0)
    run.apply_event(RunHeld("a person decides"), 1070.0)
    run.apply_event(RunStarted(resumed=True), 1000.0 + YEAR)
    assert run.deadline == 1000.0 + YEAR + 30.0
