"""Results that hold a secret of their run: sealed for the operator, and handed on to nobody.

They stand in ``HOME/runs/RUN/quarantine/STEP.N.K.age``; ``age -d -i CONFIG/identity.age FILE`` opens one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.vault.files import own_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.events import AttemptStarted
    from runner.store.layout import Layout
    from runner.vault.store import SecretStore


@dataclass(slots=True)
class Quarantine:
    """What one run left that nobody may have; called from many threads."""

    layout: Layout
    run: str
    store: Callable[[], SecretStore]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def seal(self, path: Path, attempt: AttemptStarted) -> Path:
        """Seal a copy of the file at ``path`` and return where it stands; raises ``StoreError``."""
        folder = own_folder(self.layout.run(self.run) / "quarantine")
        stem = self.layout.log(self.run, attempt.step, attempt.attempt, attempt.phase).stem
        with self._lock:
            number = 1 + sum(each.name.startswith(f"{stem}.") for each in folder.iterdir())
            target = folder / f"{stem}.{number}.age"
            self.store().seal(path, target)
        return target
