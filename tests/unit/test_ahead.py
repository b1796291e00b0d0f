"""The first sandbox is on its way before the executor is there, and never outlives its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scripted_engine import ScriptedDriver, step

from runner.engine.ahead import Attempts, lanes_ahead
from runner.errors import SandboxError
from runner.events import AttemptStarted
from runner.planning.plan import Plan, PlannedStep
from runner.sandbox.base import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.sandbox.base import Sandbox, SandboxSpec


class Slow(ScriptedDriver):
    """A driver whose sandboxes take long: it begins them, and may refuse to."""

    refuses = False

    def begin(self, spec: SandboxSpec) -> Callable[[], Sandbox]:
        if self.refuses:
            raise SandboxError("no")
        spec.directory.mkdir(parents=True)
        sandbox = self.create(spec)
        return lambda: sandbox


def attempts(folder: Path, *steps: PlannedStep) -> Attempts:
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {one.id: one for one in steps})
    return Attempts("r1", plan, folder)


def images(of: Attempts) -> dict[object, Image]:
    return {one.image: Image("i", "sha256:1") for one in of.plan.steps.values()}


def test_the_first_step_that_waits_for_nothing_is_begun_and_taken_by_its_attempt(tmp_path: Path) -> None:
    driver, asked = Slow(), attempts(tmp_path, step("b", needs=("a",)), step("a"))
    lanes = lanes_ahead(asked, driver, images(asked), 4)
    assert [spec.step for spec in driver.made] == ["a"]
    lane = lanes.choose("a")
    sandbox = lanes.sandbox(lane, asked.spec(AttemptStarted("a", 1), images(asked)))()
    assert {sandbox} == driver.alive
    assert len(driver.made) == 1
    sandbox.destroy()
    lanes.close()


def test_what_nobody_takes_is_gone_when_the_lanes_close(tmp_path: Path) -> None:
    driver, asked = Slow(), attempts(tmp_path, step("a"))
    lanes = lanes_ahead(asked, driver, images(asked), 1)
    assert driver.alive
    lanes.close()
    lanes.close()
    assert not driver.alive


@pytest.mark.parametrize(
    "kind", [{"condition": "failure()"}, {"shadowed": True}, {"final": True}, {"needs": ("x",)}]
)
def test_a_step_that_may_not_run_gets_no_sandbox_ahead(tmp_path: Path, kind: dict[str, object]) -> None:
    driver, asked = Slow(), attempts(tmp_path, step("a", **kind))
    lanes_ahead(asked, driver, images(asked), 1).close()
    assert not driver.made


def test_an_engine_that_refuses_is_left_to_the_attempt(tmp_path: Path) -> None:
    driver, asked = Slow(), attempts(tmp_path, step("a"))
    driver.refuses = True
    lanes = lanes_ahead(asked, driver, images(asked), 1)
    assert not lanes.parked()
    lanes.close()
