"""What can happen to a run, as frozen data: the journal's records; none holds the value of a secret."""

from __future__ import annotations

from dataclasses import dataclass, field

from runner.events.secrets import LeaseAsked as LeaseAsked
from runner.events.secrets import LeaseReturned as LeaseReturned
from runner.events.secrets import LeaseTaken as LeaseTaken
from runner.events.secrets import SecretOpened as SecretOpened
from runner.events.secrets import SecretRevoked as SecretRevoked

PHASE_RUN = "run"
PHASE_COMPENSATE = "compensate"


@dataclass(frozen=True, slots=True)
class RunCreated:
    """A plan was accepted and a run made of it.

    ``origin`` is the first run of a chain of retries, whose idempotency keys stay (empty: this run itself);
    ``images`` maps what the plan names to the digests that were found.
    """

    workflow: str
    mode: str
    engine: str
    definition: str
    plan: str
    warnings: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()
    origin: str = ""
    images: dict[str, str] = field(default_factory=dict)


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
class ConnectionEnded:
    """What became of a connection that a step asked for (``sandbox/egress``), or of ``count`` alike."""

    step: str
    attempt: int
    phase: str
    host: str
    port: int
    rule: str = ""
    denied: str = ""
    failed: str = ""
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    count: int = 1
    method: str = ""


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
    ``began`` is False when the command certainly never ran; ``lost`` is True when the runner died meanwhile;
    ``final`` when another attempt would fail alike.
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
    began: bool = True
    lost: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The next attempt may start at ``at`` (seconds since 1970)."""

    step: str
    attempt: int
    at: float
    phase: str = PHASE_RUN


@dataclass(frozen=True, slots=True)
class BreakerRefused:
    """The breaker ``name`` is open: ``attempt`` was not made; it may be asked again at ``until``."""

    step: str
    attempt: int
    name: str
    until: float


@dataclass(frozen=True, slots=True)
class StepHeld:
    """A write may have happened, and only a person can know: nothing goes on with this step until then."""

    step: str
    detail: str


@dataclass(frozen=True, slots=True)
class StepDecided:
    """A person decided about a held step: attempt it ``again``, take it as ``done``, or ``give-up``."""

    step: str
    verdict: str
    who: str = ""


@dataclass(frozen=True, slots=True)
class StepCarried:
    """What the step did in ``run``, before this one; ``dirty``: it is not undone.

    ``settled``: it succeeded and is not run again; else this run undoes it if it comes to that.
    """

    step: str
    run: str
    ended: AttemptEnded
    dirty: bool = True
    settled: bool = True


@dataclass(frozen=True, slots=True)
class StepSettled:
    """A step reached its last status: succeeded, failed, skipped, shadowed or cancelled."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CompensationSettled:
    """What a step did is undone (``compensated``), or that failed for good (``compensation-failed``)."""

    step: str
    status: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for the run to end, with what it did undone if ``rollback``.

    A second request that does ``insist`` ends compensations and ``finally`` steps too.
    """

    why: str
    rollback: bool = False
    insist: bool = True


@dataclass(frozen=True, slots=True)
class RollbackRequested:
    """Somebody asked for all that the run did to be undone; compensations that failed are tried again."""

    who: str


@dataclass(frozen=True, slots=True)
class TurnAwaited:
    """The concurrency group is full: the run waits for the runs ``ahead``."""

    group: str
    ahead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TurnTaken:
    """The run has its place in the concurrency group."""

    group: str


@dataclass(frozen=True, slots=True)
class RunExpired:
    """The run's own timeout passed: its steps end, and what they did is undone."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RunHeld:
    """Nothing is left to do before a person has decided about the held steps."""

    detail: str


@dataclass(frozen=True, slots=True)
class RunRetried:
    """The run ``by`` goes on from this one's results, and undoes them if it comes to that."""

    by: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run's last status; only a rollback or a retry by a person follows."""

    status: str
    detail: str = ""


Event = (
    RunCreated
    | RunStarted
    | AttemptStarted
    | SecretOpened
    | LeaseAsked
    | LeaseTaken
    | LeaseReturned
    | SecretRevoked
    | ConnectionEnded
    | AttemptEnded
    | RetryScheduled
    | BreakerRefused
    | StepHeld
    | StepDecided
    | StepCarried
    | StepSettled
    | CompensationSettled
    | CancelRequested
    | RollbackRequested
    | TurnAwaited
    | TurnTaken
    | RunExpired
    | RunHeld
    | RunRetried
    | RunEnded
)


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the journal holds it: ``seq`` counts from 1 in the run, ``at`` is seconds since 1970."""

    seq: int
    at: float
    owner: str
    fence: int
    event: Event
