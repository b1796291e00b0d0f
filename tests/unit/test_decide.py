"""The pure core, one rule a test."""

from __future__ import annotations

import time
from typing import Any

from scripted_engine import step

from runner.engine.commands import Command, Finish, Pause, Settle, Start, events_of
from runner.engine.decide import decide, next_time
from runner.engine.report import exit_code, run_object
from runner.engine.run import Run
from runner.events import (
    AttemptEnded,
    CancelRequested,
    RunStarted,
)
from runner.planning.plan import Plan, PlannedStep, Retry


def plan_of(*steps: PlannedStep) -> Plan:
    return Plan("w", "w.yaml", "staging", "d", "p", "", "", {"month": "10"}, {one.id: one for one in steps})


def leg(name: str, key: int, **more: Any) -> PlannedStep:
    return step(f"{name}[n={key}]", **{"matrix": {"n": key}, **more})


class Game:
    """A run driven by hand: ``go`` does all that is decided, ``end`` ends an attempt."""

    def __init__(self, *steps: PlannedStep) -> None:
        self.plan = plan_of(*steps)
        self.run = Run(self.plan, "r1")
        self.now = 100.0
        self.run.apply_event(RunStarted(), self.now)

    def go(self, free: int = 100) -> list[Command]:
        done: list[Command] = []
        while commands := decide(self.plan, self.run, self.now, free):
            done += commands
            for command in commands:
                free -= isinstance(command, Start)
                self.take(command)
        return done

    def take(self, command: Command) -> None:
        for event in events_of(self.plan, command):
            self.run.apply_event(event, self.now)

    def end(
        self, name: str, reason: str | None = None, code: int | None = None, **outputs: str
    ) -> list[Command]:
        number = self.run.steps[name].attempts
        status = code if code is not None else (1 if reason else 0)
        ended = AttemptEnded(name, number, exit_code=status, reason=reason, outputs=outputs)
        self.run.apply_event(ended, self.now)
        return self.go()

    def statuses(self) -> dict[str, str]:
        return {name: state.status for name, state in self.run.steps.items()}


def test_steps_start_when_their_needs_have_settled_and_in_the_order_of_the_plan() -> None:
    game = Game(step("a"), step("b"), step("c", "a", "b"))
    assert game.go() == [Start("a", 1), Start("b", 1)]
    assert game.end("b") == [Settle("b", "succeeded")]
    assert game.end("a") == [Settle("a", "succeeded"), Start("c", 1)]
    assert game.end("c")[-1] == Finish("succeeded")
    assert exit_code(game.run) == 0


def test_no_more_steps_start_than_lanes_are_free() -> None:
    game = Game(*(step(f"s{number}") for number in range(9)))
    assert game.go(free=2) == [Start("s0", 1), Start("s1", 1)]


def test_a_failed_need_skips_what_follows_and_fails_the_run() -> None:
    game = Game(step("a"), step("b", "a"), step("c", "b"))
    game.go()
    game.end("a", "exit")
    assert game.statuses() == {"a": "failed", "b": "skipped", "c": "skipped"}
    assert [game.run.steps[name].reason for name in "abc"] == ["exit", "dependency", "dependency"]
    assert game.run.status == "failed"
    assert exit_code(game.run) == 1


def test_an_engine_that_let_a_step_down_gives_exit_status_four() -> None:
    game = Game(step("a"))
    game.go()
    for pause in (1.0, 2.0, 4.0, 8.0):
        assert game.end("a", "infra")[0].at == game.now + pause
        game.now += pause
        game.go()
    game.end("a", "infra")
    assert game.run.status == "failed"
    assert exit_code(game.run) == 4


def test_failure_and_always_see_failed_ancestors_through_skipped_steps() -> None:
    game = Game(
        step("a"),
        step("b", "a"),
        step("on_failure", "b", condition="failure()"),
        step("always", "b", condition="always()"),
    )
    game.go()
    game.end("a", "exit")
    assert game.statuses()["on_failure"] == "running"
    assert game.statuses()["always"] == "running"


def test_a_condition_reads_outputs_of_earlier_steps_and_skips_without_failing() -> None:
    game = Game(
        step("a"),
        step("yes", "a", condition="steps.a.outputs.size == 'big'"),
        step("no", "a", condition="${{ needs.a.outputs.size == 'small' }}"),
    )
    game.go()
    game.end("a", size="big")
    assert game.statuses() == {"a": "succeeded", "yes": "running", "no": "skipped"}
    assert game.run.steps["no"].reason is None
    game.end("yes")
    assert game.run.status == "succeeded"


def test_a_condition_that_cannot_be_evaluated_fails_its_step_in_words() -> None:
    game = Game(step("a", condition="fromJSON('{')"))
    game.go()
    assert game.statuses() == {"a": "failed"}
    assert "fromJSON" in game.run.steps["a"].detail


def test_a_failure_that_is_allowed_counts_as_success() -> None:
    game = Game(step("a", continue_on_error=True), step("b", "a"))
    game.go()
    game.end("a", "exit")
    game.end("b")
    assert game.statuses() == {"a": "failed", "b": "succeeded"}
    assert game.run.status == "succeeded"


def test_a_retry_waits_for_its_time_and_then_starts_the_next_attempt() -> None:
    game = Game(step("a", retry=Retry(max_attempts=2, backoff=5.0, jitter=False)))
    game.go()
    assert game.end("a", "exit") == [Pause("a", 2, 105.0)]
    assert next_time(game.run) == 105.0
    game.now = 104.9
    assert game.go() == []
    game.now = 105.0
    assert game.go() == [Start("a", 2)]
    game.end("a", "exit")
    assert game.run.steps["a"].attempts == 2
    assert game.run.status == "failed"


