"""Removals of containers under way."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REMOVERS = 4


class Removals:
    """Removes in the background, because nobody needs to wait for it but the command's exit."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_REMOVERS, thread_name_prefix="removal")
        self._under_way: dict[Future[None], Callable[[], None]] = {}

    def submit(self, removal: Callable[[], None]) -> None:
        """Run ``removal``, which may be made twice, soon."""
        left = {future: one for future, one in self._under_way.items() if not _succeeded(future)}
        self._under_way = {**left, self._pool.submit(removal): removal}

    def finish(self) -> None:
        """Wait for all, and make again what failed: the engine may have come back; raises the first error."""
        done, self._under_way = self._under_way, {}
        wait(done)
        for removal in [one for future, one in done.items() if not _succeeded(future)]:
            removal()


def _succeeded(future: Future[None]) -> bool:
    return future.done() and future.exception() is None
