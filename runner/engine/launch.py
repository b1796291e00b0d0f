"""From a decision to begin to a task in a lane: what an attempt is told, and where its sandbox comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.engine.ahead import Attempts
from runner.engine.attempt import Attempt, Task
from runner.engine.context import environment
from runner.engine.inputs import Missing, left_by, resolve_inputs
from runner.engine.lanes import WINDOW
from runner.errors import SandboxError
from runner.events import PHASE_COMPENSATE, AttemptEnded, AttemptStarted
from runner.sandbox.attempt_folder import place_files
from runner.workflow.expressions import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from runner.engine.lanes import Lane, Lanes
    from runner.engine.ports import Observer, Work
    from runner.engine.run import Run
    from runner.planning.plan import ImageRef
    from runner.sandbox.base import Image

_SLACK = 60.0  # seconds past an attempt's own deadline before the executor ends it from outside


@dataclass(frozen=True, slots=True)
class Flight:
    """An attempt in a lane; ``overdue`` is an instant on the boot clock."""

    attempt: Attempt
    lane: Lane
    overdue: float
    phase: str


class Launcher:
    """Begins attempts of one run, and makes sandboxes ahead of them."""

    def __init__(self, work: Work, run: Run, lanes: Lanes, images: Mapping[ImageRef, Image]) -> None:
        """``images`` may still be empty; it is read when something begins."""
        self._work, self._run, self._lanes, self._images = work, run, lanes, images
        self._attempts = Attempts(work.run, work.plan, work.folder)
        self._parks = bool(getattr(work.driver, "parks", False))  # a driver without parking need not say so
        self._unparked = list(reversed(work.plan.steps))

    def begin(
        self, start: AttemptStarted, observer: Observer, land: Callable[[Future[AttemptEnded]], None]
    ) -> Flight | AttemptEnded:
        """Begin the attempt and return its flight, or its end when it cannot begin.

        ``land`` is called, in another thread, with what came of it.
        """
        lane = self._lanes.choose(start.step)
        try:
            task = self._task(start, lane)
        except ExpressionError as error:
            return _unbegun(start, "exit", str(error))
        except Missing as missing:
            return _unbegun(start, "dependency", str(missing))
        except SandboxError as error:
            return _unbegun(start, "infra", str(error))
        attempt = Attempt(self._work, task, observer)
        overdue = self._work.clock.elapsed() + task.step.timeout + task.step.grace + _SLACK
        lane.submit(start.step, attempt.run).add_done_callback(land)
        return Flight(attempt, lane, overdue, start.phase)

    def _task(self, start: AttemptStarted, lane: Lane) -> Task:
        step = self._attempts.step(start)
        env = environment(self._run, step)
        inputs = resolve_inputs(self._run, step, self._work.stores.artifacts)
        spec = self._attempts.spec(start, self._images)
        if start.phase == PHASE_COMPENSATE:
            self._lay_out(start.step, spec.directory)
        return Task(step, start.attempt, spec, env, inputs, self._lanes.sandbox(lane, spec))

    def _lay_out(self, step: str, directory: Path) -> None:
        """Put what the step left where the compensation finds it under ``/done``."""
        folder = directory / "done"
        try:
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        except OSError as error:
            raise SandboxError(f"cannot make {folder}: {error}") from error
        place_files(folder, left_by(self._run, step, self._work.stores.artifacts))

    def park_ahead(self, flights: int) -> None:
        """Make sandboxes ahead of a lone step; beside several, making more would only compete with them."""
        if not self._parks or flights != 1 or self._run.failed or self._run.cancels:
            return
        parked = self._lanes.parked()
        for lane in self._lanes.all:
            while lane.step is not None and len(lane.parked) < WINDOW:
                name = self._next_likely(parked, next(reversed(lane.parked), None))
                if name is None:
                    break
                parked.add(name)
                lane.park(name, self._attempts.spec(AttemptStarted(name, 1), self._images))

    def _next_likely(self, parked: set[str], after: str | None) -> str | None:
        waiting, pending, steps = self._unparked, self._run.pending, self._work.plan.steps
        while waiting and (waiting[-1] not in pending or steps[waiting[-1]].shadowed):
            waiting.pop()
        fits = (name for name in reversed(waiting) if name in pending and name not in parked)
        sure = (name for name in fits if after is None or after in steps[name].needs)
        return next((name for name in sure if not steps[name].shadowed), None)


def _unbegun(start: AttemptStarted, reason: str, detail: str) -> AttemptEnded:
    return AttemptEnded(start.step, start.attempt, start.phase, reason=reason, detail=detail, began=False)
