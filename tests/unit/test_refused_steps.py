"""A sandbox that is not as closed as it was meant to be refuses its step: for good, and nothing has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory_stores import MemoryStores
from scripted_engine import Bench, Inside, ScriptedDriver, step

from runner.planning.plan import Retry
from runner.sandbox.base import Exit

if TYPE_CHECKING:
    from pathlib import Path


def test_a_sandbox_that_refuses_its_step_is_not_tried_again_and_nothing_began(tmp_path: Path) -> None:
    def refuse(_: Inside) -> Exit:
        return Exit(125, "infra", "a network device is up in it", refused=True)

    bench = Bench(tmp_path / "run", MemoryStores(tmp_path))
    run = bench.run(ScriptedDriver({"a": refuse}), step("a", retry=Retry(max_attempts=4, backoff=0.01)))
    ended = run.steps["a"].last
    assert ended is not None
    assert (run.steps["a"].attempts, ended.began, ended.final) == (1, False, True)
    assert "network device" in ended.detail
