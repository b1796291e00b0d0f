"""What a retry takes over from a run that has ended, and what it does anew: pure rules over the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.events import AttemptEnded, StepCarried
from runner.failsafe.effects import is_doubled

if TYPE_CHECKING:
    from runner.engine.run import Run


def refuse_installation(run: Run) -> None:
    """Raise ``UsageError`` for a run that installed packages, unless all that is left of it is to end it."""
    from runner.planning.installation import installs

    if installs(run.plan) and (run.over or not run.cancels):
        workflow = run.plan.workflow.partition(":")[0]
        raise UsageError(
            f"run {run.id} installed packages for {workflow}, and nobody waits for them any more",
            cure=f"run the workflow again, and it installs them: runner run {run.plan.file}",
        )


def made_anew(run: Run, start: str | None = None) -> set[str]:
    """Return the steps that a retry runs: ``start``, what did not succeed or was undone, and what needs them.

    ``finally`` steps tell how a run ended: every run has its own.
    """
    waiting = [
        name for name in run.plan.steps if _is_open(run, name) or start in (name, run.plan.steps[name].step)
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += run.dependents.get(name, ())
    return found


def carried(run: Run, anew: set[str]) -> list[StepCarried]:
    """Return what a retry has from ``run``: the results of all other steps, and whatever is not undone."""
    results = [
        StepCarried(name, run.id, state.last, state.dirty)
        for name, state in run.steps.items()
        if name not in anew and state.status == "succeeded" and state.last
    ]
    undone_later = [name for name in run.steps if name in anew and run.steps[name].dirty]
    return results + [
        StepCarried(name, run.id, AttemptEnded(name, 0, artifacts=run.steps[name].left), settled=False)
        for name in undone_later
    ]


def in_doubt(run: Run, anew: set[str]) -> list[str]:
    """Return the writes that may have happened in ``run`` and would be done a second time."""
    return [name for name in anew if is_doubled(run.plan.steps[name], dirty=run.steps[name].dirty)]


def _is_open(run: Run, name: str) -> bool:
    step, state = run.plan.steps[name], run.steps[name]
    was_undone = step.compensate is not None and not state.dirty
    return (
        step.final
        or state.status not in {"succeeded", "shadowed"}
        or (state.status == "succeeded" and was_undone)
    )
