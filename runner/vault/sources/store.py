"""Secrets from Runner's own encrypted store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import PolicyDenied

if TYPE_CHECKING:
    from runner.vault.store import SecretStore


class StoreSource:
    """``store:NAME``; asked as ``MODE/NAME``, so that a mode only ever sees its own values."""

    def __init__(self, store: SecretStore) -> None:
        """Read from ``store``."""
        self._store = store

    def open(self, reference: str) -> bytes:
        """Return the newest value."""
        mode, _, name = reference.partition("/")
        value = self._store.get(name, mode)
        if value is None:
            raise PolicyDenied(
                f"the store holds no value of {name} for {mode}",
                cure=f"runner secrets set {name} --mode {mode}",
            )
        return value
