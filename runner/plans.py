"""From a workflow's file, or one command, to a plan."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError, UsageError, WorkflowError
from runner.planning.kept import Grounds, KeptPlans, key_of, look
from runner.sandbox.build.profile import find_profile, load_profile, recipe_digest
from runner.sandbox.shipped import shipped_folder
from runner.settings import Settings, choices, policy_digest, project_digest
from runner.store.layout import Layout
from runner.workflow.file import Unreadable, content_of, project_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.planning.plan import Plan
    from runner.planning.snapshots import Snapshots
    from runner.workflow.load import LoadedWorkflow


def plan_file(
    settings: Settings, path: Path, mode: str, given: Mapping[str, str]
) -> tuple[LoadedWorkflow, Plan]:
    """Load a workflow and plan it, to look at; raises ``WorkflowError`` and ``UsageError``."""
    from runner.workflow.load import load

    loaded = load(path)
    return loaded, _planned(_Request(settings, mode, given), loaded)


def plan_to_run(settings: Settings, path: Path, mode: str, given: Mapping[str, str]) -> Plan:
    """Return a workflow's plan: one that was kept, if all that it was made of is the same.

    Raises ``WorkflowError``, ``UsageError`` and ``NotBuilt``.
    """
    request = _Request(settings, mode, given)
    kept = KeptPlans(settings.cache / "plans")
    with contextlib.suppress(Unreadable):
        project = project_of(path)
        digest = hashlib.sha256(content_of(path)).hexdigest()
        found = kept.find(request.key(path, project, digest))
        if found and _stands(request, project, found[1]):
            return found[0]
    loaded = _loaded_to_run(path, mode)
    plan = _planned(request, loaded)
    kept.keep(request.key(path, loaded.project, loaded.sha256), plan, request.grounds(plan))
    return plan


def _loaded_to_run(path: Path, mode: str) -> LoadedWorkflow:
    from runner.planning.support import refuse_unbuilt
    from runner.workflow.load import load

    loaded = load(path)
    refuse_unbuilt(loaded, mode)
    return loaded


class _Request:
    """What is asked of one workflow, and what was read on the way to its plan."""

    def __init__(self, settings: Settings, mode: str, given: Mapping[str, str]) -> None:
        self.settings = settings
        self.mode, self.given, self.policy = mode, dict(given), policy_digest(settings)
        self.recipes: dict[str, str] = {}
        self._folder = Layout(settings.home).snapshots

    @cached_property
    def snapshots(self) -> Snapshots:
        """Where mounts are kept; many a workflow has none."""
        from runner.planning.snapshots import Snapshots

        return Snapshots(self._folder)

    def recipe(self, project: Path, name: str) -> str:
        folders = (project / "sandboxes", shipped_folder())
        self.recipes[name] = recipe_digest(find_profile(name, folders))
        return self.recipes[name]

    def contents(self, project: Path, name: str) -> tuple[str, ...]:
        return load_profile(find_profile(name, (project / "sandboxes", shipped_folder()))).packages

    def key(self, path: Path, project: Path, sha256: str) -> str:
        return key_of(
            {
                "file": [str(path), str(path.absolute()), sha256],
                "project": str(project),
                "mode": self.mode,
                "inputs": self.given,
                "policy": [self.policy, project_digest(project)],
                "snapshots": str(self._folder),
            }
        )

    def grounds(self, plan: Plan) -> Grounds:
        sources = {str(source): digest for source, digest in self.snapshots.taken.items()}
        runbook = Path(plan.file).parent / plan.runbook  # the one file that is looked at and not taken
        return Grounds(sources, self.recipes, {str(runbook): look(runbook)})


def _stands(request: _Request, project: Path, grounds: Grounds) -> bool:
    """Take every snapshot again, and tell whether all is as it was: what was planned is what runs."""
    try:
        return (
            all(
                request.snapshots.take(Path(source), project)[0] == digest
                for source, digest in grounds.sources.items()
            )
            and all(request.recipe(project, name) == digest for name, digest in grounds.recipes.items())
            and all(look(Path(path)) == seen for path, seen in grounds.seen.items())
        )
    except (RunnerError, OSError):  # planning says it better
        return False


def plan_command(settings: Settings, step: dict[str, Any], files: Sequence[Path]) -> Plan:
    """Plan one command: ``step`` as a workflow writes it, ``files`` to stand under ``/in``."""
    import tempfile

    from runner.planning.digests import plan_digest
    from runner.planning.plan import Input
    from runner.workflow.load import load

    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise UsageError("two --in files have the same name: under /in they would be one")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "command.yaml"
        names_of_secrets = sorted(set(step.get("secrets", {}).values()))
        data = {"name": "command", "secrets": names_of_secrets, "steps": {"command": step}}
        data["staging"] = {"egress": step.get("egress", [])}
        path.write_text(json.dumps(data))
        request = _Request(settings, "staging", {})
        try:
            plan = _planned(request, load(path))
        except WorkflowError as error:  # what the file is called says nothing to who typed a command
            told = [f"{each.message}{f' ({each.hint})' if each.hint else ''}" for each in error.problems]
            raise UsageError("; ".join(told)) from error
    taken = {file.name: request.snapshots.take(file, file.resolve().parent) for file in files}
    inputs = tuple(Input(name, "", str(source)) for name, (_, source) in taken.items())
    planned = dataclasses.replace(plan.steps["command"], inputs=inputs)
    digests = {f"/in/{name}": digest for name, (digest, _) in taken.items()}
    digest = plan_digest(plan.definition, plan.mode, digests, {})
    project = str(Path.cwd())
    return dataclasses.replace(
        plan, steps={"command": planned}, inputs=digests, digest=digest, project=project
    )


def reached(settings: Settings, hosts: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``hosts`` of a command line as a workflow writes them; private where the policy says so.

    Raises ``UsageError`` for what is no host.
    """
    from runner.workflow.hosts import parse_rule

    allowed = choices(settings).private
    try:
        rules = [parse_rule({"host": host, "insecure": host.startswith("http://")}) for host in hosts]
    except ValueError as error:
        raise UsageError(f"--egress {error}") from error
    return [
        {"host": host, "insecure": rule.insecure, "private": f"{rule.host}:{rule.port}" in allowed}
        for host, rule in zip(hosts, rules, strict=True)
    ]


def _planned(request: _Request, loaded: LoadedWorkflow) -> Plan:
    from runner.planning.compile import make_plan
    from runner.planning.planner import PlanRequest
    from runner.workflow.inputs import resolve_inputs

    chosen = choices(request.settings, loaded.project)
    wanted = PlanRequest(
        mode=request.mode,
        inputs=resolve_inputs(loaded.model, request.given),
        policy=request.policy,
        recipe=lambda name: request.recipe(loaded.project, name),
        breakers=chosen.breakers,
        private=chosen.private,
        contents=lambda name: request.contents(loaded.project, name),
        index=chosen.index.address,
    )
    return make_plan(loaded, wanted, request.snapshots)
