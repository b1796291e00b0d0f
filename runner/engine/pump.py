"""What a step writes, on its way to the log: masked per stream, cut at the log limit, never left unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.engine.ports import MaskerPort
    from runner.sandbox.base import Chunk


class Pump:
    """Moves chunks to ``write(stream, masked bytes)``; calls ``full`` once past ``limit`` bytes."""

    def __init__(
        self,
        masker: MaskerPort,
        write: Callable[[str, bytes], None],
        limit: int,
        full: Callable[[], None],
    ) -> None:
        """Mask each stream by a fork of ``masker``."""
        self._masker, self._write, self._left, self._full = masker, write, limit, full
        self._maskers: dict[str, MaskerPort] = {}
        self._is_full = False

    def run(self, chunks: Iterable[Chunk]) -> None:
        """Move all chunks; past the limit, read them to nowhere: an unread stream blocks its engine."""
        for chunk in chunks:
            if not self._is_full:
                self._move(chunk.stream, chunk.data)
        if self._is_full:  # what is held back may be a secret that the limit cut in two
            return
        for stream, masker in self._maskers.items():
            self._give(stream, masker.flush())

    def _move(self, stream: str, data: bytes) -> None:
        if stream not in self._maskers:
            self._maskers[stream] = self._masker.fork()
        self._give(stream, self._maskers[stream].feed(data[: self._left]))
        self._left -= len(data)
        if self._left < 0:
            self._is_full = True
            self._full()

    def _give(self, stream: str, data: bytes) -> None:
        if data:
            self._write(stream, data)
