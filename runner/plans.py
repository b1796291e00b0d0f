"""From a workflow's file, or one command, to a plan."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.settings import Settings, choices, policy_digest
from runner.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.planning.plan import Plan
    from runner.workflow.load import LoadedWorkflow


def plan_file(
    settings: Settings, path: Path, mode: str, given: Mapping[str, str], *, to_run: bool
) -> tuple[LoadedWorkflow, Plan]:
    """Load a workflow and plan it, ``to_run`` or to look at.

    Raises ``WorkflowError``, ``UsageError``, and for a plan to run ``NotBuilt``.
    """
    from runner.planning.support import refuse_unbuilt
    from runner.workflow.load import load

    loaded = load(path)
    if to_run:
        refuse_unbuilt(loaded, mode)
    return loaded, _planned(settings, loaded, mode, given)


def plan_command(settings: Settings, step: dict[str, Any], files: Sequence[Path]) -> Plan:
    """Plan one command: ``step`` as a workflow writes it, ``files`` to stand under ``/in``."""
    from runner.planning.digests import plan_digest
    from runner.planning.plan import Input
    from runner.planning.snapshots import Snapshots
    from runner.workflow.load import load

    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise UsageError("two --in files have the same name: under /in they would be one")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "command.yaml"
        names_of_secrets = sorted(set(step.get("secrets", {}).values()))
        data = {"name": "command", "secrets": names_of_secrets, "steps": {"command": step}}
        path.write_text(json.dumps(data))
        plan = _planned(settings, load(path), "staging", {})
    snapshots = Snapshots(Layout(settings.home).snapshots)
    taken = {file.name: snapshots.take(file, file.resolve().parent) for file in files}
    inputs = tuple(Input(name, "", str(source)) for name, (_, source) in taken.items())
    planned = dataclasses.replace(plan.steps["command"], inputs=inputs)
    digests = {f"/in/{name}": digest for name, (digest, _) in taken.items()}
    digest = plan_digest(plan.definition, plan.mode, digests, {})
    project = str(Path.cwd())
    return dataclasses.replace(
        plan, steps={"command": planned}, inputs=digests, digest=digest, project=project
    )


def _planned(settings: Settings, loaded: LoadedWorkflow, mode: str, given: Mapping[str, str]) -> Plan:
    from runner.planning.compile import PlanRequest, make_plan
    from runner.planning.snapshots import Snapshots
    from runner.sandbox.build.profile import find_profile, recipe_digest
    from runner.sandbox.shipped import shipped_folder
    from runner.workflow.inputs import resolve_inputs

    folders = (loaded.project / "sandboxes", shipped_folder())
    request = PlanRequest(
        mode=mode,
        inputs=resolve_inputs(loaded.model, given),
        policy=policy_digest(settings),
        recipe=lambda name: recipe_digest(find_profile(name, folders)),
        breakers=choices(settings, loaded.project).breakers,
    )
    return make_plan(loaded, request, Snapshots(Layout(settings.home).snapshots))
