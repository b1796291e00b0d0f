"""Private files: folders 0700, files 0600, written whole or not at all, symbolic links never followed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from runner.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_SYMLINK = {errno.ELOOP, errno.ENOTDIR}


def store_error(error: OSError, path: Path) -> StoreError:
    """Return the error as what happened to ``path`` and what to do about it."""
    if error.errno in _FULL:
        return StoreError(
            f"the disk is full: {path} cannot be written",
            cure="free some space on its file system (`runner gc` removes leftovers), then try again",
        )
    if error.errno in _DENIED:
        return StoreError(
            f"{path} cannot be written or read: {error.strerror}",
            cure="give this user write access to it, or point $RUNNER_HOME at a folder of your own",
        )
    if error.errno in _SYMLINK:
        return StoreError(
            f"{path} is a symbolic link or of the wrong kind, which Runner never makes there",
            cure="look at who put it there, then remove it",
        )
    return StoreError(f"{path}: {error.strerror or error}")


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn every ``OSError`` inside into a ``StoreError`` about ``path``."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


def own_folder(path: Path) -> Path:
    """Make ``path`` (0700) and return it; raises ``StoreError`` for a link or a stranger's folder."""
    with storing(path):
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise store_error(OSError(errno.ENOTDIR, "not a folder"), path)
    _refuse_strangers(found, path)
    return path


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold ``lock``, a file of ours that is made if need be: processes wait for one another."""
    own_folder(lock.parent)
    with storing(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def own_file(path: Path) -> None:
    """Raise ``StoreError`` when ``path`` exists but is no regular file of this user."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise store_error(error, path) from error
    if not stat.S_ISREG(found.st_mode):
        raise store_error(OSError(errno.ELOOP, "not a file"), path)
    _refuse_strangers(found, path)


def _refuse_strangers(found: os.stat_result, path: Path) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise StoreError(
            f"{path} belongs to another user (uid {found.st_uid})",
            cure="point $RUNNER_HOME at a folder of your own",
        )


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading, unbuffered; raises ``OSError`` (``ELOOP`` for any other kind)."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "not a regular file")
    return open(descriptor, "rb", buffering=0)  # noqa: PTH123 - a descriptor, not a name


def read_private(path: Path) -> bytes:
    """Return the content of our own 0600 file; raises ``FileNotFoundError`` and ``StoreError``."""
    try:
        stream = open_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise store_error(error, path) from error
    with stream:
        found = os.fstat(stream.fileno())
        _refuse_strangers(found, path)
        if found.st_mode & 0o077:
            raise StoreError(f"{path} can be read by others", cure=f"chmod 600 {path}")
        return stream.read()


def write_new(path: Path, data: bytes) -> None:
    """Write a new 0600 file, synced and whole; raises ``FileExistsError`` when the name is taken."""
    with _beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            raise store_error(error, path) from error
    sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Write or replace a 0600 file, synced and whole."""
    with _beside(path, data) as temporary, storing(path):
        temporary.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with storing(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600), "wb") as stream:  # noqa: PTH123 - a descriptor
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    with storing(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
