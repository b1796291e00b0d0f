"""A run as a fold over its records: what is known, and which steps that makes movable.

Applying a record costs time in proportion to what it changes (a step's dependents), never to the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.events import (
    PHASE_RUN,
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    Event,
    Record,
    RetryScheduled,
    RunCreated,
    RunEnded,
    RunStarted,
    StepSettled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.planning.plan import Plan, PlannedStep

PENDING = "pending"
RUNNING = "running"
SETTLED = frozenset({"succeeded", "failed", "skipped", "shadowed", "cancelled"})


@dataclass(slots=True)
class StepState:
    """What is known of one step; ``waits`` counts its unsettled needs, times are seconds since 1970."""

    status: str = PENDING
    attempts: int = 0
    last: AttemptEnded | None = None
    retry_at: float | None = None
    started: float | None = None
    ended: float | None = None
    reason: str | None = None
    detail: str = ""
    waits: int = 0

    @property
    def settled(self) -> bool:
        """Whether the status is final."""
        return self.status in SETTLED


@dataclass(slots=True)
class Group:
    """The legs of one matrix: all of them, and how many run now."""

    legs: list[str] = field(default_factory=list)
    active: int = 0


class Run:
    """The state of a run; only ``apply`` changes it.

    The sets are the work list of ``decide``: ``pending`` (not begun), ``ready`` (pending, all needs settled),
    ``active`` (an attempt runs), ``undecided`` (an attempt ended, nothing was decided about it), ``paused``
    (the next attempt has its time) and ``doomed`` (legs whose sibling failed). ``tainted`` holds steps that
    failed, were cancelled, or were skipped because of such a one.
    """

    def __init__(self, plan: Plan, run: str = "") -> None:
        """Begin with every step of ``plan`` pending; ``run`` is the run's id."""
        self.plan = plan
        self.id = run
        self.created: RunCreated | None = None
        self.status = "queued"
        self.detail = ""
        self.started: float | None = None
        self.ended: float | None = None
        self.cancels = 0
        self.failed = False
        self.order = {name: place for place, name in enumerate(plan.steps)}
        self.steps = {name: StepState(waits=len(set(step.needs))) for name, step in plan.steps.items()}
        self.pending = set(plan.steps)
        self.ready: set[str] = set()
        self.active: set[str] = set()
        self.undecided: set[str] = set()
        self.paused: set[str] = set()
        self.doomed: set[str] = set()
        self.tainted: set[str] = set()
        self.shadowed = 0
        self.groups: dict[str, Group] = {}
        self.dependents: dict[str, list[str]] = {}
        self._finals = [name for name, step in plan.steps.items() if step.final]
        self.open_normal = len(plan.steps) - len(self._finals)
        self.open_final = len(self._finals)
        self._index()

    def _index(self) -> None:
        for name, step in self.plan.steps.items():
            for need in set(step.needs):
                self.dependents.setdefault(need, []).append(name)
            if step.matrix:
                self.groups.setdefault(step.step, Group()).legs.append(name)
            if not self.steps[name].waits and self._gate_open(step):
                self.ready.add(name)

    @property
    def over(self) -> bool:
        """Whether the run has its last status."""
        return self.ended is not None

    @property
    def all_settled(self) -> bool:
        """Whether no step is open."""
        return not self.open_normal and not self.open_final

    def counts_as_success(self, name: str) -> bool:
        """Return whether ``name`` holds nobody back: succeeded, shadowed, or allowed to fail."""
        state = self.steps[name]
        allowed = state.status == "failed" and self.plan.steps[name].continue_on_error
        return allowed or state.status in {"succeeded", "shadowed"}

    def apply(self, record: Record) -> None:
        """Take one record in; records come in the order of the journal."""
        self.apply_event(record.event, record.at)

    def apply_event(self, event: Event, at: float) -> None:
        """Take one event in that happened ``at`` (seconds since 1970)."""
        match event:
            case AttemptStarted(phase=phase) if phase == PHASE_RUN:
                self._start(event, at)
            case AttemptEnded(phase=phase) if phase == PHASE_RUN:
                self._end(event)
            case RetryScheduled():
                self._pause(event)
            case StepSettled():
                self._settle(event, at)
            case _:
                self._apply_to_run(event, at)

    def _apply_to_run(self, event: Event, at: float) -> None:
        match event:
            case RunCreated():
                self.created = event
            case RunStarted():
                self.status = RUNNING
                self.started = at if self.started is None else self.started
            case CancelRequested():
                self.cancels += 1
            case RunEnded():
                self.status, self.detail, self.ended = event.status, event.detail, at

    def _start(self, event: AttemptStarted, at: float) -> None:
        state = self.steps[event.step]
        state.status = RUNNING
        state.attempts = event.attempt
        state.retry_at = None
        state.started = at if state.started is None else state.started
        self._forget(event.step)
        self.active.add(event.step)
        if group := self._group(event.step):
            group.active += 1

    def _end(self, event: AttemptEnded) -> None:
        self.steps[event.step].last = event
        self.active.discard(event.step)
        self.undecided.add(event.step)
        if group := self._group(event.step):
            group.active -= 1

    def _pause(self, event: RetryScheduled) -> None:
        self.steps[event.step].retry_at = event.at
        self.undecided.discard(event.step)
        self.paused.add(event.step)

    def _settle(self, event: StepSettled, at: float) -> None:
        state, step = self.steps[event.step], self.plan.steps[event.step]
        state.status, state.reason, state.detail = event.status, event.reason, event.detail
        state.retry_at = None
        state.ended = at
        self._forget(event.step)
        self._taint(step, event.status)
        self._count(step, event)
        for name in self.dependents.get(event.step, ()):
            self.steps[name].waits -= 1
            self._offer(name)
        if not step.final and not self.open_normal:
            for name in self._finals:
                self._offer(name)

    def _taint(self, step: PlannedStep, status: str) -> None:
        by_itself = status == "cancelled" or (status == "failed" and not step.continue_on_error)
        if by_itself or (status == "skipped" and not self.tainted.isdisjoint(step.needs)):
            self.tainted.add(step.id)

    def _count(self, step: PlannedStep, event: StepSettled) -> None:
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
        return not step.final or not self.open_normal

    def _forget(self, name: str) -> None:
        for work in (self.pending, self.ready, self.paused, self.doomed, self.undecided):
            work.discard(name)

    def _group(self, name: str) -> Group | None:
        return self.groups.get(self.plan.steps[name].step) if self.plan.steps[name].matrix else None


def fold(plan: Plan, records: Iterable[Record], run: str = "") -> Run:
    """Return the state of the run with the id ``run`` after ``records``."""
    state = Run(plan, run)
    for record in records:
        state.apply(record)
    return state
