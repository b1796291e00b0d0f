"""Results by content: each is kept once under its SHA-256, read-only, durable before anyone relies on it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from runner.errors import StoreError, UsageError
from runner.store.layout import Layout
from runner.vault.files import open_regular, own_folder, storing, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BUFFER = 1 << 20
_HEX = frozenset("0123456789abcdef")


class Artifacts:
    """The objects of a state folder; safe for many processes at once."""

    def __init__(self, home: Path) -> None:
        """Keep objects under ``home``."""
        self._layout = Layout(home)

    def keep(self, path: Path) -> tuple[str, int]:
        """Take a regular file in (it is gone afterwards) and return its SHA-256 in hex and size in bytes.

        Moved by rename on one file system, else copied; read once. Raises ``StoreError``.
        """
        temporary = self._layout.objects / f"tmp.{os.urandom(8).hex()}"
        try:
            with storing(path):
                digest, size = self._take(path, temporary)
            with storing(self._layout.objects):
                self._settle(temporary, digest, size)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return digest, size

    def path(self, sha256: str) -> Path:
        """Return where the object lies; raises ``StoreError`` when it is not there."""
        found = self._place(sha256)
        if not found.is_file() or found.is_symlink():
            raise StoreError(
                f"result {sha256[:12]} is no longer in the state folder", cure="run the workflow again"
            )
        return found

    def export(self, entries: Sequence[tuple[str, str]], dest: Path) -> None:
        """Copy objects (name, SHA-256) into the new folder ``dest``, all at once or not at all.

        An existing ``dest`` must be an empty folder; raises ``UsageError`` else, ``StoreError`` for damage.
        """
        names = [_checked(name) for name, _ in entries]
        if len(set(names)) != len(names):
            raise UsageError("two results have the same name")
        dest = dest.absolute()
        _refuse_taken(dest)
        temporary = dest.with_name(f".{dest.name}.{os.urandom(6).hex()}")
        try:
            with storing(dest):
                dest.parent.mkdir(parents=True, exist_ok=True)
                temporary.mkdir()
                for name, (_, sha256) in zip(names, entries, strict=True):
                    _copy_checked(self.path(sha256), temporary / name, sha256)
                _rename_into(temporary, dest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _place(self, sha256: str) -> Path:
        if len(sha256) != hashlib.sha256().digest_size * 2 or not _HEX.issuperset(sha256):
            raise StoreError(f"{sha256!r} is not a digest")
        return self._layout.objects / sha256[:2] / sha256[2:]

    def _take(self, path: Path, temporary: Path) -> tuple[str, int]:
        try:
            path.rename(temporary)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with _opened(path) as source, temporary.open("xb") as target:
                _own(target)
                digest, size = _hash(source, target)
                os.fsync(target.fileno())
            path.unlink()
            return digest, size
        with _opened(temporary) as source:
            _own(source)
            with _syncing(source):
                return _hash(source, None)

    def _settle(self, temporary: Path, digest: str, size: int) -> None:
        place = self._place(digest)
        own_folder(place.parent)
        with contextlib.suppress(FileNotFoundError):
            known = place.lstat()
            if stat.S_ISREG(known.st_mode) and known.st_size == size:
                return
        temporary.replace(place)
        sync_folder(place.parent)
        sync_folder(place.parent.parent)


def _hash(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(_BUFFER))
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        if target is not None:
            target.write(buffer[:count])
        size += count
    if target is not None:
        target.flush()
    return digest.hexdigest(), size


def _own(stream: BinaryIO) -> None:
    """Make an object ours and read-only; a step's uid and set-uid bits end here."""
    if os.geteuid() == 0:
        os.fchown(stream.fileno(), 0, 0)
    os.fchmod(stream.fileno(), 0o444)


@contextlib.contextmanager
def _syncing(stream: BinaryIO) -> Iterator[None]:
    """Write the file to the disk while the caller reads it; synced when this ends."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            os.fsync(stream.fileno())
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=sync, name="sync")
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _opened(path: Path, *, single: bool = True) -> Iterator[BinaryIO]:
    with open_regular(path) as stream:
        if single and os.fstat(stream.fileno()).st_nlink != 1:
            raise StoreError(f"{path.name} has several names (hard links)", cure="keep plain files only")
        yield stream


def _checked(name: str) -> PurePosixPath:
    parts = name.split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise UsageError(f"{name!r} is not the name of a result")
    return PurePosixPath(name)


def _refuse_taken(dest: Path) -> None:
    if dest.is_symlink() or (dest.exists() and not (dest.is_dir() and not any(dest.iterdir()))):
        raise UsageError(f"{dest} exists and is not an empty folder", cure="choose a new folder")


def _copy_checked(source: Path, target: Path, sha256: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(source, single=False) as stream, target.open("xb") as copy:
        if _hash(stream, copy)[0] != sha256:
            raise StoreError(f"result {sha256[:12]} is damaged in the state folder", cure="run it again")


def _rename_into(temporary: Path, dest: Path) -> None:
    try:
        temporary.rename(dest)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise UsageError(
                f"{dest} exists and is not an empty folder", cure="choose a new folder"
            ) from error
        raise
