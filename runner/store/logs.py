"""An attempt's log: masked bytes in, one file, never beyond its limit; readable while it grows."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, Self

from runner.vault.files import open_regular, own_folder, store_error, storing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK = 1 << 16
_POLL = 0.1  # seconds between looks at a growing log
_TAIL = 1 << 20  # bytes looked at for the last lines


class LogWriter:
    """Appends to one log from any thread; a context manager."""

    def __init__(self, path: Path, limit: int) -> None:
        """Open ``path`` for at most ``limit`` bytes in all."""
        own_folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with storing(path):
            self._descriptor = os.open(path, flags, 0o600)
            self.size = os.fstat(self._descriptor).st_size
        self.over = False
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()

    def write(self, data: bytes) -> bool:
        """Append what fits and return whether all did; raises ``StoreError`` for a full disk."""
        with self._lock:
            rest = memoryview(data)[: max(0, self._limit - self.size)]
            self.over = self.over or len(rest) < len(data)
            with storing(self._path):
                while rest:
                    count = os.write(self._descriptor, rest)
                    self.size += count
                    rest = rest[count:]
            return not self.over

    def close(self) -> None:
        """Make the log durable and close it; a second call does nothing."""
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                with storing(self._path):
                    os.fdatasync(self._descriptor)
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> Iterator[bytes]:
    """Yield a log's bytes in blocks; a log that does not exist is empty."""
    yield from follow(path, lambda: True)


def follow(path: Path, is_done: Callable[[], bool]) -> Iterator[bytes]:
    """Yield a log's bytes as they come, until ``is_done()`` and all is read."""
    stream: BinaryIO | None = None
    try:
        while True:
            done = is_done()
            stream = stream or _open(path)
            while stream and (block := stream.read(_BLOCK)):
                yield block
            if done:
                return
            time.sleep(_POLL)
    finally:
        if stream:
            stream.close()


def tail(path: Path, lines: int) -> list[bytes]:
    """Return a log's last lines without their ends; of a huge log only the last MiB is looked at."""
    stream = _open(path)
    if stream is None:
        return []
    with stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - _TAIL))
        data = b"".join(iter(lambda: stream.read(_BLOCK), b""))
    found = data.removesuffix(b"\n").split(b"\n") if data else []
    return found[-lines:] if lines > 0 else []


def _open(path: Path) -> BinaryIO | None:
    try:
        return open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, path) from error
