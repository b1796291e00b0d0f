"""Sandboxes that are made ahead of their steps: each is used once or destroyed, and none shares a folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from scripted_engine import Bench, Inside, ScriptedDriver, ScriptedSandbox, fresh, napping, step

from runner.planning.plan import Retry, SecretUse
from runner.sandbox.base import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with fresh(tmp_path) as made:
        yield made


def test_parked_sandboxes_are_used_once_and_none_is_left(bench: Bench) -> None:
    names = [f"s{number}" for number in range(8)]
    steps = [step(name, *names[max(0, place - 1) : place]) for place, name in enumerate(names)]
    driver = ScriptedDriver(dict.fromkeys(names, napping(0.01)), parks=True)
    assert bench.run(driver, *steps).status == "succeeded"
    assert sorted(spec.step for spec in driver.made) == names


def test_after_the_engine_let_a_step_down_what_was_made_ahead_is_made_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: Inside) -> Exit:
        return Exit(None, "infra", "nobody confirmed the end")

    def slowly(sandbox: ScriptedSandbox) -> None:
        time.sleep(0.05)
        destroy(sandbox)

    destroy = ScriptedSandbox.destroy
    monkeypatch.setattr(ScriptedSandbox, "destroy", slowly)  # the folder is its own until it is gone

    driver = ScriptedDriver({"a": lost}, parks=True)
    quick = Retry(backoff=0.01, max_delay=0.01)
    run = bench.run(driver, step("a", continue_on_error=True, retry=quick), step("b", "a"), lanes=1)
    assert (run.steps["b"].status, run.steps["b"].attempts) == ("succeeded", 1)
    assert sum(spec.step == "b" for spec in driver.made) > 2


def test_a_sandbox_parked_for_a_step_that_does_not_run_is_destroyed(bench: Bench) -> None:
    driver = ScriptedDriver({"a": napping(0.05, 1)}, parks=True)
    assert bench.run(driver, step("a"), step("b", "a")).status == "failed"
    assert sorted(spec.step for spec in driver.made) == ["a", "b"]


def test_parking_with_many_lanes_runs_every_step_once(bench: Bench) -> None:
    names = [f"s{number}" for number in range(12)]
    driver = ScriptedDriver(dict.fromkeys(names, napping(0.005)), parks=True)
    steps = [step(name, *([names[place - 3]] if place > 2 else [])) for place, name in enumerate(names)]
    assert bench.run(driver, *steps, lanes=3).status == "succeeded"
    assert sorted(driver.begun) == sorted(names)


def test_an_attempt_that_never_gets_a_sandbox_does_not_hold_up_what_is_parked(bench: Bench) -> None:
    denied = step("a", secrets=(SecretUse("T", "token"),), continue_on_error=True)
    run = bench.run(ScriptedDriver(parks=True), denied, step("b"), step("c", "a"), step("d", "b"))
    assert [state.status for state in run.steps.values()] == ["failed", "succeeded", "succeeded", "succeeded"]
