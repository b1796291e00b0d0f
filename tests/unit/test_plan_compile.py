"""A workflow becomes a plan."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import NotBuilt, WorkflowError
from runner.planning.compile import make_plan
from runner.planning.plan import ImageRef, Input, Plan, SecretUse
from runner.planning.planner import PlanRequest
from runner.planning.render import explain, graph, plan_from_json, plan_json, plan_text
from runner.planning.snapshots import Snapshots
from runner.planning.support import refuse_unbuilt
from runner.workflow.model import Workflow


@dataclass(frozen=True)
class Loaded:
    model: Workflow
    path: Path
    project: Path
    warnings: tuple[str, ...] = ()
    positions: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)


def loaded(folder: Path, steps: dict[str, Any], **rest: Any) -> Loaded:
    model = Workflow.model_validate({"name": "sample", "steps": steps, **rest})
    return Loaded(model, folder / "workflow.yaml", folder)


def plan(given: Loaded, mode: str = "staging", **inputs: Any) -> Plan:
    return make_plan(given, PlanRequest(mode, inputs), Snapshots(given.project / ".state" / "snapshots"))


MATRIX = {"strategy": {"matrix": {"os": ["a", "b"], "v": [1, 2]}}}


def test_a_string_is_for_the_shell_and_a_list_is_argv(tmp_path: Path) -> None:
    made = plan(loaded(tmp_path, {"one": {"run": "echo hi"}, "two": {"run": ["echo", "hi there"]}}))
    assert made.steps["one"].argv == ("/bin/sh", "-ec", "echo hi")
    assert made.steps["two"].argv == ("echo", "hi there")


def test_a_step_inherits_what_it_does_not_say_field_by_field(tmp_path: Path) -> None:
    defaults = {"sandbox": "python", "timeout": "5m", "resources": {"memory": "512MiB", "pids": 9}}
    steps = {
        "one": {"run": "x"},
        "two": {"run": "x", "image": "i:1", "timeout": "1s", "resources": {"pids": 5}},
    }
    made = plan(loaded(tmp_path, steps, defaults=defaults))
    one, two = made.steps["one"], made.steps["two"]
    assert (one.image, one.timeout) == (ImageRef("profile", "python"), 300.0)
    assert (two.image, two.timeout) == (ImageRef("reference", "i:1"), 1.0)
    assert (one.limits.memory, one.limits.pids, one.limits.files) == (512 << 20, 9, 1024)
    assert (two.limits.memory, two.limits.pids) == (512 << 20, 5)


def test_a_file_taken_from_a_step_implies_the_need_and_every_need_comes_first(tmp_path: Path) -> None:
    steps = {
        "last": {"run": "x", "in": {"a": "middle/f"}},
        "middle": {"run": "x", "needs": ["first"]},
        "first": {"run": "x"},
    }
    made = plan(loaded(tmp_path, steps))
    assert list(made.steps) == ["first", "middle", "last"]
    assert made.steps["last"].needs == ("middle",)
    assert made.steps["last"].inputs == (Input("a", "middle", "f"),)


def test_a_circle_is_an_error_that_names_its_steps(tmp_path: Path) -> None:
    steps = {"a": {"run": "x", "needs": ["b"]}, "b": {"run": "x", "needs": ["a"]}, "c": {"run": "x"}}
    with pytest.raises(WorkflowError, match="in a circle: a, b"):
        plan(loaded(tmp_path, steps))


def test_unknown_steps_are_told_all_at_once(tmp_path: Path) -> None:
    steps = {"a": {"run": "x", "needs": ["nope"]}, "b": {"run": "x", "in": {"f": "gone/f"}}}
    with pytest.raises(WorkflowError) as caught:
        plan(loaded(tmp_path, steps))
    assert [problem.message for problem in caught.value.problems] == [
        "a: there is no step 'nope'",
        "b: there is no step 'gone'",
    ]


def test_an_error_says_where_its_step_stands(tmp_path: Path) -> None:
    steps = {"a": {"run": "x", "strategy": {"matrix": {"v": []}}}}
    given = replace(loaded(tmp_path, steps), positions={("steps", "a"): (7, 3)})
    with pytest.raises(WorkflowError, match=r"workflow\.yaml:7:3: error: a: its matrix has no legs"):
        plan(given)


def test_finally_steps_stand_last_and_keep_their_files(tmp_path: Path) -> None:
    given = loaded(tmp_path, {"a": {"run": "x"}}, **{"finally": {"end": {"run": "y", "in": {"f": "a/f"}}}})
    made = plan(given)
    assert list(made.steps) == ["a", "end"]
    assert made.steps["end"].final
    assert not made.steps["a"].final


def test_a_matrix_becomes_legs_named_by_their_values(tmp_path: Path) -> None:
    made = plan(loaded(tmp_path, {"b": {"run": "x", "env": {"V": "${{ matrix.v }}"}, **MATRIX}}))
    assert list(made.steps) == ["b[os=a,v=1]", "b[os=a,v=2]", "b[os=b,v=1]", "b[os=b,v=2]"]
    assert made.steps["b[os=b,v=2]"].matrix == {"os": "b", "v": 2}
    assert made.steps["b[os=b,v=2]"].env == {"V": "2"}


def test_include_and_exclude_follow_github(tmp_path: Path) -> None:
    matrix = {
        "fruit": ["apple", "pear"],
        "animal": ["cat", "dog"],
        "include": [
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    }
    made = plan(loaded(tmp_path, {"b": {"run": "x", "strategy": {"matrix": matrix}}}))
    assert [step.matrix for step in made.steps.values()] == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    left = {"os": ["a", "b"], "v": [1, 2], "exclude": [{"os": "a"}, {"os": "b", "v": 2}]}
    made = plan(loaded(tmp_path, {"b": {"run": "x", "strategy": {"matrix": left}}}))
    assert list(made.steps) == ["b[os=b,v=1]"]


def test_a_need_on_a_matrix_waits_for_every_leg_and_files_come_from_those_that_agree(tmp_path: Path) -> None:
    both = {"strategy": {"matrix": {"os": ["a", "b"]}}}
    steps = {
        "make": {"run": "x", **both},
        "check": {"run": "x", "in": {"f": "make/f"}, **both},
        "join": {"run": "x", "needs": ["check"], "in": {"f": "make/f"}},
    }
    made = plan(loaded(tmp_path, steps))
    assert made.steps["check[os=b]"].inputs == (Input("f", "make[os=b]", "f"),)
    assert made.steps["check[os=b]"].needs == ("make[os=b]",)
    assert [each.name for each in made.steps["join"].inputs] == ["f/os=a", "f/os=b"]
    assert set(made.steps["join"].needs) == {"check[os=a]", "check[os=b]", "make[os=a]", "make[os=b]"}


@pytest.mark.parametrize(
    "matrix",
    [{"a": []}, {"a": [1, "1"]}, {"a": list(range(20)), "b": list(range(20))}, {"a": ["x" * 300]}],
)
def test_a_matrix_without_legs_or_with_equal_too_many_or_endless_ones_is_an_error(
    tmp_path: Path, matrix: dict[str, Any]
) -> None:
    with pytest.raises(WorkflowError):
        plan(loaded(tmp_path, {"b": {"run": "x", "strategy": {"matrix": matrix}}}))


def test_a_legs_name_cannot_hold_a_slash_or_a_control_character(tmp_path: Path) -> None:
    made = plan(loaded(tmp_path, {"b": {"run": "x", "strategy": {"matrix": {"p": ["../x\n,q=1"]}}}}))
    assert list(made.steps) == ["b[p=..%2Fx%0A%2Cq%3D1]"]


def test_what_only_the_run_knows_is_left_to_it(tmp_path: Path) -> None:
    env = {
        "A": "${{ inputs.month }} in ${{ run.mode }}",
        "B": "${{ steps.a.outputs.x }}-${{ inputs.month }}",
        "C": "${{ run.id }}",
    }
    given = loaded(tmp_path, {"a": {"run": "x"}, "b": {"run": "x", "needs": ["a"], "env": env}})
    assert plan(given, month="05").steps["b"].env == {
        "A": "05 in staging",
        "B": "${{ steps.a.outputs.x }}-${{ inputs.month }}",
        "C": "${{ run.id }}",
    }


def test_a_value_that_looks_like_an_expression_is_never_taken_for_one(tmp_path: Path) -> None:
    given = loaded(tmp_path, {"b": {"run": "x", "env": {"A": "${{ inputs.name }}"}}})
    assert plan(given, name="${{ run.id }}").steps["b"].env == {"A": "${{ inputs.name }}"}


def test_an_input_cannot_lead_a_file_out_of_its_folder(tmp_path: Path) -> None:
    given = loaded(tmp_path, {"a": {"run": "x"}, "b": {"run": "x", "in": {"f": "a/${{ inputs.name }}"}}})
    assert plan(given, name="ok").steps["b"].inputs == (Input("f", "a", "ok"),)
    with pytest.raises(WorkflowError, match="not a relative path"):
        plan(given, name="../../etc/passwd")


def test_secrets_are_planned_by_name_alone(tmp_path: Path) -> None:
    secrets = {"TOKEN": "api", "KEY": {"secret": "api", "as": "env"}}
    made = plan(loaded(tmp_path, {"a": {"run": "x", "secrets": secrets}}, secrets=["api"]))
    assert made.steps["a"].secrets == (SecretUse("TOKEN", "api"), SecretUse("KEY", "api", as_env=True))


WRITE = {"run": "x", "effects": "write", "out": ["r.json"]}


def test_in_staging_a_write_runs_its_substitute_or_is_shadowed(tmp_path: Path) -> None:
    steps = {"a": {**WRITE, "staging": {"run": "dry"}}, "b": WRITE, "c": {"run": "x"}}
    staged = plan(loaded(tmp_path, steps))
    assert staged.steps["a"].argv == ("/bin/sh", "-ec", "dry")
    assert [name for name, step in staged.steps.items() if step.shadowed] == ["b"]
    real = plan(loaded(tmp_path, steps), "production")
    assert real.steps["a"].argv == ("/bin/sh", "-ec", "x")
    assert not any(step.shadowed for step in real.steps.values())
    assert staged.definition == real.definition
    assert staged.digest != real.digest


def test_who_needs_a_shadowed_file_gets_the_stand_in_or_an_error_at_plan_time(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text("{}")
    reader = {"run": "x", "in": {"r": "w/r.json"}}
    with pytest.raises(WorkflowError, match="does not run in staging"):
        plan(loaded(tmp_path, {"w": WRITE, "r": reader}))
    given = {"w": {**WRITE, "staging": {"out": {"r.json": "fake.json"}}}, "r": reader}
    files = plan(loaded(tmp_path, given)).steps["w"].shadow_files
    assert Path(files["r.json"]).read_text() == "{}"


def test_the_definition_changes_with_a_mounts_content_and_not_with_inputs(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.py").write_text("1")
    given = loaded(tmp_path, {"a": {"run": "x", "mounts": ["./s:/app"]}})
    first, other = plan(given, n=1), plan(given, n=2)
    assert first.definition == other.definition
    assert first.digest != other.digest
    (tmp_path / "s" / "a.py").write_text("2")
    assert plan(given, n=1).definition != first.definition
    assert (first.steps["a"].mounts[0].source / "a.py").read_text() == "1"


def test_a_thousand_steps_are_planned_in_linear_time(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        steps = {f"s{n}": {"run": "x", "needs": [f"s{n - 1}"] if n else []} for n in range(count)}
        given, took = loaded(tmp_path, steps), []
        for _ in range(3):  # the least: other tests leave garbage to collect
            begin = time.process_time()
            plan(given)
            took.append(time.process_time() - begin)
        return min(took)

    assert seconds(1000) < 1.0
    assert seconds(2000) < 8 * max(0.02, seconds(500))


@pytest.mark.parametrize(
    ("step", "word"),
    [
        ({"probe": {"run": "y"}}, "steps.a.probe"),
        ({"approval": {"approvers": ["x"]}}, "steps.a.approval"),
        ({"expect": [{"exit": 0}]}, "steps.a.expect"),
        ({"publish": ["f"]}, "steps.a.publish"),
    ],
)
def test_a_run_refuses_by_name_what_is_not_built(tmp_path: Path, step: dict[str, Any], word: str) -> None:
    with pytest.raises(NotBuilt, match="not yet built") as caught:
        refuse_unbuilt(loaded(tmp_path, {"a": {"run": "x", **step}}), "staging")  # type: ignore[arg-type]
    assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_run_refuses_what_is_not_built_for_whole_workflows_and_takes_the_rest(tmp_path: Path) -> None:
    given = loaded(tmp_path, {"a": {"run": "x"}}, data={"d": {"path": "d.csv"}})
    with pytest.raises(NotBuilt) as caught:
        refuse_unbuilt(given, "production")  # type: ignore[arg-type]
    for word in ("--mode production", "data"):
        assert word in str(caught.value)
    refuse_unbuilt(loaded(tmp_path, {"a": {**WRITE, **MATRIX, "irreversible": True}}), "staging")  # type: ignore[arg-type]


def test_a_plan_is_printed_drawn_explained_and_survives_json(tmp_path: Path) -> None:
    steps = {"a": {"run": "echo <b>", **MATRIX}, "w": {**WRITE, "needs": ["a"]}}
    given = loaded(tmp_path, steps, **{"finally": {"end": {"run": "y"}}})
    made = plan(given, month="x")
    assert "a[os=a,v=1]" in plan_text(made)
    assert "w (shadowed)" in graph(made, "text")
    assert graph(made, "mermaid").count("-->") == 4
    assert graph(made, "svg").count("<rect") == 6
    dry = loaded(tmp_path, {"w": {**WRITE, "staging": {"run": "dry"}}})
    assert "is its staging.run" in explain(dry, plan(dry))  # type: ignore[arg-type]
    assert "no network" in explain(given, made)  # type: ignore[arg-type]
    assert plan_from_json(plan_json(made)) == made
    assert plan_from_json(plan_json(replace(made, warnings=("w",)))) != made
