"""The values that one attempt holds: made once a reference, journaled first, renewed in time, taken back."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, RunnerError, StoreError
from runner.events import Event, LeaseAsked, LeaseReturned, LeaseTaken
from runner.vault.sources.base import LeasingSource, ReclaimingSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.clock import Clock
    from runner.vault.lease import Holder, Lease, Minted
    from runner.vault.sources.base import Source

MARGIN = 30.0  # seconds that a value outlives its attempt's own limits: engines take time to begin and to end
_SLACK = 1.0  # seconds that a lease may fall short before it is renewed
_SOONEST = 0.2  # seconds between two tries to renew


@dataclass(slots=True)
class _Held:
    """A lease under way: ``names`` share it."""

    name: str
    asked: str
    source: LeasingSource
    lease: Lease

    @property
    def reference(self) -> str:
        return self.asked.partition(":")[2]


class Leases:
    """What one attempt has from its sources; used by its thread, renewed by threads that end with it."""

    def __init__(self, holder: Holder, record: Callable[[Sequence[Event]], None], clock: Clock) -> None:
        """``record`` makes events durable before it returns."""
        self._holder, self._record, self._clock = holder, record, clock
        self._minted: dict[str, Minted] = {}
        self._held: dict[str, _Held] = {}
        self._asked: dict[str, ReclaimingSource] = {}
        self._ended = threading.Event()
        self._renewals: list[threading.Thread] = []

    def take(self, name: str, asked: str, source: Source, ttl: float) -> Minted:
        """Return the values of ``asked`` (``SCHEME:REFERENCE``), with their lease in the journal.

        Raises ``SourceUnavailable``, ``PolicyDenied``, and ``StoreError`` with the value revoked again.
        """
        if asked in self._minted:
            if asked in self._held:
                self._record([self._taken(self._held[asked], name)])
            return self._minted[asked]
        reference = asked.partition(":")[2]
        if isinstance(source, ReclaimingSource):
            self._record([LeaseAsked(*self._attempt, name, asked, self._clock.now() + ttl)])
            self._asked[asked] = source
        minted = source.mint(reference, self._holder, ttl)
        if minted.lease is not None and isinstance(source, LeasingSource):
            self._hold(_Held(name, asked, source, minted.lease), self._clock.now() + ttl)
        self._minted[asked] = minted
        return minted

    def give_back(self) -> None:
        """Revoke all; where that fails, for whatever reason, the journal keeps the lease for a later try."""
        self._ended.set()
        for thread in self._renewals:
            thread.join()
        returned: list[Event] = []
        for asked, held in self._held.items():
            with suppress(RunnerError):
                held.source.revoke(held.reference, held.lease)
                returned.append(LeaseReturned(*self._attempt, asked, held.lease.id))
        for asked, source in self._asked.items():
            if asked not in self._held:
                with suppress(RunnerError):
                    source.reclaim(asked.partition(":")[2], self._holder)
                    returned.append(LeaseReturned(*self._attempt, asked, ""))
        if returned:
            with suppress(StoreError):  # revoked all the same: whoever finds the lease open revokes it twice
                self._record(returned)

    @property
    def _attempt(self) -> tuple[str, int, str]:
        return self._holder.step, self._holder.attempt, self._holder.phase

    def _taken(self, held: _Held, name: str) -> LeaseTaken:
        return LeaseTaken(*self._attempt, name, held.asked, held.lease.id, held.lease.expires)

    def _hold(self, held: _Held, until: float) -> None:
        try:
            self._record([self._taken(held, held.name)])
        except BaseException:
            with suppress(RunnerError):  # nobody has the value, and it ends by itself
                held.source.revoke(held.reference, held.lease)
            raise
        self._held[held.asked] = held
        if held.lease.expires < until - _SLACK:
            thread = threading.Thread(target=self._keep, args=(held, until), name=f"renew-{held.name}")
            self._renewals.append(thread)
            thread.start()

    def _keep(self, held: _Held, until: float) -> None:
        """Renew a lease whenever half of its time is over, more often while its source does not answer."""
        while held.lease.expires < until - _SLACK:
            left = held.lease.expires - self._clock.now()
            if self._ended.wait(max(_SOONEST, left / 2)) or left <= 0:
                return
            try:
                lease = held.source.renew(held.reference, held.lease, until - self._clock.now())
            except PolicyDenied:
                return
            except RunnerError:  # the source, or what Runner needs to ask it, may answer later
                continue
            if lease.expires <= held.lease.expires:  # it has had all that its source gives
                return
            held.lease = lease
            with suppress(StoreError):  # the journal knows the lease; only its end is not up to date
                self._record([self._taken(held, held.name)])
