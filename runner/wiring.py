"""The stores of one run in the shape that the engine asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.store.logs import LogWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.engine.ports import LogWriterPort
    from runner.events import Event, Record
    from runner.planning.plan import ImageRef
    from runner.sandbox.base import Image
    from runner.store.journal import Journal, Ownership
    from runner.store.layout import Layout
    from runner.vault.bindings import Bindings
    from runner.vault.secret import Secret


@dataclass(frozen=True, slots=True)
class RunJournal:
    """The journal, for the one run that we own."""

    journal: Journal
    ownership: Ownership

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        """Make the events durable; raises ``FenceLost`` when another runner took the run over."""
        return self.journal.append(self.ownership, events)


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """One attempt's log file: both streams, in order of arrival."""

    writer: LogWriter

    def write(self, stream: str, data: bytes) -> None:
        """Append what the step wrote, already masked."""
        del stream
        self.writer.write(data)

    def close(self) -> None:
        """Make the log durable."""
        self.writer.close()


@dataclass(frozen=True, slots=True)
class RunLogs:
    """The logs of one run."""

    layout: Layout
    run: str

    def open(self, step: str, attempt: int, limit: int) -> LogWriterPort:
        """Return a new log of at most ``limit`` bytes."""
        return AttemptLog(LogWriter(self.layout.log(self.run, step, attempt), limit))


@dataclass(frozen=True, slots=True)
class RunSecrets:
    """The operator's secrets as one workflow in one mode may have them."""

    bindings: Bindings
    workflow: str
    mode: str

    def open(self, name: str) -> Secret:
        """Fetch a value; raises ``PolicyDenied`` when it is not bound for this workflow and mode."""
        return self.bindings.resolve(name, self.workflow, self.mode)


@dataclass(frozen=True, slots=True)
class RunImages:
    """The images that were found before the run began."""

    found: Mapping[ImageRef, Image]

    def find(self, ref: ImageRef) -> Image:
        """Return the image of a reference of the plan."""
        return self.found[ref]
