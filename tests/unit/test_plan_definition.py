from __future__ import annotations

from typing import TYPE_CHECKING

from runner.planning.compile import PlanRequest, make_plan
from runner.planning.snapshots import Snapshots
from runner.workflow.load import load

if TYPE_CHECKING:
    from pathlib import Path


def test_the_definition_depends_on_the_policy_and_on_the_recipe_of_each_profile(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\nsteps:\n  a: {run: 'true'}\n")
    loaded = load(path)

    def definition(policy: str, recipe: str) -> str:
        request = PlanRequest("staging", {}, policy, lambda _: recipe)
        return make_plan(loaded, request, Snapshots(tmp_path / "snapshots")).definition

    assert definition("p", "r") == definition("p", "r")
    assert len({definition("p", "r"), definition("q", "r"), definition("p", "s")}) == 3
