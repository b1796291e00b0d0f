"""Where a secret's value comes from: one file a source."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Opens values by reference, afresh at each call."""

    def open(self, reference: str) -> bytes:
        """Return the value; raises ``PolicyDenied`` with a cure when there is none."""
        ...
