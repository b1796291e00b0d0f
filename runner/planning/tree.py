"""Walks a folder that somebody may be changing, by descriptors, so that no swap can lead outside.

Every entry is opened relative to its folder's descriptor with ``O_NOFOLLOW``; what is not a file, a folder
or a link that stays inside is refused. The result is a manifest: one row per entry, sorted by name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

LEFT_OUT = (".git", ".env*", "runner.yaml")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE = 1 << 20
_NO_FAST_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}

Row = tuple[str, str, bool, str]


class Refused(Exception):
    """The folder holds something that no snapshot may hold; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one snapshot may hold: entries, bytes in all, and folders inside folders."""

    entries: int = 50_000
    size: int = 2 << 30
    depth: int = 64


class Sink(Protocol):
    """Where a walk puts what it finds; ``path`` is relative, with slashes."""

    def folder(self, path: str) -> None:
        """Take a folder; its parent came before."""
        ...

    def file(self, path: str, source: int, room: int) -> tuple[str, int]:
        """Take a file of at most ``room`` bytes; return its SHA-256 in hex and its size."""
        ...

    def link(self, path: str, target: str) -> None:
        """Take a symbolic link."""
        ...


class Hashing:
    """Only computes digests."""

    def folder(self, path: str) -> None:
        """Do nothing."""

    def file(self, path: str, source: int, room: int) -> tuple[str, int]:
        """Return SHA-256 and size of what can be read from ``source``."""
        return _hash(source, path, room)

    def link(self, path: str, target: str) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Copying:
    """Copies into ``root`` and hashes the copy, so that the digest is of what was kept."""

    root: Path
    folders: list[Path] = field(default_factory=list)

    def folder(self, path: str) -> None:
        """Make the folder."""
        made = self.root / path if path else self.root
        made.mkdir(mode=0o700)
        self.folders.append(made)

    def file(self, path: str, source: int, room: int) -> tuple[str, int]:
        """Copy the file, then hash the copy."""
        target = self.root / path if path else self.root
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(target, flags, 0o600)
        try:
            _copy(source, copy, path, room)
            os.lseek(copy, 0, os.SEEK_SET)
            os.fchmod(copy, 0o755 if os.fstat(source).st_mode & 0o111 else 0o644)
            return _hash(copy, path, room)
        finally:
            os.close(copy)

    def link(self, path: str, target: str) -> None:
        """Make the same link."""
        (self.root / path).symlink_to(target)

    def seal(self) -> None:
        """Open every folder to the readers of the mount, deepest first: copies of it stay writable there."""
        for made in reversed(self.folders):
            made.chmod(0o755)


@dataclass(slots=True)
class Walk:
    """One walk into a sink; ``hidden`` holds (device, inode) of folders that are passed over."""

    sink: Sink
    caps: Caps = field(default_factory=Caps)
    hidden: frozenset[tuple[int, int]] = frozenset()
    filtered: bool = True
    rows: list[Row] = field(default_factory=list)
    size: int = 0

    def run(self, root: int) -> list[Row]:
        """Walk the open file or folder ``root``; return its manifest. Raises ``Refused`` and ``OSError``."""
        self._open(root, "", 0)
        return sorted(self.rows)

    def _open(self, source: int, path: str, depth: int) -> None:
        info = os.fstat(source)
        if stat.S_ISDIR(info.st_mode):
            self.sink.folder(path)
            self._add(path, "folder", "", executable=False)
            self._folder(source, path, depth)
        elif stat.S_ISREG(info.st_mode):
            sha256, size = self.sink.file(path, source, self.caps.size - self.size)
            self.size += size
            self._add(path, "file", sha256, executable=bool(info.st_mode & 0o111))
        else:
            raise Refused(f"{shown(path)} is neither a file nor a folder (a socket, pipe or device)")

    def _folder(self, folder: int, path: str, depth: int) -> None:
        if depth > self.caps.depth:
            raise Refused(f"{shown(path)} is nested deeper than {self.caps.depth} folders")
        for name in self._names(folder):
            if not (self.filtered and left_out(name)):
                self._entry(folder, name, f"{path}/{name}" if path else name, depth)

    def _names(self, folder: int) -> list[str]:
        names: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) + len(self.rows) > self.caps.entries:
                    raise Refused(f"it holds more than {self.caps.entries} files")
        return sorted(names)

    def _entry(self, folder: int, name: str, path: str, depth: int) -> None:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (info.st_dev, info.st_ino) in self.hidden:
            return
        if stat.S_ISLNK(info.st_mode):
            self._link(os.readlink(name, dir_fd=folder), path)
            return
        if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
            raise Refused(f"{shown(path)} is neither a file nor a folder (a socket, pipe or device)")
        source = open_at(folder, name, folder=stat.S_ISDIR(info.st_mode))
        try:
            self._open(source, path, depth + 1)
        finally:
            os.close(source)

    def _link(self, target: str, path: str) -> None:
        if not stays_inside(path, target):
            raise Refused(f"the symbolic link {shown(path)} leads out of the folder")
        self.sink.link(path, target)
        self._add(path, "link", target, executable=False)

    def _add(self, path: str, kind: str, content: str, *, executable: bool) -> None:
        self.rows.append((path, kind, executable, content))


def left_out(name: str) -> bool:
    """Tell whether an entry of this name is in no snapshot: history, environment files, project settings."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in LEFT_OUT)


def stays_inside(path: str, target: str) -> bool:
    """Tell whether a link at ``path`` ends inside the tree: some ``..`` first, then names alone."""
    parts = [part for part in target.split("/") if part not in {"", "."}]
    ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return not target.startswith("/") and ".." not in parts[ups:] and ups <= path.count("/")


def open_at(parent: int, name: str, *, folder: bool) -> int:
    """Open an entry of an open folder without following a link; raises ``Refused`` when it was swapped."""
    try:
        return os.open(name, _FOLDER_FLAGS if folder else _FILE_FLAGS, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            raise Refused(f"{shown(name)} changed while it was read") from error
        raise


def open_folder(path: Path) -> int:
    """Open a folder by its path."""
    return os.open(path, _FOLDER_FLAGS)


def shown(name: str) -> str:
    """Return a name that is safe to print: control characters escaped, shortened."""
    return repr(name if len(name) <= 120 else f"{name[:120]}…")  # noqa: PLR2004 - a line's width


def _hash(source: int, path: str, room: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while piece := os.read(source, _PIECE):
        size += len(piece)
        _check_room(size, path, room)
        digest.update(piece)
    return digest.hexdigest(), size


def _copy(source: int, copy: int, path: str, room: int) -> None:
    size = 0
    try:
        while count := os.copy_file_range(source, copy, _PIECE * 64):
            size += count
            _check_room(size, path, room)
    except OSError as error:
        if error.errno not in _NO_FAST_COPY:
            raise
    while piece := os.read(source, _PIECE):  # also what a file system without the call has left
        size += len(piece)
        _check_room(size, path, room)
        _write(copy, piece)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _check_room(size: int, path: str, room: int) -> None:
    if size > room:
        raise Refused(f"{shown(path)} brings it over the limit of a snapshot")
