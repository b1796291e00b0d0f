"""Lanes: how many steps may run at once, each with a thread of its own, and sandboxes made ahead for them.

A lane's threads live as long as the run: an engine may tie a sandbox's life to the thread that made it.
"""

from __future__ import annotations

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from runner.errors import SandboxError
from runner.events import PHASE_RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.base import Driver, Sandbox, SandboxSpec

Result = TypeVar("Result")
WINDOW = 2  # sandboxes made ahead in a lane: while one is taken, the next is on its way


class Lane:
    """One lane: at most one step runs in it, and at most ``WINDOW`` sandboxes are parked ahead."""

    def __init__(self, number: int, driver: Driver) -> None:
        """Start no thread yet."""
        self.number = number
        self.step: str | None = None
        self.parked: dict[str, Future[Sandbox]] = {}
        self._driver = driver
        self._removals: list[Future[None]] = []
        self._worker = ThreadPoolExecutor(1, f"lane-{number}")
        self._parker = ThreadPoolExecutor(WINDOW, f"park-{number}")

    def submit(self, step: str, work: Callable[[], Result]) -> Future[Result]:
        """Run ``work`` for ``step`` in the lane's thread."""
        self.step = step
        return self._worker.submit(work)

    def free(self, release: Callable[[], None]) -> None:
        """Take note that the lane's step has ended, and ``release`` what it held in the lane's thread."""
        self.step = None
        self._worker.submit(release)

    def park(self, step: str, spec: SandboxSpec) -> None:
        """Begin to make the sandbox of the step's first attempt; returns at once."""
        self.parked[step] = self._parker.submit(_make, self._driver, spec)

    def adopt(self, step: str, finish: Callable[[], Sandbox]) -> None:
        """Park the sandbox of the step's first attempt that is begun already; returns at once."""
        self.parked[step] = self._parker.submit(finish)

    def take(self, spec: SandboxSpec) -> Callable[[], Sandbox]:
        """Return what gives the sandbox of ``spec``: the parked one, or a new one if parking failed."""
        parked = self.parked.pop(spec.step, None)

        def sandbox() -> Sandbox:
            try:
                return parked.result() if parked else _make(self._driver, spec)
            except SandboxError:
                return _make(self._driver, spec)

        return sandbox

    def unpark(self, step: str) -> Future[None]:
        """Begin to destroy the step's parked sandbox; return its removal."""
        removal = self._parker.submit(_discard, self.parked.pop(step))
        self._removals.append(removal)
        return removal

    def close(self) -> None:
        """Wait for the lane's threads, with nothing parked any more."""
        self._worker.shutdown(wait=True)
        for step in list(self.parked):
            self.unpark(step)
        self._parker.shutdown(wait=True)
        for removal in self._removals:
            removal.result()


class Lanes:
    """All lanes of a run."""

    def __init__(self, count: int, driver: Driver) -> None:
        """Make ``count`` lanes on ``driver``."""
        self._driver = driver
        self._numbers = itertools.count()
        self.all = [Lane(next(self._numbers), driver) for _ in range(max(1, count))]

    @property
    def free(self) -> int:
        """How many lanes have no step."""
        return sum(lane.step is None for lane in self.all)

    def parked(self) -> set[str]:
        """Return the steps that have a sandbox made ahead."""
        return {step for lane in self.all for step in lane.parked}

    def choose(self, step: str) -> Lane:
        """Return the free lane for ``step``: where its sandbox is parked, else one where none is."""
        idle = [lane for lane in self.all if lane.step is None]
        return min(idle, key=lambda lane: (step not in lane.parked, len(lane.parked), lane.number))

    def renew(self, lane: Lane) -> None:
        """Give the lane a new number: what the engine may have left alive in the old one meets nobody."""
        for step in list(lane.parked):
            lane.unpark(step)
        lane.number = next(self._numbers)

    def sandbox(self, lane: Lane, spec: SandboxSpec) -> Callable[[], Sandbox]:
        """Return what gives the sandbox of ``spec`` in ``lane``, from parking where it fits."""
        if spec.step in lane.parked and spec.attempt == 1 and spec.phase == PHASE_RUN:
            return lane.take(spec)
        stale = next((other for other in self.all if spec.step in other.parked), None)
        removal = stale.unpark(spec.step) if stale else None
        return lambda: _make_after(removal, self._driver, spec)

    def close(self) -> None:
        """Wait for every thread, and destroy what is parked."""
        for lane in self.all:
            for step in list(lane.parked):
                lane.unpark(step)
        for lane in self.all:
            lane.close()


def _make(driver: Driver, spec: SandboxSpec) -> Sandbox:
    spec.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return driver.create(spec)


def _make_after(removal: Future[None] | None, driver: Driver, spec: SandboxSpec) -> Sandbox:
    if removal:
        removal.result()
    return _make(driver, spec)


def _discard(parked: Future[Sandbox]) -> None:
    try:
        sandbox = parked.result()
    except (SandboxError, OSError):
        return
    with suppress(SandboxError, OSError):  # what cannot be removed now carries our labels and is reaped
        sandbox.destroy()
