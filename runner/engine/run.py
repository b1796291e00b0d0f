"""A run as a fold over its records: what is known, and which steps that makes movable.

Applying a record costs time in proportion to what it changes (a step's dependents), never to the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runner import events as happened
from runner.engine.course import Course
from runner.engine.steps import COMPENSATED, COMPENSATION_FAILED, HELD, PENDING, Group, StepState
from runner.engine.undo import Undo
from runner.errors import StoreError
from runner.events import PHASE_COMPENSATE, PHASE_RUN
from runner.failsafe.effects import is_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.events import Event, Record
    from runner.planning.plan import Plan, PlannedStep


class Run(Course):
    """The state of a run; only ``apply`` changes it.

    The sets are the work list of ``decide``: ``pending`` (not begun), ``ready`` (pending, all needs settled),
    ``active`` (an attempt runs), ``undecided`` (an attempt ended, nothing was decided about it), ``paused``
    (the next attempt has its time), ``held`` (a person decides) and ``doomed`` (legs whose sibling failed).
    ``tainted`` holds steps that failed, were cancelled, or were skipped because of such a one. ``failed``
    says that the run is one that failed; what that undoes is in ``undo``.
    """

    def __init__(self, plan: Plan, run: str = "") -> None:
        """Begin with every step of ``plan`` pending; ``run`` is the run's id."""
        super().__init__(plan)
        self.id = run
        self.order = {name: place for place, name in enumerate(plan.steps)}
        self.steps = {name: StepState(waits=len(set(step.needs))) for name, step in plan.steps.items()}
        self.pending = set(plan.steps)
        self.ready: set[str] = set()
        self.active: set[str] = set()
        self.undecided: set[str] = set()
        self.paused: set[str] = set()
        self.held: set[str] = set()
        self.doomed: set[str] = set()
        self.tainted: set[str] = set()
        self.shadowed = 0
        self.groups: dict[str, Group] = {}
        self.dependents: dict[str, list[str]] = {}
        self._finals = [name for name, step in plan.steps.items() if step.final]
        self.open_normal = len(plan.steps) - len(self._finals)
        self.open_final = len(self._finals)
        self._turned = self._rolls_back = False
        self._index()
        self.undo = Undo(plan, self.dependents)
        self._turn()

    def _index(self) -> None:
        for name, step in self.plan.steps.items():
            for need in set(step.needs):
                self.dependents.setdefault(need, []).append(name)
            if step.matrix:
                self.groups.setdefault(step.step, Group()).legs.append(name)
            if not self.steps[name].waits and not step.final:
                self.ready.add(name)

    @property
    def all_settled(self) -> bool:
        """Whether no step is open and nothing is left to undo."""
        return not self.open_normal and not self.open_final and not self.undo.due

    @property
    def deadline(self) -> float | None:
        """When the run's own timeout passes; time that it was held or waited for its turn does not count."""
        if self.plan.timeout is None or self.began is None or not self.has_turn or self.expired:
            return None
        return self.began + self.plan.timeout - self.used if self.open_normal else None

    def counts_as_success(self, name: str) -> bool:
        """Return whether ``name`` holds nobody back: succeeded, shadowed, or allowed to fail."""
        state = self.steps[name]
        allowed = state.status == "failed" and self.plan.steps[name].continue_on_error
        return allowed or state.status in {"succeeded", "shadowed"}

    def apply(self, record: Record) -> None:
        """Take one record in; records come in the order of the journal."""
        self.apply_event(record.event, record.at)
        self.seq = record.seq

    def apply_event(self, event: Event, at: float) -> None:
        """Take one event in that happened ``at`` (seconds since 1970)."""
        of_undo = getattr(event, "phase", PHASE_RUN) == PHASE_COMPENSATE
        handler = (self._ON_UNDO if of_undo else self._ON_STEP).get(type(event))
        if handler:
            handler(self, event, at)
        if not getattr(event, "lost", False):  # found by somebody, maybe long after its runner died
            self.last_at = at

    def _begin(self, event: happened.RunStarted, at: float) -> None:
        self.begin(event, at)
        for name in self.undecided:
            self.steps[name].renew()
        for name in self.undo.undecided:
            self.steps[name].undo.renew()

    def _start(self, event: happened.AttemptStarted, at: float) -> None:
        state = self.steps[event.step]
        state.start(event.attempt, at)
        state.refusal, state.verdict = None, ""
        self._move(event.step, self.active)
        if group := self._group(event.step):
            group.active += 1

    def _end(self, event: happened.AttemptEnded, _: float) -> None:
        state = self.steps[event.step]
        state.end(event)
        state.dirty = state.dirty or event.began
        state.left = event.artifacts or state.left
        self._move(event.step, self.undecided)
        if group := self._group(event.step):
            group.active -= 1

    def _refuse(self, event: happened.BreakerRefused, _: float) -> None:
        self.steps[event.step].refusal = event
        self._move(event.step, self.undecided)

    def _hold(self, event: happened.StepHeld, _: float) -> None:
        self.steps[event.step].status, self.steps[event.step].detail = HELD, event.detail
        self._move(event.step, self.held)

    def _pause(self, event: happened.RetryScheduled, _: float) -> None:
        self.steps[event.step].retry_at = event.at
        self._move(event.step, self.paused)

    def _decided(self, event: happened.StepDecided, _: float) -> None:
        if event.step in self.held:
            self.steps[event.step].verdict = event.verdict
            self._move(event.step, self.undecided)

    def _carry(self, event: happened.StepCarried, at: float) -> None:
        state = self.steps[event.step]
        state.left, state.dirty = event.ended.artifacts, event.dirty
        if not event.settled:
            return
        state.last = event.ended
        detail = f"carried over from run {event.run}"
        self._settle(happened.StepSettled(event.step, "succeeded", None, detail), at)

    def _settle(self, event: happened.StepSettled, at: float) -> None:
        step = self.plan.steps[event.step]
        self.steps[event.step].settle(event.status, event.reason, event.detail, at)
        self._forget(event.step)
        self._taint(step, event.status)
        self._count(step, event)
        for name in self.dependents.get(event.step, ()):
            self.steps[name].waits -= 1
            self._offer(name)
        self._turn()

    def _start_undo(self, event: happened.AttemptStarted, at: float) -> None:
        self.steps[event.step].undo.start(event.attempt, at)
        self.undo.start(event.step)

    def _end_undo(self, event: happened.AttemptEnded, _: float) -> None:
        self.steps[event.step].undo.end(event)
        self.undo.end(event.step)

    def _pause_undo(self, event: happened.RetryScheduled, _: float) -> None:
        self.steps[event.step].undo.retry_at = event.at
        self.undo.pause(event.step)

    def _settle_undo(self, event: happened.CompensationSettled, at: float) -> None:
        state = self.steps[event.step]
        state.undo.settle(event.status, event.reason, event.detail, at)
        state.undo.tried = 0
        if event.status == COMPENSATED:
            state.dirty, state.left = False, ()
        self.undo.settle(event.step)
        self._turn()

    def _roll_back(self, _: happened.RollbackRequested, __: float) -> None:
        self.rollback_asked = self.undone_later = self._rolls_back = True
        self.cancels = 0  # what was cancelled has ended; this is asked for afterwards
        for state in self.steps.values():
            if state.undo.status != COMPENSATED:
                state.undo.status = PENDING
        self.undo.begin(self.left_to_undo())

    def left_to_undo(self) -> list[str]:
        """Return the steps whose doing is not undone, and could be, in the plan's order."""
        return [
            name
            for name, state in self.steps.items()
            if is_due(self.plan.steps[name], state.status, dirty=state.dirty)
        ]

    def _turn(self) -> None:
        """When the last normal step has settled, begin what has to be undone; then offer the finals.

        What is asked to be undone only while the finals run is undone after them.
        """
        if self.open_normal:
            return
        failed_by_itself = not self._turned and self.failed and not self.cancels
        in_time = not self._turned or not self.open_final
        self._turned = True
        if not self._rolls_back and (failed_by_itself or (self.rollback_asked and in_time)):
            self._rolls_back = True
            gave_up = {name for name, one in self.steps.items() if one.undo.status == COMPENSATION_FAILED}
            self.undo.begin([name for name in self.left_to_undo() if name not in gave_up])
        for name in () if self.undo.due else self._finals:
            self._offer(name)

    def _taint(self, step: PlannedStep, status: str) -> None:
        by_itself = status == "cancelled" or (status == "failed" and not step.continue_on_error)
        if by_itself or (status == "skipped" and not self.tainted.isdisjoint(step.needs)):
            self.tainted.add(step.id)

    def _count(self, step: PlannedStep, event: happened.StepSettled) -> None:
        self.shadowed += event.status == "shadowed"
        if step.final:
            self.open_final -= 1
        else:
            self.open_normal -= 1
        if event.status != "failed" or step.continue_on_error:
            return
        self.failed = True
        if step.fail_fast and (group := self._group(event.step)):
            self.doomed.update(leg for leg in group.legs if leg in self.pending)

    def _offer(self, name: str) -> None:
        if name in self.pending and not self.steps[name].waits and self._gate_open(self.plan.steps[name]):
            self.ready.add(name)

    def _gate_open(self, step: PlannedStep) -> bool:
        return not step.final or (self._turned and not self.undo.due)

    def _move(self, name: str, to: set[str]) -> None:
        self._forget(name)
        to.add(name)

    def _forget(self, name: str) -> None:
        begun = (self.active, self.paused, self.undecided, self.held)
        for work in (self.pending, self.ready, self.doomed, *begun):
            work.discard(name)

    def _group(self, name: str) -> Group | None:
        return self.groups.get(self.plan.steps[name].step) if self.plan.steps[name].matrix else None

    _ON_UNDO: ClassVar[dict[type, Callable[..., None]]] = {
        happened.AttemptStarted: _start_undo,
        happened.AttemptEnded: _end_undo,
        happened.RetryScheduled: _pause_undo,
    }
    _ON_STEP: ClassVar[dict[type, Callable[..., None]]] = {
        happened.AttemptStarted: _start,
        happened.AttemptEnded: _end,
        happened.RetryScheduled: _pause,
        happened.BreakerRefused: _refuse,
        happened.StepHeld: _hold,
        happened.StepDecided: _decided,
        happened.StepCarried: _carry,
        happened.StepSettled: _settle,
        happened.CompensationSettled: _settle_undo,
        happened.RunCreated: Course.create,
        happened.RunStarted: _begin,
        happened.CancelRequested: Course.cancel,
        happened.RollbackRequested: _roll_back,
        happened.TurnAwaited: Course.await_turn,
        happened.TurnTaken: Course.take_turn,
        happened.RunExpired: Course.expire,
        happened.RunHeld: Course.park,
        happened.RunRetried: Course.continue_elsewhere,
        happened.RunEnded: Course.end,
    }


def fold(plan: Plan, records: Iterable[Record], run: str = "") -> Run:
    """Return the state of the run with the id ``run`` after ``records``.

    Raises ``StoreError`` for a record that this plan's run cannot have.
    """
    state = Run(plan, run)
    for record in records:
        try:
            state.apply(record)
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"the journal's record {record.seq} of run {run} does not fit its plan: {error}",
                cure="somebody changed the journal: restore it from a backup",
            ) from error
    return state
