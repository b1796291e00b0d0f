"""Unpacking a root file system that nobody vouches for: nothing is ever written outside the target.

Every folder on the way is opened by descriptor without following links; devices are left out; set-user-id
bits are dropped. A member with an absolute or climbing name is an error, not skipped.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from runner.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."


def unpack(stream: IO[bytes], target: Path, *, whiteouts: bool = False) -> None:
    """Unpack a tar stream into ``target``; ``whiteouts`` honours OCI's marks for removed files.

    Raises ``SandboxError`` for a name that leaves the target, or leads through a link.
    """
    root = os.open(target, _FOLDER)
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as reader:
            for info in reader:
                _member(reader, info, root, whiteouts=whiteouts)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SandboxError(f"the image cannot be unpacked: {error}") from error
    finally:
        os.close(root)


def _member(reader: tarfile.TarFile, info: tarfile.TarInfo, root: int, *, whiteouts: bool) -> None:
    parts = _parts(info.name)
    if not parts:
        return
    with _parent(root, parts[:-1]) as parent:
        name = parts[-1]
        if whiteouts and name.startswith(_WHITEOUT):
            _whiteout(name, parent)
        elif info.isdir():
            _make_folder(name, parent, info.mode)
        elif info.issym():
            _remove(name, parent)
            os.symlink(info.linkname, name, dir_fd=parent)
        elif info.islnk():
            _hard_link(info.linkname, root, name, parent)
        elif info.isreg():
            _write(reader.extractfile(info), name, parent, info.mode)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise SandboxError(f"the image has a file with the unsafe name {name!r}")
    return parts


@contextmanager
def _parent(root: int, parts: list[str]) -> Iterator[int]:
    here = os.dup(root)
    try:
        for part in parts:
            try:
                below = os.open(part, _FOLDER, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=here)
                below = os.open(part, _FOLDER, dir_fd=here)
            except NotADirectoryError as error:
                raise SandboxError(f"the image has files below {part!r}, which is no folder") from error
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _make_folder(name: str, parent: int, mode: int) -> None:
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            _remove(name, parent)
            os.mkdir(name, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=parent)
    below = os.open(name, _FOLDER, dir_fd=parent)
    os.fchmod(below, mode & 0o1777 | 0o700)
    os.close(below)


def _write(data: IO[bytes] | None, name: str, parent: int, mode: int) -> None:
    _remove(name, parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        if data is not None:
            shutil.copyfileobj(data, file, 1 << 20)
        os.fchmod(file.fileno(), mode & 0o777 | 0o400)


def _hard_link(target: str, root: int, name: str, parent: int) -> None:
    parts = _parts(target)
    with _parent(root, parts[:-1]) as source:
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=source, follow_symlinks=False).st_mode):
            raise SandboxError(f"the image links {name!r} to something that is no file")
        _remove(name, parent)
        os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)


def _whiteout(name: str, parent: int) -> None:
    if name != _OPAQUE:
        _remove(name.removeprefix(_WHITEOUT), parent)
        return
    for entry in os.listdir(parent):
        _remove(entry, parent)


def _remove(name: str, parent: int) -> None:
    if name in {"", ".", ".."} or "/" in name:
        raise SandboxError(f"the image removes a file with the unsafe name {name!r}")
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
