"""What an attempt's end means: a last status, another attempt, the compensation first, or a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.clock import rfc3339
from runner.engine.commands import Hold, Pause, Settle, SettleUndo
from runner.engine.steps import COMPENSATED, COMPENSATION_FAILED
from runner.events import PHASE_COMPENSATE
from runner.failsafe.effects import AGAIN, DONE, GIVE_UP, is_doubled
from runner.failsafe.retry import next_pause

if TYPE_CHECKING:
    from runner.engine.commands import Command
    from runner.engine.run import Run
    from runner.engine.steps import StepState
    from runner.events import AttemptEnded, BreakerRefused
    from runner.planning.plan import PlannedStep


def cancels(run: Run, step: PlannedStep) -> bool:
    """Return whether what was asked of the run ends ``step``: a second request ends ``finally`` steps too."""
    return run.cancels > (1 if step.final and run.entered else 0) or (run.expired and not step.final)


def needs_undo(run: Run, name: str) -> bool:
    """Return whether a step that ended is attempted again only after its compensation."""
    step, state = run.plan.steps[name], run.steps[name]
    wanted = not state.verdict and step.compensate is not None and state.undo.status != COMPENSATION_FAILED
    return wanted and is_doubled(step, dirty=state.dirty) and _pause_after(run, step, state) is not None


def judge(run: Run, name: str, now: float) -> Command | None:
    """Return what follows for a step whose attempt ended; None while its compensation comes first."""
    step, state = run.plan.steps[name], run.steps[name]
    if state.refusal:
        return _refused(run, step, state.refusal)
    ended = state.last
    assert ended is not None  # noqa: S101 - undecided steps have an ended attempt
    if ended.reason is None:
        return Settle(name, "succeeded", None, ended.detail)
    if state.verdict == DONE:
        return Settle(name, "succeeded", None, "a person says that it was done")
    if ended.reason == "cancelled" or (ended.lost and cancels(run, step)):
        return Settle(name, "cancelled", "cancelled", ended.detail)
    return _judge_failure(run, step, state, ended, now)


def _judge_failure(
    run: Run, step: PlannedStep, state: StepState, ended: AttemptEnded, now: float
) -> Command | None:
    is_agreed = state.verdict == AGAIN and not cancels(run, step)
    pause = 0.0 if is_agreed else _pause_after(run, step, state)
    if pause is None or state.verdict == GIVE_UP:
        return Settle(step.id, "failed", ended.reason, ended.detail)
    if is_agreed or not is_doubled(step, dirty=state.dirty):
        return Pause(step.id, state.attempts + 1, now + pause)
    if step.compensate is None:
        return Hold(step.id, _what_is_known(ended))
    if state.undo.status != COMPENSATION_FAILED:
        return None
    detail = f"{ended.detail}; not attempted again, because its compensation failed"
    return Settle(step.id, "failed", ended.reason, detail)


def judge_undo(run: Run, name: str, now: float) -> Command:
    """Return what follows for a compensation whose attempt ended."""
    state, undo = run.steps[name], run.plan.steps[name].compensate
    ended = state.undo.last
    assert ended is not None  # noqa: S101 - undecided compensations have an ended attempt
    assert undo is not None  # noqa: S101 - only a step with one is compensated
    if ended.reason is None:
        return SettleUndo(name, COMPENSATED, None, ended.detail)
    pause = None if run.cancels > 1 else _again(run, undo, ended, state.undo.tried)
    if pause is None:
        return SettleUndo(name, COMPENSATION_FAILED, ended.reason, ended.detail)
    return Pause(name, state.undo.attempts + 1, now + pause, PHASE_COMPENSATE)


def _refused(run: Run, step: PlannedStep, refusal: BreakerRefused) -> Command:
    if step.breaker and step.breaker.waits and not cancels(run, step):
        return Pause(step.id, refusal.attempt, refusal.until)
    detail = f"the breaker {refusal.name} is open; the next probe may run at {rfc3339(refusal.until)}"
    return Settle(step.id, "failed", "breaker-open", detail)


def _pause_after(run: Run, step: PlannedStep, state: StepState) -> float | None:
    if cancels(run, step) or state.last is None:
        return None
    return _again(run, step, state.last, state.tried)


def _again(run: Run, step: PlannedStep, ended: AttemptEnded, tried: int) -> float | None:
    """Return the pause before another attempt, or None; one whose runner died has not had its chance."""
    if ended.lost:
        return 0.0
    return next_pause(step.retry, tried, ended, f"{run.id}/{step.id}/{ended.phase}/{ended.attempt}")


def _what_is_known(ended: AttemptEnded) -> str:
    how = "the runner died while it ran" if ended.lost else f"it ended with {ended.reason}: {ended.detail}"
    return f"attempt {ended.attempt} had begun and may have written ({how.strip(': ')})"
