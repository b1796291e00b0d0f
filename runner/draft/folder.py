"""A copy of the script's folder that nothing else reads, for the sandbox to see and for us to watch."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.planning.digests import digest_of
from runner.planning.tree import Caps, Copying, Refused, Walk, left_out, open_folder, stays_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CAPS = Caps(entries=5_000, size=256 << 20, depth=32)
_NEVER = ("venv", "node_modules", "__pycache__")
_PREFIX = ".watched-"
_NEW = 60.0
_CURE = "put the script and what it reads into a folder of their own"


@dataclass(frozen=True, slots=True)
class Folder:
    """The copy at ``root``, its ``files`` and ``links`` by relative path; ``without`` is what it lacks."""

    root: Path
    digest: str
    files: tuple[str, ...]
    links: dict[str, str]
    without: tuple[str, ...]

    def remove(self) -> None:
        """Remove the copy; may be called twice."""
        shutil.rmtree(self.root.parent, ignore_errors=True)


def sweep(keep: Path) -> list[str]:
    """Remove and return the copies below ``keep`` that a killed process left; the living lock theirs."""
    removed = []
    for path in sorted(keep.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if _sweep(path):
                removed.append(str(path))
    return removed


def _sweep(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if time.time() - os.fstat(descriptor).st_mtime <= _NEW or not _locked(descriptor):
            return False
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def copied(source: Path, keep: Path, without: Sequence[Path]) -> Folder:
    """Copy the folder ``source`` into a new one below ``keep``, without what is not the script's to see.

    Raises ``UsageError`` for one that is too large.
    """
    target = Path(mkdtemp(prefix=_PREFIX, dir=keep))
    _locked(os.open(target, os.O_RDONLY | os.O_CLOEXEC))  # held as long as this process lives
    try:
        hidden, lacking = _unfit(source, {path.resolve() for path in without})
        copy = Copying(target / "app")
        descriptor = open_folder(source)
        try:
            rows = Walk(copy, CAPS, hidden).run(descriptor)
        finally:
            os.close(descriptor)
        copy.seal()
    except Refused as error:
        shutil.rmtree(target, ignore_errors=True)
        raise UsageError(f"{source} cannot be shown to the script: {error}", cure=_CURE) from error
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise UsageError(
            f"{source} cannot be copied: {error.strerror}: {error.filename}", cure=_CURE
        ) from error
    files = tuple(path for path, kind, _, _ in rows if kind == "file")
    links = {path: content for path, kind, _, content in rows if kind == "link"}
    return Folder(copy.root, digest_of([list(row) for row in rows]), files, links, lacking)


def _unfit(source: Path, not_its: set[Path]) -> tuple[frozenset[tuple[int, int]], tuple[str, ...]]:
    """Return what no snapshot may hold, or no script needs: by device and inode, and in words."""
    hidden: set[tuple[int, int]] = set()
    without: list[str] = []
    for path, info in _entries(source):
        name = path.relative_to(source).as_posix()
        is_not_its = path in not_its
        if is_not_its or _is_never_shown(path.name) or _is_unfit(path, name, info):
            hidden.add((info.st_dev, info.st_ino))
            without += [] if is_not_its else [name]
    return frozenset(hidden), tuple(without)


def _entries(source: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what lies below a folder, as far as a copy may go."""
    seen = 0
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(each for each in folders if not left_out(each))
        for name in [*folders, *sorted(files)]:
            seen += 1
            if seen > CAPS.entries * 20:
                raise UsageError(f"{source} holds more than {CAPS.entries} files", cure=_CURE)
            path = Path(folder) / name
            yield path, path.lstat()
        folders[:] = [each for each in folders if not _is_never_shown(each)]


def _is_never_shown(name: str) -> bool:
    """Tell whether a name is of what no script needs; hidden ones hold keys and settings of their owner."""
    return name.startswith(".") or name in _NEVER


def _is_unfit(path: Path, name: str, info: os.stat_result) -> bool:
    if stat.S_ISLNK(info.st_mode):
        return not stays_inside(name, str(path.readlink()))
    if stat.S_ISDIR(info.st_mode):
        return not os.access(path, os.R_OK | os.X_OK)
    return not stat.S_ISREG(info.st_mode) or not os.access(path, os.R_OK)
