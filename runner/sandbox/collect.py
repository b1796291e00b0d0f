"""Taking result files out of a dead sandbox's ``/out`` without being led anywhere else.

The folder is walked by descriptor and never by name: a name can be swapped for a symbolic link between
the look and the opening. Only regular files with a single link are taken.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from runner.errors import StoreError
from runner.sandbox.base import Collected, Collection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_MAX_REFUSED = 1000
_SMALL = 1 << 20  # bytes that are copied as quickly as they are moved
_GLOB = re.compile(r"[*?\[]")
_KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


@dataclass(frozen=True, slots=True)
class Caps:
    """How much may be taken: files, bytes in all, folders above a file, bytes of a name; and looked at."""

    files: int = 10_000
    size: int = 1 << 40
    depth: int = 32
    name: int = 1024
    entries: int = 100_000


_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def collect_directory(
    out: Path, patterns: Sequence[str], caps: Caps, into: Path, *, moving: bool = True
) -> Collection:
    """Bring what matches ``patterns`` from ``out`` to the new private folder ``into``.

    Small files are copied and stay in ``out`` as well, and all of them if not ``moving``: whoever dies before
    the names are recorded leaves them to be found. Large ones are moved where that is possible. A pattern
    without a glob that nothing matches is refused as ``NAME: was not written``. Raises ``StoreError`` when
    the fault is the disk's and not the step's.
    """
    into.mkdir(mode=0o700, parents=True)
    walk = _Walk(patterns, caps, into, _SMALL if moving else caps.size)
    try:
        descriptor = os.open(out, _FOLDER)
    except OSError as error:
        return Collection((), (f"/out: cannot be opened: {error.strerror}",))
    try:
        walk.folder(descriptor, "", 0)
    finally:
        os.close(descriptor)
    missing = [f"{name}: was not written" for name in walk.literals if name not in walk.seen]
    return Collection(tuple(walk.files), (*walk.refused, *missing))


def is_literal(pattern: str) -> bool:
    """Whether the pattern is the name of one file."""
    return not _GLOB.search(pattern) and not pattern.endswith("/")


def matcher(pattern: str) -> re.Pattern[str]:
    """Compile a glob: ``*`` and ``?`` stay in a folder, ``**`` does not, a final ``/`` means all below."""
    wanted = pattern.removeprefix("./")
    wanted = wanted + "**" if wanted.endswith("/") else wanted
    rules = (("**/", r"(?:.*/)?"), ("**", r".*"), ("*", r"[^/]*"), ("?", r"[^/]"))
    result, at = "", 0
    while at < len(wanted):
        for sign, regex in rules:
            if wanted.startswith(sign, at):
                result, at = result + regex, at + len(sign)
                break
        else:
            piece = _bracket(wanted, at)
            result, at = (
                result + (piece.replace("[!", "[^", 1) if piece else re.escape(wanted[at])),
                at + max(1, len(piece)),
            )
    return re.compile(result, re.DOTALL)


def _bracket(pattern: str, at: int) -> str:
    found = re.match(r"\[!?[^\]/\\\[]+\]", pattern[at:])
    if not found:
        return ""
    try:
        re.compile(found[0])
    except re.error:
        return ""
    return found[0]


class _Walk:
    """One walk over ``/out``: what was taken and what was refused."""

    def __init__(self, patterns: Sequence[str], caps: Caps, into: Path, copied: int) -> None:
        self.files: list[Collected] = []
        self.refused: list[str] = []
        self.seen: set[str] = set()
        self.literals = [pattern.removeprefix("./") for pattern in patterns if is_literal(pattern)]
        self._matchers = [matcher(pattern) for pattern in patterns]
        self._caps = caps
        self._into = into
        self._copied = copied
        self._looked = 0
        self._taken = 0

    def folder(self, descriptor: int, prefix: str, depth: int) -> None:
        """Look at every entry of an open folder, in the order of names."""
        room = self._caps.entries - self._looked
        with os.scandir(descriptor) as entries:
            names = sorted(entry.name for entry in islice(entries, room + 1))
        self._looked += len(names)
        if len(names) > room:
            self._refuse(prefix or "/out", f"more than {self._caps.entries} entries: the rest was left")
            return
        for name in names:
            self._entry(descriptor, name, prefix + name, depth)

    def _entry(self, parent: int, name: str, path: str, depth: int) -> None:
        try:
            state = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            self._refuse(path, f"cannot be looked at: {error.strerror}")
            return
        if stat.S_ISDIR(state.st_mode):
            self._descend(parent, name, path, depth)
        elif self._wanted(path) or self._stands_in_the_way(path):
            self.seen.add(path)
            why = self._objection(state, path) or self._take(parent, name, path)
            if why:
                self._refuse(path, why)

    def _descend(self, parent: int, name: str, path: str, depth: int) -> None:
        if path in self.literals:
            self.seen.add(path)
            self._refuse(path, f"is a folder; name its files, as in {path}/**")
        if depth >= self._caps.depth:
            self._refuse(path, f"lies deeper than {self._caps.depth} folders")
            return
        try:
            child = os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            self._refuse(path, f"cannot be opened: {error.strerror}")
            return
        try:
            self.folder(child, path + "/", depth + 1)
        finally:
            os.close(child)

    def _wanted(self, path: str) -> bool:
        return any(found.fullmatch(path) for found in self._matchers)

    def _stands_in_the_way(self, path: str) -> bool:
        return any(literal.startswith(path + "/") for literal in self.literals)

    def _objection(self, state: os.stat_result, path: str) -> str:
        for is_kind, why in _KINDS:
            if is_kind(state.st_mode):
                return why
        if state.st_nlink != 1:
            return f"has {state.st_nlink} hard links"
        return self._name_objection(path) or self._size_objection(state)

    def _name_objection(self, path: str) -> str:
        if not path.isprintable() or "\\" in path:
            return "has a name with unprintable characters"
        if len(os.fsencode(path)) > self._caps.name:
            return f"has a name longer than {self._caps.name} bytes"
        return ""

    def _size_objection(self, state: os.stat_result) -> str:
        if len(self.files) >= self._caps.files:
            return f"is one more than the {self._caps.files} files that are kept"
        if self._taken + state.st_size > self._caps.size:
            return f"is too much: more than {self._caps.size} bytes in all"
        return ""

    def _take(self, parent: int, name: str, path: str) -> str:
        try:
            source = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            return f"cannot be opened: {error.strerror}"
        try:
            state = os.fstat(source)
            why = "is not a regular file" if not stat.S_ISREG(state.st_mode) else self._objection(state, path)
            if why:
                return why
            target = self._into / f"{len(self.files):06d}"
            if state.st_size <= self._copied:
                _copy(source, target)
            else:
                _move(parent, name, source, target)
        except OSError as error:
            if error.errno in _OUR_DISK:
                raise StoreError(
                    f"results cannot be kept: {error.strerror}", cure="free space in the state folder"
                ) from error
            return f"cannot be taken: {error.strerror}"
        finally:
            os.close(source)
        self._taken += state.st_size
        self.files.append(Collected(path, target, state.st_size))
        return ""

    def _refuse(self, path: str, why: str) -> None:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in shown)
        line = f"{shown[:200]}: {why}"
        if len(self.refused) < _MAX_REFUSED and line not in self.refused[-1:]:
            self.refused.append(line)


def _move(parent: int, name: str, source: int, target: Path) -> None:
    """Rename the open file into place, or copy its bytes where the file system differs."""
    try:
        os.rename(name, target, src_dir_fd=parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        return
    there, here = target.lstat(), os.fstat(source)
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        target.unlink()
        raise OSError(errno.ESTALE, "it changed while it was taken")
    if here.st_uid != os.geteuid() or here.st_gid != os.getegid():
        os.fchown(source, os.geteuid(), os.getegid())
    os.fchmod(source, 0o600)


def _copy(source: int, target: Path) -> None:
    left = os.fstat(source).st_size
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while left > 0:
            moved = os.sendfile(copy, source, None, min(left, 1 << 30))
            if moved == 0:
                break
            left -= moved
    finally:
        os.close(copy)
