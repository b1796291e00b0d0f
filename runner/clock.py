"""Time as a dependency: what the wall says, what has really passed, and absolute deadlines."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """Two readings in seconds: ``now`` since 1970 (may jump), ``elapsed`` on the boot clock (may not)."""

    def now(self) -> float:
        """Return seconds since 1970 in UTC."""
        ...

    def elapsed(self) -> float:
        """Return seconds on a clock that never jumps and counts through suspension."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return seconds since 1970 in UTC."""
        return time.time()

    def elapsed(self) -> float:
        """Return seconds since boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """The time of one process: the wall's when it began, and then only what has really passed."""

    def __init__(self, clock: Clock) -> None:
        """Take the wall's time of ``clock`` once."""
        self._clock = clock
        self._offset = clock.now() - clock.elapsed()

    def now(self) -> float:
        """Return seconds since 1970 in UTC that no change of the wall's time moves."""
        return self._clock.elapsed() + self._offset

    def elapsed(self) -> float:
        """Return seconds since boot."""
        return self._clock.elapsed()


def rfc3339(seconds: float) -> str:
    """Format seconds since 1970 as RFC 3339 in UTC with microseconds."""
    from datetime import UTC, datetime  # slow to import

    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Cancellation:
    """A flag that one thread raises and many threads heed; ``why`` is for the report."""

    def __init__(self) -> None:
        """Start unraised."""
        self._event = threading.Event()
        self._calls: list[Callable[[], object]] = []
        self.why = ""

    def cancel(self, why: str) -> None:
        """Raise the flag; the first reason stands."""
        if not self._event.is_set():
            self.why = why
            self._event.set()
            for call in tuple(self._calls):
                call()

    def notify(self, call: Callable[[], object]) -> None:
        """Have ``call``, which may neither block nor raise, made when the flag is raised, or now if it is."""
        self._calls.append(call)
        if self.requested:
            call()

    @property
    def requested(self) -> bool:
        """Whether anyone raised the flag."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep up to ``seconds``, returning True at once when the flag is raised."""
        return self._event.wait(seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """An absolute instant on the boot clock (``at``, seconds) that is handed down, never restarted."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return cls(clock.elapsed() + seconds, clock)

    def left(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - self.clock.elapsed())

    @property
    def passed(self) -> bool:
        """Whether the instant lies behind us."""
        return self.clock.elapsed() >= self.at
