"""Secrets from Runner's own encrypted store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.vault.lease import Minted

if TYPE_CHECKING:
    from runner.vault.lease import Holder
    from runner.vault.store import SecretStore


class StoreSource:
    """``store:NAME``; asked as ``MODE/NAME``, so that a mode only ever sees its own values."""

    def __init__(self, store: SecretStore) -> None:
        """Read from ``store``."""
        self._store = store

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the newest value."""
        del holder, ttl
        mode, _, name = reference.partition("/")
        value = self._store.get(name, mode)
        if value is None:
            raise PolicyDenied(
                f"the store holds no value of {name} for {mode}",
                cure=f"runner secrets set {name} --mode {mode}",
            )
        return Minted({"": value})
