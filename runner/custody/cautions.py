"""What the operator should know of secrets on this machine, beside what the engines can enforce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.custody.listing import Listing
from runner.custody.swap import unencrypted_swap
from runner.units import shown_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.app import App


def cautions(app: App) -> list[dict[str, str]]:
    """Return each with what it is, why it matters, and its cure."""
    return [{"what": what, "why": why, "cure": cure} for what, why, cure in _found(app)]


def _found(app: App) -> Iterator[tuple[str, str, str]]:
    for area in unencrypted_swap():
        yield (
            f"swap {area}",
            "it is not known to be encrypted: memory with secrets in it may be written there",
            "encrypt it (crypttab's swap option), use zram, or turn it off: swapoff -a",
        )
    listing = Listing(app)
    for binding in listing.overdue():
        age = shown_duration(binding.rotate_after or 0.0)
        yield (
            f"secret {binding.name} ({binding.mode})",
            f"its value is older than {age}",
            f"runner secrets rotate {binding.name} --mode {binding.mode} < NEW-VALUE"
            if binding.scheme == "store"
            else f"change it at {binding.source}, then bind it again",
        )
    for lease in listing.leases():
        if not lease["live"]:
            yield (
                f"lease {lease['source']}",
                f"run {lease['run']} is over and nobody took it back; it ends at {lease['expires']}",
                "runner gc takes it back",
            )
