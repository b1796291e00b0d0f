"""What the engine needs from others, as protocols: it knows no store, no vault and no screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from runner.engine.opened import Opened
from runner.sandbox.base import Carrier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from runner.clock import Cancellation, Clock
    from runner.engine.lanes import Lanes
    from runner.events import AttemptStarted, Event, Record
    from runner.planning.plan import ImageRef, Plan, PlannedStep
    from runner.sandbox.base import Driver, Image
    from runner.sandbox.egress.rules import Connection
    from runner.vault.binding import Terms


class JournalPort(Protocol):
    """The run's journal, and the arbiter of what runs share: breakers and turns.

    Called from one thread, but for ``confirm`` and ``record``.
    """

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        """Make the events durable together; return all records that are new, what others noted too.

        An attempt that meets an open breaker is recorded as ``BreakerRefused`` in place of its start, a turn
        that is not to be had as ``TurnAwaited``, or not at all when that is known. Raises ``StoreError``,
        and ``FenceLost`` when another runner took the run over.
        """
        ...

    def record(self, events: Sequence[Event]) -> None:
        """Make events of an attempt under way durable; ``news`` returns them. Called from many threads."""
        ...

    def confirm(self) -> None:
        """Raise ``FenceLost`` when another runner took the run over. Called from many threads."""
        ...

    def news(self) -> Sequence[Record]:
        """Return what others noted since the last call: a request to cancel, a person's decision."""
        ...


class ArtifactsPort(Protocol):
    """Result files by content. Called from many threads."""

    def keep(self, path: Path) -> tuple[str, int]:
        """Take the file at ``path`` over; return its SHA-256 in hex and its size in bytes."""
        ...

    def path(self, sha256: str) -> Path:
        """Return where the content stands on the host; raises ``StoreError`` when it is lost."""
        ...


class LogWriterPort(Protocol):
    """One attempt's log, already masked."""

    def write(self, stream: str, data: bytes) -> object:
        """Append bytes of ``stdout`` or ``stderr``."""
        ...

    def close(self) -> None:
        """Make the log durable; may be called twice."""
        ...


class LogsPort(Protocol):
    """The logs of the run. Called from many threads."""

    def open(self, step: str, attempt: int, phase: str, limit: int) -> LogWriterPort:
        """Return the attempt's new log of at most ``limit`` bytes."""
        ...


class SecretPort(Protocol):
    """A secret's value, hidden until revealed."""

    @property
    def name(self) -> str:
        """The name in the workflow."""
        ...

    @property
    def terms(self) -> Terms | None:
        """Which hosts it may be sent to, and how."""
        ...

    def reveal(self) -> bytes:
        """Return the value."""
        ...

    def to_mask(self) -> tuple[bytes, ...]:
        """Return every value that no output may show: what came with it from its source too."""
        ...

    def to_find(self) -> tuple[bytes, ...]:
        """Return those that no result may hold: not what is masked for safety, as the name of a host."""
        ...


class SecretsPort(Protocol):
    """Where secrets come from. Called from many threads."""

    def open(self, name: str, attempt: AttemptStarted, ttl: float) -> SecretPort:
        """Fetch the secret for one attempt, to last ``ttl`` seconds.

        Raises ``PolicyDenied`` when it is not bound for this run, ``SourceUnavailable``.
        """
        ...

    def set_apart(self, path: Path, attempt: AttemptStarted) -> str:
        """Seal a result that holds a secret for the operator alone; return where. Raises ``StoreError``."""
        ...

    def close(self, attempt: AttemptStarted) -> None:
        """Take back all that the attempt had from its sources; never raises what they say."""
        ...


class MaskerPort(Protocol):
    """Hides secrets in a stream, however it is cut."""

    def fork(self) -> MaskerPort:
        """Return a fresh stream that hides the same secrets."""
        ...

    def mask_text(self, text: str) -> str:
        """Return ``text``, taken as a whole stream, masked."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes in and return those that are safe to show by now."""
        ...

    def flush(self) -> bytes:
        """Return the rest at the end of the stream."""
        ...

    def find(self, pieces: Iterator[bytes]) -> bytes:
        """Return the first secret in a stream as it stands there, if it is too long for chance."""
        ...


class WayPort(Carrier, Protocol):
    """The one way out of one attempt's sandbox."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables that lead programs to it."""
        ...

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files under ``/run/secrets``: whom to trust."""
        ...

    def close(self) -> None:
        """End every connection, with what became of each reported; raises what ``report`` raised."""
        ...


class NetworkPort(Protocol):
    """The way out of the sandboxes of one run. Called from many threads."""

    def open(
        self, step: PlannedStep, secrets: Mapping[str, SecretPort], report: Callable[[Connection], None]
    ) -> WayPort:
        """Return a way that leads where the step may go and nowhere else.

        ``secrets`` are the step's, by name in the workflow: the proxy adds some, others may be bound
        to hosts. Raises ``PolicyDenied`` where the step reaches another.
        """
        ...

    def close(self) -> None:
        """End it for the whole run; may be called twice."""
        ...


class ImagesPort(Protocol):
    """Root file systems."""

    def find(self, ref: ImageRef) -> Image:
        """Return the verified image, building a profile if need be; raises ``ImageMissing``."""
        ...


class Observer(Protocol):
    """Whoever watches. Calls never overlap; an error of an observer never fails the run."""

    def event(self, record: Record) -> None:
        """See a record that is durable by now."""
        ...

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        """See masked bytes that a step wrote, cut anywhere."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a run's traces go and its secrets come from; ``masker`` makes a masker of values.

    ``network`` is the only way out.
    """

    journal: JournalPort
    artifacts: ArtifactsPort
    logs: LogsPort
    secrets: SecretsPort
    masker: Callable[[Sequence[bytes]], MaskerPort]
    network: NetworkPort


@dataclass(frozen=True, slots=True)
class Work:
    """All that driving one run takes.

    ``folder`` is the run's private scratch folder on the host, emptied at the end; ``lanes`` is how many
    steps may run at once, ``ahead`` those lanes where the first sandbox is already on its way in them;
    ``cancellation`` ends the run but for its ``finally`` steps, ``abandonment`` ends those and compensations
    too. ``origin`` is the run whose idempotency keys the steps keep.
    """

    run: str
    plan: Plan
    driver: Driver
    images: ImagesPort
    stores: Stores
    observer: Observer
    clock: Clock
    cancellation: Cancellation
    abandonment: Cancellation
    folder: Path
    lanes: int = 4
    origin: str = ""
    ahead: Lanes | None = None
    opened: Opened = field(default_factory=Opened, repr=False)
