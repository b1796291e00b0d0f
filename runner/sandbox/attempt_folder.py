"""The host side of one attempt: ``in/`` that becomes ``/in`` and ``out/`` that becomes ``/out``."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from runner.errors import SandboxError
from runner.sandbox.hosts import HOSTS, hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.sandbox.base import Limits, SandboxSpec
    from runner.sandbox.egress.way import Way

IN_MEMORY_UP_TO = 256 * 1024 * 1024
_PAGE = 4096
_INODES = 65536
_MAX_DEPTH = 64
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MNT_DETACH = 2
_READABLE_BY_ALL = 0o444


class AttemptFolder:
    """Makes, fills, measures and removes ``in`` and ``out`` under ``directory``, and the way out.

    ``uid`` and ``gid`` are the step's on the host. ``in_memory`` says whether ``out`` is a tmpfs that
    the kernel itself keeps below the limit (plus one page, so that a step that ran into it shows).
    """

    def __init__(self, directory: Path, limits: Limits, uid: int, gid: int) -> None:
        self.directory = directory
        self.inputs = directory / "in"
        self.out = directory / "out"
        self.in_memory = False
        self.way: Way | None = None
        self._limit = limits.output
        self._uid = uid
        self._gid = gid

    def prepare(self) -> None:
        """Make both folders; raises ``SandboxError`` when the disk refuses."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.inputs.mkdir(mode=0o755)
            self.inputs.chmod(0o755)
            self.out.mkdir(mode=0o700)
            self.in_memory = self._limit <= IN_MEMORY_UP_TO and os.geteuid() == 0 and self._mount()
            if not self.in_memory and os.geteuid() == 0:
                os.chown(self.out, self._uid, self._gid)
        except OSError as error:
            raise SandboxError(f"cannot make the attempt's folder {self.directory}: {error}") from error

    def lead_out(self, spec: SandboxSpec, *, shared: bool) -> tuple[tuple[Path, str], ...]:
        """Make a way out for the outlets of ``spec``; return what is to be mounted for it, and where."""
        if not spec.outlets:
            return ()
        from runner.sandbox.egress.way import Way  # few steps need it

        self.way = Way(spec, shared=shared)
        return self.way.mounts

    def place_hosts(self) -> tuple[Path, str]:
        """Write a ``/etc/hosts``, for an engine that covers the image's own; return it and its target."""
        file = self.directory / "hosts"
        try:
            file.write_text(hosts(()))
            file.chmod(_READABLE_BY_ALL)
        except OSError as error:
            raise SandboxError(f"cannot write {file}: {error}") from error
        return file, HOSTS

    def place_inputs(self, files: Mapping[str, Path]) -> None:
        """Put every file under its name in ``in``."""
        place_files(self.inputs, files)

    def used(self) -> int:
        """Return the bytes under ``out``; a tree too deep to be measured counts as over the limit."""
        if self.in_memory:
            state = os.statvfs(self.out)
            return (state.f_blocks - state.f_bfree) * state.f_frsize
        try:
            descriptor = os.open(self.out, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return 0
        try:
            return _measure(descriptor, _MAX_DEPTH, self._limit)
        finally:
            os.close(descriptor)

    @property
    def over_limit(self) -> bool:
        """Whether the step wrote more than it may."""
        return self.used() > self._limit

    def release(self) -> None:
        """End the way out, and unmount and remove ``in`` and ``out``; may be called twice."""
        if self.way:
            self.way.close()
        unmount(self.out)
        with suppress(OSError):
            (self.directory / "hosts").unlink()
        for folder in (self.inputs, self.out):
            remove_tree(folder)

    def _mount(self) -> bool:
        size = -(-self._limit // _PAGE) * _PAGE + _PAGE
        options = f"size={size},nr_inodes={_INODES},mode=0700,uid={self._uid},gid={self._gid}"
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.mount(b"runner", os.fsencode(self.out), b"tmpfs", ctypes.c_ulong(flags), options.encode())
        return bool(done == 0)


def place_files(folder: Path, files: Mapping[str, Path]) -> None:
    """Put every file under its name in ``folder``: as a hard link where that is possible, else as a copy."""
    for name, source in files.items():
        target = folder / _relative(name)
        try:
            _make_folders(folder, target.parent)
            _place(source.resolve(strict=True), target)
        except OSError as error:
            raise SandboxError(f"cannot place the file {name!r}: {error}") from error


def unmount(folder: Path) -> bool:
    """Detach a file system mounted on ``folder``; False when there is none or it may not be."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.umount2(os.fsencode(folder), _MNT_DETACH) == 0)


def left_behind(runs: Path) -> list[str]:
    """Return the runs below ``runs`` that have folders of attempts."""
    return sorted({attempts.parent.name for attempts in runs.glob("*/attempts.*")})


def remove_left_behind(runs: Path, is_live: Callable[[str], bool]) -> list[str]:
    """Unmount and remove the attempts of runs below ``runs`` that nobody drives; returns their folders."""
    removed = []
    for attempts in sorted(runs.glob("*/attempts.*")):
        if attempts.is_symlink() or attempts.parent.is_symlink() or is_live(attempts.parent.name):
            continue
        for out in attempts.glob("*/out"):
            if not out.is_symlink():
                unmount(out)
        remove_tree(attempts)
        removed.append(str(attempts))
    return removed


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` with all in it, even what denies its owner; nothing happens when it is gone."""

    def open_up(function: Callable[..., Any], path: str, info: tuple[Any, ...]) -> None:
        if isinstance(info[1], FileNotFoundError):
            return
        for place in (Path(path).parent, Path(path)):
            if place.is_dir() and not place.is_symlink():
                place.chmod(0o700)
        if function in {os.unlink, os.rmdir}:
            function(path)
        else:
            shutil.rmtree(path, ignore_errors=True)

    try:
        shutil.rmtree(folder, onerror=open_up)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    bad = not name or "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts
    if bad:
        raise SandboxError(f"an input may not be named {name!r}")
    return path


def _make_folders(root: Path, folder: Path) -> None:
    for part in reversed([folder, *folder.parents]):
        if part != root and part.is_relative_to(root) and not part.is_dir():
            part.mkdir()
            part.chmod(0o755)


def _place(source: Path, target: Path) -> None:
    state = source.stat()
    if not stat.S_ISREG(state.st_mode):
        raise SandboxError(f"{source} is not a regular file and cannot be an input")
    if state.st_uid == os.geteuid():
        try:
            os.link(source, target)
        except OSError:  # another file system, or too many links
            shutil.copyfile(source, target)
    else:
        shutil.copyfile(source, target)
    if target.stat().st_mode & _READABLE_BY_ALL != _READABLE_BY_ALL:
        target.chmod(_READABLE_BY_ALL)


def _measure(descriptor: int, depth: int, limit: int) -> int:
    if depth == 0:
        return limit + 1
    total = 0
    with os.scandir(descriptor) as entries:
        for entry in entries:
            total += _measure_entry(entry, descriptor, depth, limit)
            if total > limit:
                break
    return total


def _measure_entry(entry: os.DirEntry[str], parent: int, depth: int, limit: int) -> int:
    try:
        if not entry.is_dir(follow_symlinks=False):
            return max(_PAGE, entry.stat(follow_symlinks=False).st_blocks * 512)  # inodes run out too
        child = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:  # gone, or swapped, while we looked: the next look sees it
        return 0
    try:
        return _PAGE + _measure(child, depth - 1, limit)
    finally:
        os.close(child)
