"""Installed Python packages, kept by what they were installed from, and where they stand in a sandbox.

Cache layout: ``packages/KEY/`` (a tree of folders and regular files), ``packages/.new-…/`` (under way). A
tree appears by an atomic rename once all of it is on disk: what stands under a key is whole.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TARGET = "/opt/requirements"
_DRAFT = ".new-"
_MOST_FILES = 200_000
_END = 1024
_DAY = 86400.0
_UNUSED, _ABANDONED = 30 * _DAY, _DAY


def variables(env: Mapping[str, str]) -> dict[str, str]:
    """Return what makes programs find the packages and their commands, beside what ``env`` says."""
    own = env.get("PYTHONPATH")
    return {"PATH": f"{TARGET}/bin:{env['PATH']}", "PYTHONPATH": f"{own}:{TARGET}" if own else TARGET}


def too_much(most: int) -> PolicyDenied:
    """Return the error of packages that take more than ``most`` bytes."""
    return PolicyDenied(
        f"the Python packages take more than {most} bytes, or more than {_MOST_FILES} files",
        cure="the operator may raise max_bytes under python: in policy.yaml",
    )


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages of one cache folder, which processes may share."""

    cache: Path

    @property
    def _folder(self) -> Path:
        return self.cache / "packages"

    def find(self, key: str) -> Path | None:
        """Return the packages that are kept under ``key``, now used, or None."""
        path = self._folder / key
        with suppress(FileNotFoundError, NotADirectoryError):
            os.utime(path)
            return path
        return None

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a folder of one's own to work in; it is gone afterwards."""
        import tempfile

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._folder))
        except OSError as error:
            raise SandboxError(f"the cache folder cannot be written: {error}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, key: str, archive: Path, most: int) -> Path:
        """Unpack ``archive`` (a tar) beside itself and keep it under ``key``, unless another was first.

        Raises ``SandboxError`` for an archive that holds anything but folders and files, ``PolicyDenied`` for
        one of more than ``most`` bytes: a sandbox made it, from packages that nobody vouches for.
        """
        from runner.sandbox.build.unpack import unpack

        _judge(archive, most)
        tree = archive.with_name("tree")
        try:
            tree.mkdir(mode=0o755)
            with archive.open("rb") as stream:
                unpack(stream, tree)
            os.sync()
            with suppress(OSError):  # another runner was first, with the same packages
                tree.rename(self._folder / key)
        except OSError as error:
            raise SandboxError(f"the packages cannot be kept in {self._folder}: {error}") from error
        found = self.find(key)
        if found is None:
            raise SandboxError(f"the packages cannot be kept in {self._folder}")
        return found

    def clear(self, now: float) -> list[str]:
        """Remove what nobody used for 30 days, and what killed runners left; ``now`` is in seconds."""
        removed = []
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.iterdir()):
                life = _ABANDONED if path.name.startswith(_DRAFT) else _UNUSED
                with suppress(FileNotFoundError):
                    if now - path.stat().st_mtime > life:
                        shutil.rmtree(_taken_away(path), ignore_errors=True)
                        removed.append(f"packages {path.name}")
        return removed


def _taken_away(path: Path) -> Path:
    """Rename a tree, so that nobody finds half of it."""
    away = path.with_name(f"{_DRAFT}{os.urandom(8).hex()}")
    path.rename(away)
    return away


def _judge(archive: Path, most: int) -> None:
    import tarfile

    total = count = 0
    if not _is_closed(archive):
        raise SandboxError("the packages' archive is cut")
    try:
        with tarfile.open(archive, "r:") as reader:
            for info in reader:
                if info.type not in (tarfile.REGTYPE, tarfile.DIRTYPE):
                    raise SandboxError(f"the packages hold {info.name!r}, which is no file or folder")
                total += info.size
                count += 1
                if total > most or count > _MOST_FILES:
                    raise too_much(most)
    except (tarfile.TarError, EOFError) as error:
        raise SandboxError(f"the packages' archive is damaged: {error}") from error


def _is_closed(archive: Path) -> bool:
    """Whether a tar has its two empty blocks at the end: a reader takes a cut one for a short one."""
    if archive.stat().st_size < _END:
        return False
    with archive.open("rb") as stream:
        stream.seek(-_END, os.SEEK_END)
        return stream.read() == bytes(_END)
