"""Makes a plan of a workflow: legs, needs, files, limits, snapshots and digests.

Pure, but for the snapshots that it has taken. Linear in steps, legs and needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.planning.digests import definition_digest, plan_digest
from runner.planning.modes import STAGING, rehearse
from runner.planning.network import networked
from runner.planning.order import in_order
from runner.planning.plan import Plan, Turns
from runner.planning.planner import Planner, PlanRequest, Sources

if TYPE_CHECKING:
    from runner.errors import Problem
    from runner.planning.snapshots import Snapshots
    from runner.workflow.load import LoadedWorkflow
    from runner.workflow.model import Concurrency


def make_plan(loaded: LoadedWorkflow, request: PlanRequest, snapshots: Snapshots) -> Plan:
    """Return the plan; raises ``WorkflowError`` for what only planning can see."""
    model = loaded.model
    sources = Sources(loaded.path.parent, loaded.project, snapshots)
    planner = Planner(loaded, request, sources)
    steps = in_order(planner.steps(), str(loaded.path))
    substitutes = planner.substitutes()
    breakers = {rule.name: [rule.failures, rule.reset, rule.waits] for rule in planner.breakers}
    images = tuple(planner.images.values())
    definition = definition_digest(model, sources.digests, images, (request.policy, breakers))
    plan = Plan(
        workflow=model.name,
        file=str(loaded.path),
        mode=request.mode,
        definition=definition,
        digest=plan_digest(definition, request.mode, request.inputs, {}),
        owner=model.metadata.owner,
        runbook=model.metadata.runbook,
        inputs=dict(request.inputs),
        steps=steps,
        warnings=tuple(map(_warning, loaded.warnings)),
        project=str(loaded.project),
        timeout=model.timeout,
        turns=_turns(model.concurrency),
    )
    if request.mode == STAGING:
        plan = rehearse(plan, substitutes)
    return networked(plan, model.staging.egress, request.private)


def _turns(given: Concurrency | None) -> Turns | None:
    return Turns(given.group, given.limit, given.cancel_in_progress) if given else None


def _warning(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{problem.file}:{problem.line}: {problem.message}{hint}"
