"""Lock files in a plan: where they may stand, and what is planned to install them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.errors import UsageError, WorkflowError
from runner.index import PackageIndex
from runner.planning.codec import plan_from_json, plan_json
from runner.planning.compile import make_plan
from runner.planning.installation import Order, installation
from runner.planning.plan import ImageRef, image_refs
from runner.planning.planner import PlanRequest
from runner.planning.render import explain, plan_text
from runner.planning.snapshots import Snapshots
from runner.workflow.load import load

if TYPE_CHECKING:
    from runner.planning.plan import Plan
    from runner.workflow.load import LoadedWorkflow

LOCK = "six==1.17.0 --hash=sha256:" + "ab" * 32 + "\n"
CONTENTS = {"python": ("ca-certificates", "python3"), "minimal": ("busybox-static",)}
REQUEST = PlanRequest("staging", {}, contents=CONTENTS.__getitem__, index="https://pypi.org/simple")
ORDER = Order("key", ImageRef("profile", "python"), Path("/cache/lock"), Path("/bin/uv"), "1.0")


def planned(
    folder: Path, step: str, request: PlanRequest = REQUEST, lock: str = LOCK
) -> tuple[LoadedWorkflow, Plan]:
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "runner.yaml").write_text("")
    (project / "lock.txt").write_text(lock)
    (project / "w.yaml").write_text(f"name: w\nsteps:\n  a: {{run: x, requirements: lock.txt, {step}}}\n")
    loaded = load(project / "w.yaml")
    return loaded, make_plan(loaded, request, Snapshots(folder / "snapshots"))


def test_the_packages_belong_to_the_image_and_are_shown_with_it(tmp_path: Path) -> None:
    loaded, plan = planned(tmp_path, "sandbox: python")
    (ref,) = image_refs(plan)
    assert (tmp_path / "snapshots" / ref.lock).read_text() == LOCK
    assert str(ref) == f"profile:python+{ref.lock}"
    assert f"Python packages of the lock file {ref.lock[:12]}" in plan_text(plan)
    assert "/opt/requirements (Python packages" in explain(loaded, plan)
    assert plan_from_json(plan_json(plan)) == plan


def test_lock_file_and_index_are_part_of_the_definition(tmp_path: Path) -> None:
    _, one = planned(tmp_path, "sandbox: python")
    _, other = planned(tmp_path, "sandbox: python", lock=LOCK.replace("1.17.0", "1.16.0"))
    _, third = planned(tmp_path, "sandbox: python", replace(REQUEST, index="https://pypi.internal/simple"))
    assert len({one.definition, other.definition, third.definition}) == 3


def test_a_compensation_has_the_packages_unless_its_sandbox_is_its_own(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, "sandbox: python, compensate: {run: y}")
    step = plan.steps["a"]
    assert step.compensate
    assert step.compensate.image == step.image
    _, plan = planned(tmp_path, "sandbox: python, compensate: {run: y, sandbox: minimal}")
    assert plan.steps["a"].compensate
    assert plan.steps["a"].compensate.image == ImageRef("profile", "minimal")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("env: {}", "requirements needs Python, which the sandbox minimal has not"),
        (
            "image: 'python:3.12'",
            "requirements needs a sandbox profile with Python, and python:3.12 is an image",
        ),
        ("sandbox: python, mounts: ['.:/opt/requirements']", "would cover /opt/requirements"),
        ("sandbox: python, mounts: ['.:/opt']", "would cover /opt/requirements"),
        ("sandbox: python, mounts: ['.:/opt/requirements/bin']", "would cover /opt/requirements"),
    ],
)
def test_where_packages_cannot_be_it_says_so_with_the_line(tmp_path: Path, step: str, words: str) -> None:
    with pytest.raises(WorkflowError, match=words) as caught:
        planned(tmp_path, step)
    assert caught.value.problems[0].line == 3


def test_an_installation_reaches_the_index_and_its_files_and_has_no_secret(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, "sandbox: python, egress: ['https://evil.example']")
    index = PackageIndex(
        "https://pypi.internal:8443/simple", ("https://files.internal/", "https://pypi.internal:8443")
    )
    made = installation(plan, ORDER, index, frozenset({"pypi.internal:8443"}))
    (step,) = made.steps.values()
    found = [(rule.kind, rule.host, rule.port, rule.private, rule.insecure) for rule in step.egress]
    assert found == [
        ("web", "pypi.internal", 8443, True, False),
        ("web", "files.internal", 443, False, False),
    ]
    assert (step.secrets, step.compensate, step.needs) == ((), None, ())
    assert step.env["INDEX"] == "https://pypi.internal:8443/simple"
    assert "--require-hashes --only-binary :all:" in step.argv[2]
    assert plan_from_json(plan_json(made)) == made


def test_an_index_that_is_no_host_is_the_policy_s_mistake(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, "sandbox: python")
    with pytest.raises(UsageError, match="in the operator's policy"):
        installation(plan, ORDER, PackageIndex("https://0x7f.1/simple", ()), frozenset())
