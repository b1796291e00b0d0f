"""The system calls behind a private view of the file system, for one thread alone."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STAGE = "/tmp"  # noqa: S108 - covered, in the thread's own mount namespace, by a tmpfs that is ours
_CLONE_FS, _CLONE_NEWNS = 0x00000200, 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19


def stage(sources: Sequence[Path]) -> tuple[str, ...]:
    """Give the calling thread its own mount namespace and bind ``sources`` to where any user reaches them.

    Returns the new path of each source. The state folder above a source may deny others: the stage does
    not. Raises ``OSError``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(_CLONE_FS | _CLONE_NEWNS))
    _mount(libc, b"none", "/", None, _MS_REC | _MS_SLAVE)
    descriptors = [os.open(source, os.O_PATH | os.O_CLOEXEC) for source in sources]
    try:
        _mount(libc, b"runner-stage", STAGE, b"tmpfs", _MS_NOSUID | _MS_NODEV, b"size=1m,mode=0755")
        return tuple(_bind(libc, found, number) for number, found in enumerate(descriptors))
    finally:
        for found in descriptors:
            os.close(found)


def _bind(libc: ctypes.CDLL, descriptor: int, number: int) -> str:
    source, target = f"/proc/self/fd/{descriptor}", f"{STAGE}/{number}"
    if os.path.isdir(source):  # noqa: PTH112 - a link of /proc, which leads to the open folder
        os.mkdir(target, 0o755)  # noqa: PTH102 - a bare path
    else:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    _mount(libc, source.encode(), target, None, _MS_BIND | _MS_REC)
    return target


def _mount(  # noqa: PLR0913, PLR0917 - the system call's own shape
    libc: ctypes.CDLL, source: bytes, target: str, kind: bytes | None, flags: int, data: bytes | None = None
) -> None:
    _checked(libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), data))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
