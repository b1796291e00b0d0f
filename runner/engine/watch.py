"""The observer as the engine calls it: one call at a time, and its errors stay its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.clock import Cancellation
    from runner.engine.ports import Observer
    from runner.events import Record


class Watch:
    """Calls an observer until its first error; output that nobody reads any more cancels the run."""

    def __init__(self, observer: Observer, cancellation: Cancellation) -> None:
        """Guard ``observer``."""
        self._observer, self._cancellation = observer, cancellation
        self._lock = threading.Lock()
        self._gone = False

    def event(self, record: Record) -> None:
        """Pass a record on."""
        self._call(lambda: self._observer.event(record))

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        """Pass masked bytes on."""
        self._call(lambda: self._observer.output(step, attempt, stream, data))

    def _call(self, tell: Callable[[], None]) -> None:
        with self._lock:
            if self._gone:
                return
            try:
                tell()
            except BrokenPipeError:
                self._gone = True
                self._cancellation.cancel("nobody reads the output any more")
            except Exception:  # noqa: BLE001 - whoever watches must not be able to fail the run
                self._gone = True
