from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.errors import UsageError, WorkflowError
from runner.planning.compile import make_plan
from runner.planning.planner import PlanRequest
from runner.planning.snapshots import Snapshots
from runner.workflow.load import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.planning.plan import Plan


def test_the_definition_depends_on_the_policy_and_on_the_recipe_of_each_profile(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\nsteps:\n  a: {run: 'true'}\n")
    loaded = load(path)

    def definition(policy: str, recipe: str) -> str:
        request = PlanRequest("staging", {}, policy, lambda _: recipe)
        return make_plan(loaded, request, Snapshots(tmp_path / "snapshots")).definition

    assert definition("p", "r") == definition("p", "r")
    assert len({definition("p", "r"), definition("q", "r"), definition("p", "s")}) == 3


def planned(folder: Path, text: str, recipe: Callable[[str], str] = str) -> Plan:
    (folder / "w.yaml").write_text(text)
    request = PlanRequest("staging", {}, "", recipe)
    return make_plan(load(folder / "w.yaml"), request, Snapshots(folder.parent / "snapshots"))


def test_the_image_of_a_compensation_is_part_of_the_definition(tmp_path: Path) -> None:
    text = "name: w\nsteps:\n  a: {run: 'true', compensate: {run: 'true', sandbox: python}}\n"
    project = tmp_path / "project"
    project.mkdir()
    one = planned(project, text, lambda name: name).definition
    other = planned(project, text, lambda name: "new" if name == "python" else name).definition
    assert one != other


def test_an_unknown_profile_and_a_bad_mount_are_located(tmp_path: Path) -> None:
    def recipe(name: str) -> str:
        raise UsageError(f"there is no sandbox profile named {name!r}", cure="choose one of: minimal")

    project = tmp_path / "project"
    (project / "real").mkdir(parents=True)
    (project / "real" / "evil").symlink_to("/etc")
    text = "name: w\nsteps:\n  a: {run: 'true', mounts: ['./real:/a']}\n  b: {run: 'true', sandbox: pyton}\n"
    with pytest.raises(WorkflowError) as caught:
        planned(project, text, recipe)
    found = {(problem.line, problem.message) for problem in caught.value.problems}
    assert any(line == 4 and "'pyton' (choose one of: minimal)" in words for line, words in found)
    assert any(line == 3 for line, _ in found)


def test_a_bad_mount_of_the_defaults_is_told_once(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "real").mkdir(parents=True)
    (project / "real" / "evil").symlink_to("/etc")
    text = "name: w\ndefaults: {mounts: ['./real:/a']}\nsteps:\n  a: {run: x}\n  b: {run: x}\n"
    with pytest.raises(WorkflowError, match="cannot be mounted") as caught:
        planned(project, text)
    assert [problem.line for problem in caught.value.problems] == [4]
