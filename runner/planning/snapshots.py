"""Read-only copies by content: what was planned is what runs, on every attempt and resume."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import Problem, StoreError, WorkflowError
from runner.planning.digests import digest_of
from runner.planning.tree import (
    Caps,
    Copying,
    Hashing,
    Refused,
    Row,
    Walk,
    left_out,
    open_at,
    open_folder,
    shown,
)

if TYPE_CHECKING:
    from runner.planning.tree import Sink

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Snapshots:
    """A folder of snapshots, each named by the SHA-256 (hex) of its manifest; runners may share it.

    ``state`` is the state folder (default: the folder above), which is in no snapshot. ``taken`` maps the
    sources that were taken through this object to their digests.
    """

    folder: Path
    state: Path | None = None
    caps: Caps = field(default_factory=Caps)
    taken: dict[Path, str] = field(default_factory=dict, compare=False)

    def take(self, source: Path, project: Path) -> tuple[str, Path]:
        """Return digest and path of the snapshot of a file or folder inside ``project``.

        Content that is already kept is hashed, not copied. Raises ``WorkflowError`` for what may not be
        in a snapshot and ``StoreError`` when it cannot be kept.
        """
        try:
            inside = self._inside(source, project)
            digest, path = self._kept(project.resolve(), inside)
        except Refused as error:
            raise WorkflowError([Problem(str(source), 0, 0, f"cannot be mounted: {error}")]) from error
        except OSError as error:
            if error.errno in _FULL:
                raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from error
            problem = Problem(str(source), 0, 0, f"cannot be read: {error.strerror or error}")
            raise WorkflowError([problem]) from error
        self.taken[source] = digest
        return digest, path

    def _inside(self, source: Path, project: Path) -> tuple[str, ...]:
        root, real = project.resolve(), source.resolve(strict=True)
        if not real.is_relative_to(root):
            raise Refused(f"it lies outside the project {root.name}")
        parts = real.relative_to(root).parts
        for part in parts:
            if left_out(part):
                raise Refused(f"{shown(part)} is never in a snapshot")
        for own in self._own():
            if own.is_relative_to(root) and own != root and real.is_relative_to(own):
                raise Refused("it is Runner's state folder")
        return parts

    def _own(self) -> tuple[Path, ...]:
        return self.folder.resolve(), (self.state or self.folder.parent).resolve()

    def _kept(self, project: Path, parts: tuple[str, ...]) -> tuple[str, Path]:
        digest = _digest(self._walk(Hashing(), project, parts))
        path = self.folder / digest
        return (digest, path) if self.holds(digest) else self._copied(project, parts)

    def _walk(self, sink: Sink, project: Path, parts: tuple[str, ...]) -> list[Row]:
        root = _descend(project, parts)
        try:
            return Walk(sink, self.caps, self._hidden()).run(root)
        finally:
            os.close(root)

    def _hidden(self) -> frozenset[tuple[int, int]]:
        found = [path.stat() for path in self._own() if path.exists()]
        return frozenset((info.st_dev, info.st_ino) for info in found)

    def holds(self, digest: str) -> bool:
        """Tell whether the snapshot is kept and still is what its name says."""
        try:
            rows = self._stored(digest)
        except (FileNotFoundError, Refused):
            return False
        return _digest(rows) == digest

    def _stored(self, digest: str) -> list[Row]:
        path = self.folder / digest
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return Walk(Hashing(), self.caps, filtered=False).run(source)
        finally:
            os.close(source)

    def _copied(self, project: Path, parts: tuple[str, ...]) -> tuple[str, Path]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be made: {error.strerror}") from error
        copy = Copying(self.folder / f".new-{os.urandom(8).hex()}")
        try:
            digest = _digest(self._walk(copy, project, parts))
            copy.seal()
            return digest, self._placed(copy.root, digest)
        finally:
            _discard(copy.root)

    def _placed(self, draft: Path, digest: str) -> Path:
        path = self.folder / digest
        try:
            draft.rename(path)
        except OSError:  # another runner was first, or what stands there is damaged
            if not self.holds(digest):
                self._replaced(draft, path)
        return path

    def _replaced(self, draft: Path, path: Path) -> None:
        damaged = self.folder / f".old-{os.urandom(8).hex()}"
        path.rename(damaged)
        draft.rename(path)
        _discard(damaged)


def _descend(project: Path, parts: tuple[str, ...]) -> int:
    current = open_folder(project)
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        parent = current
        try:
            current = open_at(parent, part, folder=not last)
        finally:
            os.close(parent)
    return current


def _digest(rows: list[Row]) -> str:
    return digest_of([list(row) for row in rows])


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
