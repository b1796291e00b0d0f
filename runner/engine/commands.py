"""What ``decide`` may ask for; each becomes events before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.events import (
    PHASE_COMPENSATE,
    PHASE_RUN,
    AttemptStarted,
    CompensationSettled,
    Event,
    RetryScheduled,
    RunEnded,
    RunExpired,
    RunHeld,
    SecretOpened,
    StepHeld,
    StepSettled,
    TurnTaken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Enter:
    """Take the run's place in its concurrency group, or learn who is ahead."""

    group: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The run's own timeout passed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this attempt now: of the step, or of its compensation."""

    step: str
    attempt: int
    phase: str = PHASE_RUN


@dataclass(frozen=True, slots=True)
class Settle:
    """Give the step its last status."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SettleUndo:
    """Give the step's compensation its last status."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Make the attempt ``attempt`` not before ``at`` (seconds since 1970)."""

    step: str
    attempt: int
    at: float
    phase: str = PHASE_RUN


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask a person about a write that may have happened."""

    step: str
    detail: str


@dataclass(frozen=True, slots=True)
class Park:
    """Stop driving the run: only a person can bring it on."""

    detail: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Give the run its last status."""

    status: str
    detail: str = ""


Command = Enter | Expire | Start | Settle | SettleUndo | Pause | Hold | Park | Finish


def gives_engine_up(command: Command) -> bool:
    """Return whether the command ends a step, or its compensation, because the engine let it down."""
    return isinstance(command, Settle | SettleUndo) and command.reason == "infra"


def events_of(plan: Plan, command: Command) -> Iterator[Event]:
    """Yield the events that a command becomes in the journal, before the world is touched."""
    match command:
        case Start(name, attempt, phase):
            yield AttemptStarted(name, attempt, phase)
            step = plan.steps[name]
            undo = step.compensate if phase == PHASE_COMPENSATE else None
            for use in (undo or step).secrets:
                yield SecretOpened(name, attempt, use.secret)
        case Settle(step_id, status, reason, detail):
            yield StepSettled(step_id, status, reason, detail)
        case SettleUndo(step_id, status, reason, detail):
            yield CompensationSettled(step_id, status, reason, detail)
        case Pause(step_id, attempt, at, phase):
            yield RetryScheduled(step_id, attempt, at, phase)
        case Hold(step_id, detail):
            yield StepHeld(step_id, detail)
        case _:
            yield _of_run(command)


def _of_run(command: Enter | Expire | Park | Finish) -> Event:
    match command:
        case Enter(group):
            return TurnTaken(group)
        case Expire(seconds):
            return RunExpired(seconds)
        case Park(detail):
            return RunHeld(detail)
        case Finish(status, detail):
            return RunEnded(status, detail)
