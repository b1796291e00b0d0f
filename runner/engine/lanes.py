"""Lanes: how many steps may run at once, each with a thread of its own, and sandboxes made ahead for them.

A lane's threads live as long as the run: an engine may tie a sandbox's life to the thread that made it.
"""

from __future__ import annotations

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

    def __init__(self, driver: Driver, removals: dict[str, Future[None]]) -> None:
        """Start no thread yet; ``removals`` is what all lanes of the run unparked last, by step."""
        self.step: str | None = None
        self.parked: dict[str, Future[Sandbox]] = {}
        self._driver = driver
        self._removals = removals
        self._worker = ThreadPoolExecutor(1, "lane")
        self._parker = ThreadPoolExecutor(WINDOW, "park")

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
        self.parked[step] = self._parker.submit(_make_after, self._removals.get(step), self._driver, spec)

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

    def unpark(self, *steps: str) -> None:
        """Begin to destroy the parked sandboxes of the steps, or all of them."""
        for step in steps or list(self.parked):
            self._removals[step] = self._parker.submit(_discard, self.parked.pop(step))

    def close(self) -> None:
        """Wait for the lane's threads, with nothing parked any more."""
        self._worker.shutdown(wait=True)
        self.unpark()
        self._parker.shutdown(wait=True)


class Lanes:
    """All lanes of a run."""

    def __init__(self, count: int, driver: Driver) -> None:
        """Make ``count`` lanes on ``driver``."""
        self._driver = driver
        self._removals: dict[str, Future[None]] = {}
        self.all = [Lane(driver, self._removals) for _ in range(max(1, count))]

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
        return min(idle, key=lambda lane: (step not in lane.parked, len(lane.parked)))

    def sandbox(self, lane: Lane, spec: SandboxSpec) -> Callable[[], Sandbox]:
        """Return what gives the sandbox of ``spec`` in ``lane``, from parking where it fits."""
        if spec.step in lane.parked and spec.attempt == 1 and spec.phase == PHASE_RUN:
            return lane.take(spec)
        for other in self.all:
            if spec.step in other.parked:
                other.unpark(spec.step)
        removal = self._removals.get(spec.step)
        return lambda: _make_after(removal, self._driver, spec)

    def close(self) -> None:
        """Wait for every thread, and destroy what is parked."""
        for lane in self.all:
            lane.unpark()
        for lane in self.all:
            lane.close()
        for removal in self._removals.values():
            removal.result()


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
