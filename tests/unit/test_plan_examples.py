"""Every example workflow that ships can be planned, and its plan can be kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.planning.compile import make_plan
from runner.planning.planner import PlanRequest
from runner.planning.render import explain, graph, plan_from_json, plan_json, plan_text
from runner.planning.snapshots import Snapshots
from runner.planning.support import refuse_unbuilt
from runner.workflow.inputs import resolve_inputs
from runner.workflow.load import load

EXAMPLES = sorted((Path(__file__).parents[2] / "workflows").glob("*/workflow.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_loaded_planned_shown_and_kept(path: Path, tmp_path: Path) -> None:
    loaded = load(path)
    refuse_unbuilt(loaded, "staging")
    request = PlanRequest("staging", resolve_inputs(loaded.model, {}))
    plan = make_plan(loaded, request, Snapshots(tmp_path / "snapshots"))
    assert {step.step for step in plan.steps.values()} == {*loaded.model.steps, *loaded.model.finally_steps}
    assert plan_from_json(json.loads(json.dumps(plan_json(plan)))) == plan
    for name in plan.steps:
        assert name in plan_text(plan)
        assert name in graph(plan)
        assert name in explain(loaded, plan)
    assert all(mount.source.exists() for step in plan.steps.values() for mount in step.mounts)


def test_examples_are_there() -> None:
    assert EXAMPLES
