"""The secrets that a run has opened by now, for all that must not show or keep them."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.engine.ports import SecretPort

_MOST = 20  # values of one name: what was leased for attempts further back has ended with them


class Opened:
    """Of each name the last values, in whichever step; called from many threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._by_name: dict[str, deque[SecretPort]] = defaultdict(lambda: deque(maxlen=_MOST))

    def add(self, secret: SecretPort) -> None:
        """Take note of a secret that was opened."""
        with self._lock:
            self._by_name[secret.name].append(secret)

    def all(self) -> tuple[SecretPort, ...]:
        """Return every secret that is still worth hiding."""
        with self._lock:
            return tuple(secret for last in self._by_name.values() for secret in last)
