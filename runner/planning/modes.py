"""A mode is a function from plan to plan: the engine never asks which mode it is in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.errors import Problem, WorkflowError
from runner.planning.fill import OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.planning.plan import Plan, PlannedStep

STAGING = "staging"
PRODUCTION = "production"
_WRITE = "write"


@dataclass(frozen=True, slots=True)
class Substitute:
    """What a write step does in staging: another command, or files (name → path) in place of its results."""

    argv: tuple[str, ...] | None = None
    files: dict[str, str] = field(default_factory=dict)


def rehearse(plan: Plan, substitutes: Mapping[str, Substitute]) -> Plan:
    """Return the plan with every write replaced or shadowed; ``substitutes`` are by the step's written id.

    Raises ``WorkflowError`` when a step reads a file that a shadowed step will not have.
    """
    steps = {
        name: _rehearsed(step, substitutes.get(step.step, Substitute())) for name, step in plan.steps.items()
    }
    problems = [problem for step in steps.values() for problem in _missing(plan, step, steps)]
    if problems:
        raise WorkflowError(problems)
    return replace(plan, steps=steps)


def _rehearsed(step: PlannedStep, substitute: Substitute) -> PlannedStep:
    if step.effects != _WRITE:
        return step
    if substitute.argv is not None:
        return replace(step, argv=substitute.argv)
    return replace(step, shadowed=True, shadow_files=dict(substitute.files))


def _missing(plan: Plan, step: PlannedStep, steps: dict[str, PlannedStep]) -> list[Problem]:
    if step.shadowed:
        return []
    return [
        Problem(
            plan.file,
            0,
            0,
            f"{step.id}: reads {each.file} of {each.step}, which writes and so does not run in staging",
            f"give {each.step} a staging.run, or staging.out: {{{each.file}: FIXTURE}}",
        )
        for each in step.inputs
        if _is_missing(steps.get(each.step), each.file)
    ]


def _is_missing(source: PlannedStep | None, file: str) -> bool:
    if source is None or not source.shadowed or OPEN in file:
        return False
    return file not in source.shadow_files
