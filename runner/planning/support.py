"""What is documented but not built: named and refused, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import NotBuilt
from runner.planning.modes import PRODUCTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.workflow.load import LoadedWorkflow
    from runner.workflow.model import Command, Step, Workflow

_STEP_KEYS = (
    "probe",
    "approval",
    "expect",
    "publish",
)


def refuse_unbuilt(loaded: LoadedWorkflow, mode: str) -> None:
    """Raise ``NotBuilt`` naming everything in the workflow that a run cannot do yet."""
    found = list(unbuilt(loaded.model, mode))
    if found:
        lines = "".join(f"\n  - {each}" for each in found)
        raise NotBuilt(
            f"{loaded.path}: not yet built in this version of Runner:{lines}",
            cure="`runner validate`, `plan`, `graph` and `explain` do work with it",
        )


def unbuilt(model: Workflow, mode: str) -> Iterator[str]:
    """Yield each key (``steps.load.egress``) or mode that is not built."""
    if mode == PRODUCTION:
        yield "--mode production"
    if model.data:
        yield "data: data sets and their sanitized copies"
    if model.metadata.recipients:
        yield "metadata.recipients: sealed logs and results"
    for place, steps in (("steps", model.steps), ("finally", model.finally_steps)):
        for name, step in steps.items():
            yield from _of_step(f"{place}.{name}", step)


def _of_step(place: str, step: Step) -> Iterator[str]:
    for key in _STEP_KEYS:
        if getattr(step, key):
            yield f"{place}.{key}"
    yield from _of_command(place, step)
    if step.compensate:
        yield from _of_command(f"{place}.compensate", step.compensate)


def _of_command(place: str, command: Command) -> Iterator[str]:
    for name, source in command.inputs.items():
        if source.startswith("data/"):
            yield f"{place}.in.{name}: data sets"
