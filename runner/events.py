"""What can happen to a run, as frozen data: the journal's records.

Every record is one of these classes; ``encode`` and ``decode`` give its JSON form,
``{"kind": "AttemptEnded", …fields}``. Values of secrets never stand in one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PHASE_RUN = "run"
PHASE_COMPENSATE = "compensate"


@dataclass(frozen=True, slots=True)
class RunCreated:
    """A plan was accepted and a run made of it."""

    workflow: str
    mode: str
    engine: str
    definition: str
    plan: str
    warnings: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A runner began (or went on) driving the run."""

    resumed: bool = False


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Intent: this attempt's sandbox may exist from now on. Attempts count from 1."""

    step: str
    attempt: int
    phase: str = PHASE_RUN


@dataclass(frozen=True, slots=True)
class SecretOpened:
    """A secret's value was handed to an attempt; only its name is kept."""

    step: str
    attempt: int
    name: str


@dataclass(frozen=True, slots=True)
class ArtifactKept:
    """One collected result file: name under ``/out``, SHA-256 in hex, size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The sandbox of an attempt is confirmed dead.

    ``exit_code`` is the engine's (None when there is none); ``reason`` is None for success, else one of
    the contract's words; ``detail`` says it in words; ``outputs`` are the step's ``$RUNNER_OUTPUT`` values.
    """

    step: str
    attempt: int
    phase: str = PHASE_RUN
    exit_code: int | None = None
    reason: str | None = None
    detail: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    artifacts: tuple[ArtifactKept, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The next attempt may start at ``at`` (seconds since 1970)."""

    step: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class StepSettled:
    """A step reached its last status: succeeded, failed, skipped, shadowed or cancelled."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for the run to end."""

    why: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run's last status; nothing follows."""

    status: str
    detail: str = ""


Event = (
    RunCreated
    | RunStarted
    | AttemptStarted
    | SecretOpened
    | AttemptEnded
    | RetryScheduled
    | StepSettled
    | CancelRequested
    | RunEnded
)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        RunCreated,
        RunStarted,
        AttemptStarted,
        SecretOpened,
        AttemptEnded,
        RetryScheduled,
        StepSettled,
        CancelRequested,
        RunEnded,
    )
}


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the journal holds it: ``seq`` counts from 1 in the run, ``at`` is seconds since 1970."""

    seq: int
    at: float
    owner: str
    fence: int
    event: Event


def encode(event: Event) -> dict[str, Any]:
    """Return the event's JSON form."""
    return {"kind": type(event).__name__, **asdict(event)}


def decode(data: dict[str, Any]) -> Event:
    """Return the event of a JSON form; raises ``KeyError`` for an unknown kind."""
    fields = dict(data)
    kind = _KINDS[fields.pop("kind")]
    if kind is AttemptEnded:
        fields["artifacts"] = tuple(ArtifactKept(**item) for item in fields["artifacts"])
        fields["refused"] = tuple(fields["refused"])
    if kind is RunCreated:
        fields["warnings"] = tuple(fields["warnings"])
        fields["unenforced"] = tuple(fields["unenforced"])
    event: Event = kind(**fields)
    return event
