"""What is known of one step and of its compensation; times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.events import ArtifactKept, AttemptEnded, BreakerRefused

PENDING = "pending"
RUNNING = "running"
HELD = "held"
SETTLED = frozenset({"succeeded", "failed", "skipped", "shadowed", "cancelled"})
COMPENSATED = "compensated"
COMPENSATION_FAILED = "compensation-failed"


@dataclass(slots=True)
class Progress:
    """Attempts at one command: ``attempts`` names the last, ``tried`` counts those that had their chance."""

    status: str = PENDING
    attempts: int = 0
    tried: int = 0
    last: AttemptEnded | None = None
    retry_at: float | None = None
    started: float | None = None
    ended: float | None = None
    reason: str | None = None
    detail: str = ""

    def start(self, attempt: int, at: float) -> None:
        """Take note of an attempt that begins."""
        self.status = RUNNING
        self.attempts = attempt
        self.retry_at = None
        self.started = at if self.started is None else self.started

    def end(self, ended: AttemptEnded) -> None:
        """Take note of an attempt that ended; one whose runner died takes nothing from the budget."""
        self.last = ended
        self.tried += not ended.lost

    def renew(self) -> None:
        """Take note of a new runner: an engine that let an attempt down has all its chances anew."""
        if self.last and self.last.reason == "infra" and not self.last.lost:
            self.tried = 0

    def settle(self, status: str, reason: str | None, detail: str, at: float) -> None:
        """Take the last status."""
        self.status, self.reason, self.detail = status, reason, detail
        self.retry_at = None
        self.ended = at


@dataclass(slots=True)
class StepState(Progress):
    """A step: ``waits`` counts its unsettled needs, ``dirty`` says that what it did is not undone.

    ``left`` are the files of what is not undone, ``verdict`` is what a person decided about it, ``refusal``
    the breaker that it met open, ``undo`` its compensation.
    """

    waits: int = 0
    dirty: bool = False
    left: tuple[ArtifactKept, ...] = ()
    verdict: str = ""
    refusal: BreakerRefused | None = None
    undo: Progress = field(default_factory=Progress)

    @property
    def settled(self) -> bool:
        """Whether the status is final."""
        return self.status in SETTLED


@dataclass(slots=True)
class Group:
    """The legs of one matrix: all of them, and how many run now."""

    legs: list[str] = field(default_factory=list)
    active: int = 0
