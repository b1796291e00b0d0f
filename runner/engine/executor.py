"""Doing what ``decide`` says: intents into the journal first, then attempts in lanes, to the run's end."""

from __future__ import annotations

import shutil
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from runner.engine.commands import events_of, gives_engine_up
from runner.engine.decide import decide, next_time
from runner.engine.lanes import Lanes
from runner.engine.launch import Flight, Launcher
from runner.engine.lost import lost_attempts
from runner.engine.run import Run, fold
from runner.engine.watch import Watch
from runner.errors import EngineUnavailable, RunnerError
from runner.events import (
    PHASE_COMPENSATE,
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    Event,
    Record,
    RunEnded,
    RunStarted,
    SecretRevoked,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Future

    from runner.engine.ports import Work
    from runner.planning.plan import ImageRef
    from runner.sandbox.base import Image

_HEARING = 0.5  # seconds between looks at what others noted in the journal
_TURN = 0.3  # seconds between looks at whose turn it is


def execute(work: Work, records: Sequence[Record]) -> Run:
    """Drive the run from ``records`` to its end, or until only a person helps; return its last state.

    Nothing of it is left on the engine when this returns or raises. Raises ``StoreError`` when the journal
    or a store fails, what ``images`` raises when a root file system is missing, and ``EngineUnavailable``
    when a step would fail only because no engine answers any more: a resume goes on with it.
    """
    return Executor(work, records).run()


class Executor:
    """Drives one run; used once."""

    def __init__(self, work: Work, records: Sequence[Record]) -> None:
        """Continue from ``records``, which may hold nothing but the run's creation."""
        self._work = work
        self._run = fold(work.plan, records, work.run)
        self._watch = Watch(work.observer, work.cancellation)
        for record in records[1:] if self._run.started is None else ():
            self._watch.event(record)  # what it goes on from
        self._lanes = work.ahead or Lanes(work.lanes, work.driver)
        self._inbox: SimpleQueue[tuple[str, Future[AttemptEnded]] | None] = SimpleQueue()
        self._flights: dict[str, Flight] = {}
        self._images: dict[ImageRef, Image] = {}
        self._launcher = Launcher(work, self._run, self._lanes, self._images)
        self._heard = work.clock.elapsed()

    def run(self) -> Run:
        """Drive the run."""
        for flag in (self._work.cancellation, self._work.abandonment):
            flag.notify(lambda: self._inbox.put(None))
        try:
            self._open()
            while not self._is_done:
                self._heed_cancellation()
                self._carry_on()
                if not self._is_done:
                    self._await()
        finally:
            self._close()
        return self._run

    @property
    def _is_done(self) -> bool:
        return self._run.over or self._run.parked

    def _open(self) -> None:
        run = self._run
        self._work.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._append([RunStarted(resumed=run.started is not None)])
        self._append(lost_attempts(run))
        try:
            for step in self._work.plan.steps.values():
                for each in (step, step.compensate):
                    if each and not step.shadowed and each.image not in self._images:
                        self._images[each.image] = self._work.images.find(each.image)
        except RunnerError as error:
            if not any(state.attempts for state in run.steps.values()):  # else a resume may find it again
                self._append([RunEnded("failed", error.message)])
            raise

    def _heed_cancellation(self) -> None:
        work, run = self._work, self._run
        wanted = 2 if work.abandonment.requested else int(work.cancellation.requested)
        while run.cancels < wanted:
            self._append([CancelRequested(work.cancellation.why or work.abandonment.why)])
        for name, flight in self._flights.items() if run.cancels or run.expired else ():
            self._stop(name, flight)

    def _stop(self, name: str, flight: Flight) -> None:
        """End an attempt of a run that ends; compensations and finals only when it is asked twice."""
        run = self._run
        if run.cancels > 1:
            flight.attempt.stop("cancelled", run.cancel_why, grace=0)
        elif flight.phase == PHASE_COMPENSATE or self._work.plan.steps[name].final:
            return
        elif run.cancels:
            flight.attempt.stop("cancelled", run.cancel_why)
        else:
            flight.attempt.stop("timeout", f"the run took longer than its {self._work.plan.timeout:g} s")

    def _carry_on(self) -> None:
        work = self._work
        while commands := decide(work.plan, self._run, work.clock.now(), self._lanes.free):
            if not self._run.cancels and any(map(gives_engine_up, commands)):
                self._need_engine()
            records = self._append([event for command in commands for event in events_of(work.plan, command)])
            self._heed_cancellation()
            for record in records:
                if isinstance(record.event, AttemptStarted):
                    self._begin(record.event)
            if self._is_done or not records:  # a turn that is not to be had yet
                return
        self._launcher.park_ahead(len(self._flights))

    def _need_engine(self) -> None:
        """Leave the run to a resume where no engine answers: what fails for that has not failed yet."""
        try:
            self._work.driver.check()
        except EngineUnavailable as error:
            raise EngineUnavailable(
                f"run {self._run.id} stops here: {error.message}",
                cure=f"bring the engine back, then: runner resume {self._run.id}",
            ) from error

    def _begin(self, start: AttemptStarted) -> None:
        name = start.step

        def land(future: Future[AttemptEnded]) -> None:
            self._inbox.put((name, future))

        begun = self._launcher.begin(start, self._watch, land)
        if isinstance(begun, AttemptEnded):
            self._append([begun])
        else:
            self._flights[name] = begun

    def _await(self) -> None:
        first = self._receive(self._patience())
        while first:
            name, future = first
            flight = self._flights.pop(name)
            try:
                ended = future.result()
                self._append([ended])
            finally:
                flight.lane.free(flight.attempt.release)
            if ended.reason == "infra":
                flight.lane.unpark()  # an engine that let one sandbox down may have lost those too
            first = self._receive(0.0)
        self._stop_overdue()
        if self._work.clock.elapsed() - self._heard >= _HEARING:
            self._heard = self._work.clock.elapsed()
            self._take_in(self._work.stores.journal.news())

    def _receive(self, seconds: float) -> tuple[str, Future[AttemptEnded]] | None:
        try:
            return self._inbox.get(timeout=seconds) if seconds else self._inbox.get_nowait()
        except Empty:
            return None

    def _patience(self) -> float:
        clock = self._work.clock
        waits = [_HEARING if self._run.has_turn else _TURN]
        waits += [flight.overdue - clock.elapsed() for flight in self._flights.values()]
        if (at := next_time(self._run)) is not None:
            waits.append(at - clock.now())
        return max(0.001, min(waits))

    def _stop_overdue(self) -> None:
        now = self._work.clock.elapsed()
        for flight in self._flights.values():
            if flight.overdue <= now:
                flight.attempt.stop("infra", "the sandbox outlived its own deadline", grace=0)

    def _append(self, events: Iterable[Event]) -> Sequence[Record]:
        listed = list(events)
        return self._take_in(self._work.stores.journal.append(listed)) if listed else ()

    def _take_in(self, records: Sequence[Record]) -> Sequence[Record]:
        for record in records:
            self._run.apply(record)
            self._watch.event(record)
            if isinstance(record.event, SecretRevoked):
                self._withdraw(record.event)
        return records

    def _withdraw(self, revoked: SecretRevoked) -> None:
        """End the attempts that hold what was revoked; whoever begins later is refused by the bindings."""
        for flight in self._flights.values():
            for name in flight.attempt.holds(revoked.names):
                flight.attempt.stop("denied", f"secret {name} was revoked by {revoked.who}", grace=0)

    def _close(self) -> None:
        for flight in self._flights.values():
            flight.attempt.stop("cancelled", "the runner ended", grace=0)
            flight.lane.free(flight.attempt.release)
        self._lanes.close()
        self._work.stores.network.close()
        shutil.rmtree(self._work.folder, ignore_errors=True)
