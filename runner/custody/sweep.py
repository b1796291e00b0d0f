"""Leases that nobody returned: found in the journal, and taken back at their source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.clock import rfc3339
from runner.errors import PolicyDenied, RunnerError, SourceUnavailable, StoreError
from runner.events import LeaseReturned
from runner.vault.lease import Holder, Lease
from runner.vault.sources.base import LeasingSource, ReclaimingSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.app import App
    from runner.store.journal import Journal
    from runner.store.secret_rows import OpenLease

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Tried:
    """A lease that was to be taken back; ``left`` says why it still stands, empty when it does not."""

    lease: OpenLease
    left: str

    def __str__(self) -> str:
        what = f"{self.lease.source} of run {self.lease.run}, step {self.lease.step}"
        return f"{what}: {self.left}" if self.left else what


class Sweep:
    """Takes back what the journal says is out; any process may, and twice does no harm."""

    def __init__(self, app: App, journal: Journal) -> None:
        """Look into ``journal``; sources are asked once there is a lease of theirs."""
        self._app, self._journal = app, journal

    def dead(self) -> list[OpenLease]:
        """Return the leases of runs that nobody drives."""
        return [lease for lease in self._journal.open_leases() if not self._app.is_live(lease.run)]

    def of(self, run: str) -> list[OpenLease]:
        """Return the leases of a run, which we drive or drove."""
        return [lease for lease in self._journal.open_leases() if lease.run == run]

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Take back the leases of runs that nobody drives beside what happens inside."""
        left = self.dead()
        if not left:
            yield
            return
        with ThreadPoolExecutor(1, "sweep") as aside:
            swept = aside.submit(self.take_back, left)
            yield
            swept.result()

    def take_back(self, leases: Sequence[OpenLease]) -> list[Tried]:
        """Take leases back, several at once; a source that is down is asked once."""
        if not leases:
            return []
        down: dict[str, str] = {}
        with ThreadPoolExecutor(_AT_ONCE, "revoke") as pool:
            return list(pool.map(lambda lease: self._try(lease, down), leases))

    def _try(self, lease: OpenLease, down: dict[str, str]) -> Tried:
        left, detail = down.get(lease.source, ""), ""
        try:
            if not left:
                self._end(lease)
        except SourceUnavailable as error:
            left = down[lease.source] = error.message
        except RunnerError as error:  # of the policy, or of what Runner needs to ask the source
            left = error.message
        if left and lease.expires < self._app.clock.now():
            left, detail = "", f"it ended by itself; it could not be taken back: {left}"
        return Tried(lease, left or self._settle(lease, detail))

    def _settle(self, lease: OpenLease, detail: str) -> str:
        place = (lease.step, lease.attempt, lease.phase, lease.source, lease.lease)
        try:
            self._journal.settle(lease.run, [LeaseReturned(*place, detail)])
        except StoreError as error:  # it is worth nothing any more: whoever comes next takes it back again
            return error.message
        return ""

    def _end(self, lease: OpenLease) -> None:
        scheme, _, reference = lease.source.partition(":")
        source = self._app.bindings().source(scheme)
        if lease.lease and isinstance(source, LeasingSource):
            source.revoke(reference, Lease(lease.lease, lease.expires))
        elif not lease.lease and isinstance(source, ReclaimingSource):
            source.reclaim(reference, _holder(lease))
        else:
            when = rfc3339(lease.expires)
            raise PolicyDenied(f"{scheme}: takes nothing back in this Runner; it ends by itself at {when}")


def _holder(lease: OpenLease) -> Holder:
    attempt = (lease.step, lease.attempt, lease.phase)
    return Holder(lease.run, lease.workflow, lease.mode, *attempt, lease.definition, lease.plan)
