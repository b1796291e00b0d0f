"""What to do next: a pure function of the plan, the events so far and the time. The one owner of failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.engine.commands import Command, Enter, Expire, Finish, Park, Settle, SettleUndo, Start
from runner.engine.context import context_of, status_for
from runner.engine.judge import cancels, judge, judge_undo, needs_undo
from runner.engine.steps import COMPENSATION_FAILED
from runner.events import PHASE_COMPENSATE
from runner.workflow.expressions import ExpressionError, condition_holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.engine.run import Run
    from runner.engine.steps import Progress
    from runner.planning.plan import Plan, PlannedStep

UNBOUNDED = 1 << 30
_ABANDONED = (COMPENSATION_FAILED, "cancelled", "somebody ended the rollback: runner rollback goes on")
_SLACK = 1.0  # seconds beyond the longest pause: what lies further ahead was set by a clock that ran ahead


def decide(plan: Plan, run: Run, now: float, free: int = UNBOUNDED) -> list[Command]:
    """Return what to do at ``now`` (seconds since 1970) in the plan's order, with at most ``free`` starts.

    Ask again after the commands have become events; an empty list means: wait for an event, or for the time
    of ``next_time``.
    """
    if run.over or run.parked:
        return []
    if plan.timeout is not None and run.deadline is not None and now >= run.deadline:
        return [Expire(plan.timeout)]
    commands = _judged(run, now)
    commands += [Settle(name, *_cancelled(run)) for name in _ordered(run, _condemned(plan, run))]
    commands += [SettleUndo(name, *_ABANDONED) for name in _ordered(run, _abandoned(run))]
    if commands:
        return commands  # what has ended may forbid what would begin
    if run.all_settled:
        return [Finish(*_outcome(run))]
    return _go_on(plan, run, now, free)


def _go_on(plan: Plan, run: Run, now: float, free: int) -> list[Command]:
    if plan.turns and not run.has_turn:
        return [Enter(plan.turns.group)]
    commands = list(_begin(plan, run, now, free))
    if not commands and _only_a_person_helps(run):
        return [Park(_held_words(run))]
    return commands


def next_time(run: Run) -> float | None:
    """Return when the next paused step may go on, or the run's time is up (seconds since 1970), or None."""
    times = [run.steps[name].retry_at for name in run.paused]
    times += [run.steps[name].undo.retry_at for name in run.undo.paused]
    return min((at for at in (*times, run.deadline) if at is not None), default=None)


def _ordered(run: Run, names: Iterable[str]) -> list[str]:
    return sorted(names, key=run.order.__getitem__)


def _judged(run: Run, now: float) -> list[Command]:
    found = [judge_undo(run, name, now) for name in _ordered(run, run.undo.undecided)]
    waiting = run.undo.active | run.undo.undecided | run.undo.paused
    steps = (judge(run, name, now) for name in _ordered(run, run.undecided - waiting))
    return [*found, *(command for command in steps if command)]


def _condemned(plan: Plan, run: Run) -> set[str]:
    ends = run.cancels or run.expired
    waiting = run.pending | run.paused | run.held if ends else set()
    return run.doomed | {name for name in waiting if cancels(run, plan.steps[name])}


def _abandoned(run: Run) -> set[str]:
    return run.undo.ready | run.undo.paused if run.cancels > 1 else set()


def _cancelled(run: Run) -> tuple[str, str, str]:
    if run.cancels:
        return "cancelled", "cancelled", "the run was cancelled before it could end"
    if run.expired:
        return "cancelled", "timeout", "the run's own timeout passed"
    return "cancelled", "cancelled", "another leg of its matrix failed"


def _only_a_person_helps(run: Run) -> bool:
    return bool(run.held) and not (run.active or run.paused or run.undo.active or run.undo.paused)


def _held_words(run: Run) -> str:
    return f"{', '.join(_ordered(run, run.held)[:3])}: a write may have happened; a person decides"


def _begin(plan: Plan, run: Run, now: float, free: int) -> Iterator[Command]:
    for start in _undoing(plan, run, now):
        if free <= 0:
            return
        free -= 1
        yield start
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


def _undoing(plan: Plan, run: Run, now: float) -> Iterator[Start]:
    """Yield the compensations that may start: before a retry, then of a rollback, the newest step first."""
    begun = run.undo.active | run.undo.undecided | run.undo.paused
    first = [name for name in _ordered(run, run.undecided - begun) if needs_undo(run, name)]
    late = sorted(run.undo.ready, key=lambda name: (run.steps[name].started or 0.0, run.order[name]))
    for name in (*first, *_ordered(run, run.undo.paused), *reversed(late)):
        undo, state = plan.steps[name].compensate, run.steps[name].undo
        if undo and (name not in run.undo.paused or _is_time(state, undo, now)):
            yield Start(name, state.attempts + 1, PHASE_COMPENSATE)


def _is_full(run: Run, step: PlannedStep, begun: dict[str, int]) -> bool:
    if not step.matrix or not step.max_parallel:
        return False
    return run.groups[step.step].active + begun.get(step.step, 0) >= step.max_parallel


def _is_time(state: Progress, step: PlannedStep, now: float) -> bool:
    """Whether a pause is over; one longer than any that the step can have was set by a clock that jumped."""
    if state.retry_at is None or state.retry_at <= now:
        return True
    longest = max(step.retry.max_delay, step.breaker.reset if step.breaker else 0.0)
    return state.retry_at - now > longest + _SLACK


def _move(run: Run, step: PlannedStep, now: float) -> Command | None:
    state = run.steps[step.id]
    if step.id in run.paused:
        return Start(step.id, state.attempts + 1) if _is_time(state, step, now) else None
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
    undone = {state.undo.status for state in run.steps.values()}
    if COMPENSATION_FAILED in undone:
        return "rollback-failed", "a person is needed: what was not undone stands under rollback"
    if run.undo.total and (run.undone_later or not run.cancels):
        return "rolled-back", ""
    if run.cancels:
        return "cancelled", ""
    if run.failed:
        return "failed", "the run's own timeout passed" if run.expired else ""
    if run.shadowed:
        writes = "1 write was" if run.shadowed == 1 else f"{run.shadowed} writes were"
        return "rehearsed", f"{writes} not performed"
    return "succeeded", ""
