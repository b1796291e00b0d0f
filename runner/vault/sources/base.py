"""Where a secret's value comes from: one file a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from runner.vault.lease import Holder, Lease, Minted


class Source(Protocol):
    """Makes values by reference, which is what follows the scheme in a binding. Called from many threads.

    No call takes longer than some seconds, whatever the server does: steps and commands wait for it.
    """

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the values as they are now, such that last ``ttl`` seconds if they end at all.

        Raises ``PolicyDenied`` when there is none for this holder, ``SourceUnavailable`` when the source does
        not answer: another attempt may get it.
        """
        ...


@runtime_checkable
class LeasingSource(Source, Protocol):
    """A source that can take back what it made."""

    def renew(self, reference: str, lease: Lease, ttl: float) -> Lease:
        """Return the lease with ``ttl`` seconds from now; raises ``SourceUnavailable``, ``PolicyDenied``."""
        ...

    def revoke(self, reference: str, lease: Lease) -> None:
        """Make the value useless, open sessions too; may be called twice, and by another process.

        Raises ``SourceUnavailable``, and ``PolicyDenied`` when the policy no longer declares what is needed:
        the lease stays open, and it is tried again later.
        """
        ...


@runtime_checkable
class ReclaimingSource(LeasingSource, Protocol):
    """A source that finds what it made by who it was made for."""

    def reclaim(self, reference: str, holder: Holder) -> None:
        """Revoke whatever was made for ``holder``, if anything was; may be called twice.

        Called when a runner died, or an answer was lost, between the making and the note of its lease. Raises
        ``SourceUnavailable``: it is tried again later.
        """
        ...
