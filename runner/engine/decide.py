"""What to do next: a pure function of the plan, the events so far and the time. The one owner of failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.engine.context import context_of, status_for
from runner.failsafe.retry import next_pause
from runner.workflow.expressions import ExpressionError, condition_holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.engine.run import Run
    from runner.events import AttemptEnded
    from runner.planning.plan import Plan, PlannedStep

UNBOUNDED = 1 << 30


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this attempt now."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Give the step its last status."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Make the attempt ``attempt`` not before ``at`` (seconds since 1970)."""

    step: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class Finish:
    """Give the run its last status."""

    status: str
    detail: str = ""


Command = Start | Settle | Pause | Finish


def decide(plan: Plan, run: Run, now: float, free: int = UNBOUNDED) -> list[Command]:
    """Return what to do at ``now`` (seconds since 1970) in the plan's order, with at most ``free`` starts.

    Ask again after the commands have become events; an empty list means: wait for an event, or for the time
    of ``next_time``.
    """
    if run.over:
        return []
    commands: list[Command] = [_judge(plan, run, name, now) for name in _ordered(run, run.undecided)]
    commands += [Settle(name, *_cancelled(run)) for name in _ordered(run, _condemned(plan, run))]
    if commands:
        return commands  # what has ended may forbid what would begin
    return [Finish(*_outcome(run))] if run.all_settled else list(_begin(plan, run, now, free))


def next_time(run: Run) -> float | None:
    """Return when the next paused step may go on (seconds since 1970), or None."""
    times = [at for name in run.paused if (at := run.steps[name].retry_at) is not None]
    return min(times, default=None)


def _ordered(run: Run, names: Iterable[str]) -> list[str]:
    return sorted(names, key=run.order.__getitem__)


def _judge(plan: Plan, run: Run, name: str, now: float) -> Command:
    ended, step = run.steps[name].last, plan.steps[name]
    assert ended is not None  # noqa: S101 - undecided steps have an ended attempt
    if ended.reason is None:
        return Settle(name, "succeeded", None, ended.detail)
    if ended.reason == "cancelled":
        return Settle(name, "cancelled", "cancelled", ended.detail)
    pause = _pause_after(run, step, ended)
    if pause is None:
        return Settle(name, "failed", ended.reason, ended.detail)
    return Pause(name, ended.attempt + 1, now + pause)


def _pause_after(run: Run, step: PlannedStep, ended: AttemptEnded) -> float | None:
    if _cancels(run, step) or (step.effects == "write" and not step.idempotent):
        return None
    return next_pause(step.retry, ended.attempt, ended, f"{run.id}/{step.id}/{ended.attempt}")


def _cancels(run: Run, step: PlannedStep) -> bool:
    return run.cancels > (1 if step.final else 0)


def _condemned(plan: Plan, run: Run) -> set[str]:
    waiting = run.pending | run.paused if run.cancels else set()
    return run.doomed | {name for name in waiting if _cancels(run, plan.steps[name])}


def _cancelled(run: Run) -> tuple[str, str, str]:
    detail = "the run was cancelled before it began" if run.cancels else "another leg of its matrix failed"
    return "cancelled", "cancelled", detail


def _begin(plan: Plan, run: Run, now: float, free: int) -> Iterator[Command]:
    legs: dict[str, int] = {}
    for name in _ordered(run, run.ready | run.paused):
        if free <= 0:
            return
        step = plan.steps[name]
        command = None if _is_full(run, step, legs) else _move(run, step, now)
        if isinstance(command, Start):
            legs[step.step] = legs.get(step.step, 0) + 1
            free -= 1
        if command:
            yield command


def _is_full(run: Run, step: PlannedStep, begun: dict[str, int]) -> bool:
    if not step.matrix or not step.max_parallel:
        return False
    return run.groups[step.step].active + begun.get(step.step, 0) >= step.max_parallel


def _move(run: Run, step: PlannedStep, now: float) -> Command | None:
    state = run.steps[step.id]
    if step.id in run.paused:
        due = state.retry_at is None or state.retry_at <= now
        return Start(step.id, state.attempts + 1) if due else None
    try:
        obstacle = _obstacle(run, step)
    except ExpressionError as error:
        return Settle(step.id, "failed", "exit", f"if: {error}")
    if obstacle:
        return obstacle
    if step.shadowed:
        return Settle(step.id, "shadowed", "shadowed", "not run: it would write, and this is a rehearsal")
    return Start(step.id, 1)


def _obstacle(run: Run, step: PlannedStep) -> Settle | None:
    status = status_for(run, step)
    if step.final and not step.condition.strip():
        blocked = [need for need in step.needs if _is_final_failure(run, need)]
        return _skip(step, blocked) if blocked else None
    if condition_holds(step.condition, context_of(run, step, step.condition), status):
        return None
    return _skip(step, [need for need in step.needs if not run.counts_as_success(need)])


def _is_final_failure(run: Run, need: str) -> bool:
    return run.plan.steps[need].final and not run.counts_as_success(need)


def _skip(step: PlannedStep, blocked: list[str]) -> Settle:
    if blocked:
        return Settle(step.id, "skipped", "dependency", f"{', '.join(blocked[:3])} did not succeed")
    return Settle(step.id, "skipped", None, f"its condition does not hold: {step.condition}")


def _outcome(run: Run) -> tuple[str, str]:
    if run.cancels:
        return "cancelled", ""
    if run.failed:
        return "failed", ""
    if run.shadowed:
        writes = "1 write was" if run.shadowed == 1 else f"{run.shadowed} writes were"
        return "rehearsed", f"{writes} not performed"
    return "succeeded", ""
