"""What an expression of a step may read: inputs, matrix, env, run, and the steps that it builds on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.workflow.expressions import interpolate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.engine.run import Run
    from runner.planning.plan import PlannedStep

_OPEN = "${{"
_RESULTS = {"succeeded": "success", "shadowed": "success", "failed": "failure", "cancelled": "cancelled"}


def status_for(run: Run, step: PlannedStep) -> str:
    """Return what the status functions of ``step`` see: success, failure, cancelled or skipped."""
    if run.cancels:
        return "cancelled"
    if step.final:
        return "failure" if run.failed else "success"
    if not run.tainted.isdisjoint(step.needs):
        return "failure"
    return "success" if all(map(run.counts_as_success, step.needs)) else "skipped"


def context_of(run: Run, step: PlannedStep, text: str) -> dict[str, Any]:
    """Return the contexts for ``text``, an expression of ``step``; earlier steps only if it reads them."""
    reads = "steps" in text.lower() or "needs" in text.lower()
    needs = sorted(step.needs, key=run.order.__getitem__) if reads else []
    earlier = sorted(_closure(run, step), key=run.order.__getitem__) if reads else []
    return {
        "inputs": run.plan.inputs,
        "matrix": step.matrix,
        "env": {name: value for name, value in step.env.items() if _OPEN not in value},
        "run": {
            "id": run.id,
            "workflow": run.plan.workflow,
            "mode": run.plan.mode,
            "attempt": _attempt(run, step),
        },
        "steps": _steps(run, earlier),
        "needs": _steps(run, needs),
    }


def environment(run: Run, step: PlannedStep) -> dict[str, str]:
    """Return the step's own variables with every expression filled in; raises ``ExpressionError``."""
    return {name: fill(run, step, value) for name, value in step.env.items()}


def fill(run: Run, step: PlannedStep, text: str) -> str:
    """Return ``text`` with every expression filled in; raises ``ExpressionError``."""
    return interpolate(text, context_of(run, step, text)) if _OPEN in text else text


def _attempt(run: Run, step: PlannedStep) -> int:
    return max(1, run.steps[step.id].attempts)


def _closure(run: Run, step: PlannedStep) -> set[str]:
    if step.final:
        return {name for name, other in run.plan.steps.items() if not other.final} | set(step.needs)
    found = set() if run.plan.steps[step.id] is step else {step.id}  # a compensation knows what its step left
    waiting = list(step.needs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(run.plan.steps[name].needs)
    return found


def _steps(run: Run, names: list[str]) -> dict[str, Any]:
    views: dict[str, Any] = {}
    for key, view in _views(run, names):
        if key in views:
            view = _merged(views[key], view)  # noqa: PLW2901 - the legs of a matrix under their common name
        views[key] = view
    return views


def _views(run: Run, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in names:
        view = _view(run, name)
        yield name, view
        if run.plan.steps[name].step != name:
            yield run.plan.steps[name].step, view


def _view(run: Run, name: str) -> dict[str, Any]:
    state = run.steps[name]
    outcome = _RESULTS.get(state.status, "skipped")
    conclusion = "success" if run.counts_as_success(name) else outcome
    outputs = dict(state.last.outputs) if state.last else {}
    return {"outputs": outputs, "outcome": outcome, "conclusion": conclusion, "result": conclusion}


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    worst = ("failure", "cancelled", "success", "skipped")
    merged = {
        key: min(first[key], second[key], key=worst.index) for key in ("outcome", "conclusion", "result")
    }
    return {**merged, "outputs": {**first["outputs"], **second["outputs"]}}
