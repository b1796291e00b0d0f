"""One lock file a run: held by the runner that drives it, free once that process is gone.

The lock belongs to the open file (Linux OFD locks), so that asking who holds it takes nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Self

from runner.errors import StoreError
from runner.store.layout import Layout, is_run_id
from runner.vault.files import store_error, storing

if TYPE_CHECKING:
    from pathlib import Path

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def _request(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)


class RunLock:
    """A held lock; a context manager. It ends with ``release`` or with the process."""

    def __init__(self, descriptor: int) -> None:
        """Own an open, locked file."""
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, layout: Layout, run: str, *, take_over: bool = False) -> RunLock:
        """Take a run's lock at once; raises ``StoreError`` when another runner holds it.

        With ``take_over`` a new lock stands in the place of one that is held: whoever holds the old one has
        lost the run's fence too, once the run is opened, and can commit nothing.
        """
        path = layout.lock(run)
        with storing(path):
            if take_over:
                path.unlink(missing_ok=True)
            descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
        except BlockingIOError:
            os.close(descriptor)
            raise StoreError(
                f"run {run} is being driven by another runner",
                cure=f"wait for it (runner show {run}), stop it (runner cancel {run}), or if it hangs:"
                f" runner resume {run} --take-over",
            ) from None
        return cls(descriptor)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_live(layout: Layout, run: str) -> bool:
    """Whether a runner drives the run now; asking disturbs nobody."""
    return is_run_id(run) and _held(layout.home / "runs" / run / "lock")


def live_runs(home: Path) -> frozenset[str]:
    """Return the runs under ``home`` whose lock is held."""
    folder = Layout(home).runs
    with storing(folder):
        return frozenset(path.name for path in folder.iterdir() if _held(path / "lock"))


def _held(path: Path) -> bool:
    try:
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise store_error(error, path) from error
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
    finally:
        os.close(descriptor)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