def test_a_write_is_tried_again_only_if_it_is_idempotent_else_the_run_is_held() -> None:
    retry = Retry(max_attempts=3, jitter=False)
    careful = Game(step("a", effects="write", retry=retry))
    careful.go()
    careful.end("a", "timeout")
    assert careful.run.status == "held"
    assert exit_code(careful.run) == 6
    bold = Game(step("a", effects="write", idempotent=True, retry=retry))
    bold.go()
    assert isinstance(bold.end("a", "timeout")[0], Pause)


def test_a_shadowed_step_does_not_run_and_counts_as_success() -> None:
    game = Game(step("a", shadowed=True, effects="write"), step("b", "a"))
    assert game.go()[-1] == Start("b", 1)
    game.end("b")
    assert game.run.status == "rehearsed"
    assert game.run.detail == "1 write was not performed"
    assert run_object(game.run)["steps"]["a"]["reason"] == "shadowed"


def test_a_matrix_runs_at_most_so_many_legs_at_once() -> None:
    game = Game(*(leg("m", key, max_parallel=2) for key in range(4)), step("other"))
    assert game.go() == [Start("m[n=0]", 1), Start("m[n=1]", 1), Start("other", 1)]
    assert game.end("m[n=1]")[-1] == Start("m[n=2]", 1)


def test_a_failed_leg_cancels_the_siblings_that_have_not_begun() -> None:
    game = Game(*(leg("m", key, max_parallel=2) for key in range(4)))
    game.go()
    game.end("m[n=0]", "exit")
    assert list(game.statuses().values()) == ["failed", "running", "cancelled", "cancelled"]
    game.end("m[n=1]")
    assert game.run.status == "failed"


def test_without_fail_fast_the_other_legs_go_on() -> None:
    game = Game(*(leg("m", key, max_parallel=1, fail_fast=False) for key in range(2)))
    game.go()
    assert game.end("m[n=0]", "exit")[-1] == Start("m[n=1]", 1)


def test_final_steps_run_last_and_their_failure_makes_a_good_run_failed() -> None:
    game = Game(step("a"), step("end", final=True))
    assert game.go() == [Start("a", 1)]
    assert game.end("a")[-1] == Start("end", 1)
    game.end("end", "exit")
    assert game.run.status == "failed"


def test_final_steps_run_after_a_failure_and_can_ask_for_it() -> None:
    game = Game(
        step("a"),
        step("plain", final=True),
        step("on_failure", final=True, condition="failure()"),
        step("on_success", final=True, condition="success()"),
    )
    game.go()
    game.end("a", "exit")
    assert game.statuses() == {
        "a": "failed",
        "plain": "running",
        "on_failure": "running",
        "on_success": "skipped",
    }


def test_cancelling_settles_what_has_not_begun_and_still_runs_the_final_steps() -> None:
    game = Game(
        step("a"),
        step("paused", retry=Retry(max_attempts=2, jitter=False)),
        step("b", "a", condition="always()"),
        step("end", final=True),
    )
    game.go()
    game.end("paused", "exit")
    game.run.apply_event(CancelRequested("SIGINT"), game.now)
    game.go()
    assert game.statuses() == {"a": "running", "paused": "cancelled", "b": "cancelled", "end": "pending"}
    assert game.end("a", "cancelled", 143)[-1] == Start("end", 1)
    game.end("end")
    assert game.run.status == "cancelled"
    assert exit_code(game.run) == 130


def test_cancelling_twice_gives_up_the_final_steps_too() -> None:
    game = Game(step("a"), step("end", final=True))
    game.go()
    game.run.apply_event(CancelRequested("SIGINT"), game.now)
    game.run.apply_event(CancelRequested("SIGINT"), game.now)
    game.end("a", "cancelled", 137)
    assert game.statuses() == {"a": "cancelled", "end": "cancelled"}
    assert game.run.status == "cancelled"


def test_nothing_is_tried_again_after_cancelling() -> None:
    game = Game(step("a", retry=Retry(max_attempts=5)))
    game.go()
    game.run.apply_event(CancelRequested("SIGINT"), game.now)
    game.end("a", "exit")
    assert game.statuses() == {"a": "failed"}


def test_a_thousand_steps_take_a_few_milliseconds_a_decision() -> None:
    steps = [step(f"s{number}", *([f"s{number - 500}"] if number >= 500 else [])) for number in range(1000)]
    game = Game(*steps)
    decisions = 0
    began = time.perf_counter()
    game.go(free=4)
    while not game.run.over:
        name = min(game.run.active, key=game.run.order.__getitem__)
        game.run.apply_event(AttemptEnded(name, 1, exit_code=0), game.now)
        game.go(free=4 - len(game.run.active))
        decisions += 1
    assert decisions == 1000
    assert (time.perf_counter() - began) / decisions < 0.005
    assert game.run.status == "succeeded"


def test_a_new_runner_gives_an_engine_that_let_a_step_down_all_its_chances_anew() -> None:
    game = Game(step("a"))
    game.go()
    for _ in range(4):
        game.end("a", "infra")
        game.now += 60
        game.go()
    number = game.run.steps["a"].attempts
    game.run.apply_event(AttemptEnded("a", number, reason="infra"), game.now)
    assert decide(game.plan, game.run, game.now)[0] == Settle("a", "failed", "infra")
    game.run.apply_event(RunStarted(resumed=True), game.now)
    assert isinstance(decide(game.plan, game.run, game.now)[0], Pause)
