"""The run object of ``--json``, and what the process's exit status says about a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.clock import rfc3339
from runner.engine.run import fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.engine.run import Run
    from runner.engine.steps import Progress, StepState
    from runner.events import Record
    from runner.planning.plan import Plan

_CODES = {"succeeded": 0, "rehearsed": 0, "rollback-failed": 5, "waiting": 6, "held": 6, "cancelled": 130}
_REASON_CODES = {"denied": 3, "infra": 4}


def report(run_id: str, plan: Plan, records: Iterable[Record]) -> dict[str, Any]:
    """Return the run object for a run as its records tell it."""
    return run_object(fold(plan, records, run_id))


def run_object(run: Run) -> dict[str, Any]:
    """Return the run object for a folded run."""
    created = run.created
    return {
        "run": run.id,
        "workflow": run.plan.workflow,
        "mode": run.plan.mode,
        "engine": created.engine if created else None,
        "definition": run.plan.definition,
        "plan": run.plan.digest,
        "status": run.status,
        "warnings": list(created.warnings if created else run.plan.warnings),
        "unenforced": list(created.unenforced) if created else [],
        "steps": {name: _progress_object(state) for name, state in run.steps.items()},
        "rollback": {
            name: _progress_object(state.undo)
            for name, state in run.steps.items()
            if state.undo.attempts or name in run.undo.due
        },
    }


def exit_code(run: Run) -> int:
    """Return the process's exit status for a run, by the contract's table."""
    if run.status in _CODES:
        return _CODES[run.status]
    reasons = {state.reason for name, state in run.steps.items() if _is_to_blame(run, name, state)}
    return max((_REASON_CODES.get(reason or "", 1) for reason in reasons), default=1)


def _is_to_blame(run: Run, name: str, state: StepState) -> bool:
    return state.status == "failed" and not run.plan.steps[name].continue_on_error


def _progress_object(state: Progress) -> dict[str, Any]:
    return {
        "status": state.status,
        "attempts": state.attempts,
        "exit_code": state.last.exit_code if state.last else None,
        "reason": state.reason,
        "started": None if state.started is None else rfc3339(state.started),
        "ended": None if state.ended is None else rfc3339(state.ended),
    }
