"""The stores of one run in the shape that the engine asks for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.events import AttemptStarted, CancelRequested, TurnAwaited
from runner.store.journal import fence_lost
from runner.store.logs import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from runner.admission.arbiter import Arbiter
    from runner.clock import Clock
    from runner.engine.ports import LogWriterPort
    from runner.events import Event, Record
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Image
    from runner.store.journal import Journal, Ownership
    from runner.store.layout import Layout
    from runner.store.quarantine import Quarantine
    from runner.vault.binding import Binding
    from runner.vault.bindings import Bindings
    from runner.vault.leases import Leases
    from runner.vault.secret import Secret


@dataclass(slots=True)
class RunJournal:
    """The journal, for the one run that we own; what others note in it comes along with what we append."""

    journal: Journal
    ownership: Ownership
    arbiter: Arbiter
    seen: int
    _asked: set[str] = field(default_factory=set, init=False)

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        """Make the events durable; raises ``FenceLost`` when another runner took the run over."""
        records = self.journal.append(self.ownership, events, self.arbiter)
        if records and records[0].seq > self.seen + 1:
            return self.news()
        self.seen += len(records)
        self._make_room(records)
        return records

    def record(self, events: Sequence[Event]) -> None:
        """Make events durable from any thread; the run's driver sees them with its next news."""
        self.journal.append(self.ownership, events, self.arbiter)

    def confirm(self) -> None:
        """Raise ``FenceLost`` when another runner took the run over."""
        self.journal.confirm(self.ownership)

    def news(self) -> Sequence[Record]:
        """Return every record that was not returned yet; raises ``FenceLost`` once a new owner wrote one."""
        records = self.journal.records(self.ownership.run, self.seen)
        if any(record.fence > self.ownership.fence for record in records):
            raise fence_lost(self.ownership.run)
        self.seen += len(records)
        self._make_room(records)
        return records

    def _make_room(self, records: Sequence[Record]) -> None:
        """Ask the runs ahead in our concurrency group to end, once each, where the group wants that."""
        turns = self.arbiter.plan.turns
        if turns is None or not turns.cancels:
            return
        waits = [record.event for record in records if isinstance(record.event, TurnAwaited)]
        for other in {run for event in waits for run in event.ahead} - self._asked:
            self._asked.add(other)
            with suppress(UsageError):  # it has ended meanwhile
                why = f"run {self.ownership.run} takes its place in {turns.group}"
                self.journal.note(other, CancelRequested(why, insist=False))


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

    def open(self, step: str, attempt: int, phase: str, limit: int) -> LogWriterPort:
        """Return a new log of at most ``limit`` bytes."""
        return AttemptLog(LogWriter(self.layout.log(self.run, step, attempt, phase), limit))


@dataclass(slots=True)
class RunSecrets:
    """The operator's secrets as one workflow in one mode may have them; a run without any loads nothing."""

    bindings: Callable[[], Bindings]
    journal: RunJournal
    plan: Plan
    clock: Clock
    quarantine: Quarantine
    _leases: dict[AttemptStarted, Leases] = field(default_factory=dict, init=False, repr=False)

    def open(self, name: str, attempt: AttemptStarted, ttl: float) -> Secret:
        """Fetch a value; raises ``PolicyDenied`` when it is not bound for this workflow and mode."""
        from runner.vault.bindings import asked
        from runner.vault.lease import Holder
        from runner.vault.leases import MARGIN, Leases
        from runner.vault.opened import secret_of

        plan, step = self.plan, (attempt.step, attempt.attempt, attempt.phase)
        run = self.journal.ownership.run
        holder = Holder(run, plan.workflow, plan.mode, *step, plan.definition, plan.digest)
        binding = self._find(name)
        leases = self._leases.get(attempt)
        if leases is None:
            leases = self._leases[attempt] = Leases(holder, self.journal.record, self.clock)
        longest = min(ttl + MARGIN, binding.ttl or ttl + MARGIN)
        minted = leases.take(name, asked(binding, holder), self.bindings().source(binding.scheme), longest)
        self._find(name)  # who revokes says so first and looks for leases then: one of both sees the other
        return secret_of(binding, minted)

    def close(self, attempt: AttemptStarted) -> None:
        """Take back what the attempt had; what does not answer now is tried again later."""
        if leases := self._leases.pop(attempt, None):
            leases.give_back()

    def set_apart(self, path: Path, attempt: AttemptStarted) -> str:
        """Seal a result that holds a secret, for the operator alone."""
        return str(self.quarantine.seal(path, attempt))

    def _find(self, name: str) -> Binding:
        return self.bindings().find(name, self.plan.workflow, self.plan.mode, self.plan.definition)


@dataclass(frozen=True, slots=True)
class RunImages:
    """The images that were found before the run began, or went on."""

    found: Mapping[ImageRef, Image]

    def find(self, ref: ImageRef) -> Image:
        """Return the image of a reference of the plan."""
        return self.found[ref]
