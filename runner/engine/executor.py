"""Doing what ``decide`` says: intents into the journal first, then attempts in lanes, to the run's end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from runner.engine.ahead import Attempts
from runner.engine.attempt import Attempt, Task
from runner.engine.context import environment
from runner.engine.decide import Command, Finish, Pause, Settle, Start, decide, next_time
from runner.engine.inputs import Missing, resolve_inputs
from runner.engine.lanes import WINDOW, Lane, Lanes
from runner.engine.run import Run, fold
from runner.engine.watch import Watch
from runner.errors import RunnerError
from runner.events import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    Event,
    Record,
    RetryScheduled,
    RunEnded,
    RunStarted,
    SecretOpened,
    StepSettled,
)
from runner.workflow.expressions import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from runner.engine.ports import Work
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Image, SandboxSpec

_SLACK = 60.0  # seconds past an attempt's own deadline before the executor ends it from outside


@dataclass(frozen=True, slots=True)
class _Flight:
    """An attempt in a lane; ``overdue`` is an instant on the boot clock."""

    attempt: Attempt
    lane: Lane
    overdue: float


def execute(work: Work, records: Sequence[Record]) -> Run:
    """Drive the run from ``records`` to its end and return its last state.

    Nothing of it is left on the engine when this returns or raises. Raises ``StoreError`` when the journal
    or a store fails, and what ``images`` raises when a root file system is missing.
    """
    return Executor(work, records).run()


class Executor:
    """Drives one run; used once."""

    def __init__(self, work: Work, records: Sequence[Record]) -> None:
        """Continue from ``records``, which may hold nothing but the run's creation."""
        self._work = work
        self._run = fold(work.plan, records, work.run)
        self._watch = Watch(work.observer, work.cancellation)
        self._lanes = work.ahead or Lanes(work.lanes, work.driver)
        self._attempts = Attempts(work.run, work.plan, work.folder)
        self._inbox: SimpleQueue[tuple[str, Future[AttemptEnded]] | None] = SimpleQueue()
        self._flights: dict[str, _Flight] = {}
        self._images: dict[ImageRef, Image] = {}
        self._parks = bool(getattr(work.driver, "parks", False))  # a driver without parking need not say so
        self._unparked = list(reversed(work.plan.steps))

    def run(self) -> Run:
        """Drive the run to its end."""
        for flag in (self._work.cancellation, self._work.abandonment):
            flag.notify(lambda: self._inbox.put(None))
        try:
            self._open()
            while not self._run.over:
                self._heed_cancellation()
                self._carry_on()
                if not self._run.over:
                    self._await()
        finally:
            self._close()
        return self._run

    def _open(self) -> None:
        run = self._run
        self._work.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._append([RunStarted(resumed=run.started is not None)])
        lost = "the runner ended while this attempt ran"
        orphans = [(name, run.steps[name].attempts) for name in run.active]
        self._append([AttemptEnded(name, number, reason="infra", detail=lost) for name, number in orphans])
        try:
            for step in self._work.plan.steps.values():
                if not step.shadowed and step.image not in self._images:
                    self._images[step.image] = self._work.images.find(step.image)
        except RunnerError as error:
            self._append([RunEnded("failed", error.message)])
            raise

    def _heed_cancellation(self) -> None:
        work, run = self._work, self._run
        wanted = 2 if work.abandonment.requested else int(work.cancellation.requested)
        while run.cancels < wanted:
            self._append([CancelRequested(work.cancellation.why or work.abandonment.why)])
        if run.cancels:
            for name, flight in self._flights.items():
                self._stop_cancelled(name, flight)

    def _stop_cancelled(self, name: str, flight: _Flight) -> None:
        why = self._work.cancellation.why or self._work.abandonment.why
        if self._run.cancels > 1:
            flight.attempt.stop("cancelled", why, grace=0)
        elif not self._work.plan.steps[name].final:
            flight.attempt.stop("cancelled", why)

    def _carry_on(self) -> None:
        while commands := decide(self._work.plan, self._run, self._work.clock.now(), self._lanes.free):
            self._append([event for command in commands for event in self._intent(command)])
            for command in commands:
                if isinstance(command, Start):
                    self._begin(command)
            if self._run.over:
                return
        self._park_ahead()

    def _intent(self, command: Command) -> Iterator[Event]:
        match command:
            case Start(step, attempt):
                yield AttemptStarted(step, attempt)
                for use in self._work.plan.steps[step].secrets:
                    yield SecretOpened(step, attempt, use.secret)
            case Settle(step, status, reason, detail):
                yield StepSettled(step, status, reason, detail)
            case Pause(step, attempt, at):
                yield RetryScheduled(step, attempt, at)
            case Finish(status, detail):
                yield RunEnded(status, detail)

    def _begin(self, start: Start) -> None:
        lane = self._lanes.choose(start.step)
        try:
            task = self._task(start, lane)
        except ExpressionError as error:
            self._append([AttemptEnded(start.step, start.attempt, reason="exit", detail=str(error))])
            return
        except Missing as missing:
            self._append([AttemptEnded(start.step, start.attempt, reason="dependency", detail=str(missing))])
            return
        attempt = Attempt(self._work, task, self._watch)
        overdue = self._work.clock.elapsed() + task.step.timeout + task.step.grace + _SLACK
        self._flights[start.step] = _Flight(attempt, lane, overdue)
        future = lane.submit(start.step, attempt.run)
        future.add_done_callback(lambda done: self._inbox.put((start.step, done)))

    def _task(self, start: Start, lane: Lane) -> Task:
        step = self._work.plan.steps[start.step]
        env = environment(self._run, step)
        inputs = resolve_inputs(self._run, step, self._work.stores.artifacts)
        spec = self._spec(start.step, start.attempt, lane)
        return Task(step, start.attempt, spec, env, inputs, self._lanes.sandbox(lane, spec))

    def _spec(self, name: str, attempt: int, lane: Lane) -> SandboxSpec:
        image = self._images[self._work.plan.steps[name].image]
        return self._attempts.spec(name, attempt, lane.number, image)

    def _park_ahead(self) -> None:
        """Make sandboxes ahead of a lone step; beside several, making more would only compete with them."""
        if not self._parks or len(self._flights) != 1 or self._run.failed or self._run.cancels:
            return
        parked = self._lanes.parked()
        for lane in self._lanes.all:
            while lane.step is not None and len(lane.parked) < WINDOW:
                name = self._next_likely(self._work.plan, parked, next(reversed(lane.parked), None))
                if name is None:
                    break
                parked.add(name)
                lane.park(name, self._spec(name, 1, lane))

    def _next_likely(self, plan: Plan, parked: set[str], after: str | None) -> str | None:
        waiting, run = self._unparked, self._run
        while waiting and (waiting[-1] not in run.pending or plan.steps[waiting[-1]].shadowed):
            waiting.pop()
        fits = (name for name in reversed(waiting) if name in run.pending and name not in parked)
        sure = (name for name in fits if after is None or after in plan.steps[name].needs)
        return next((name for name in sure if not plan.steps[name].shadowed), None)

    def _await(self) -> None:
        first = self._receive(self._patience())
        while first:
            name, future = first
            lane = self._flights.pop(name).lane
            lane.free()
            ended = future.result()
            if ended.reason == "infra":
                self._lanes.renew(lane)
            self._append([ended])
            first = self._receive(0.0)
        self._stop_overdue()

    def _receive(self, seconds: float | None) -> tuple[str, Future[AttemptEnded]] | None:
        try:
            return self._inbox.get(timeout=seconds) if seconds != 0.0 else self._inbox.get_nowait()
        except Empty:
            return None

    def _patience(self) -> float | None:
        clock = self._work.clock
        waits = [flight.overdue - clock.elapsed() for flight in self._flights.values()]
        if (at := next_time(self._run)) is not None:
            waits.append(at - clock.now())
        return max(0.001, min(waits)) if waits else None

    def _stop_overdue(self) -> None:
        now = self._work.clock.elapsed()
        for flight in self._flights.values():
            if flight.overdue <= now:
                flight.attempt.stop("infra", "the sandbox outlived its own deadline", grace=0)

    def _append(self, events: Iterable[Event]) -> None:
        listed = list(events)
        if not listed:
            return
        for record in self._work.stores.journal.append(listed):
            self._run.apply(record)
            self._watch.event(record)

    def _close(self) -> None:
        for flight in self._flights.values():
            flight.attempt.stop("cancelled", "the runner ended", grace=0)
        self._lanes.close()
        shutil.rmtree(self._work.folder, ignore_errors=True)
