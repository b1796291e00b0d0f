"""The one canonical tar of a root file system: same packages, same bytes.

Sorted by the package tools, one time for every file, owner root, no set-user-id bit, no device, no extended
attribute, no log, cache or documentation; plus the folders that every sandbox needs.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from fnmatch import fnmatch
from typing import IO, TYPE_CHECKING, NamedTuple

from runner.errors import SandboxError
from runner.sandbox.build.programs import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FOLDERS = {
    ".runner": 0o755,
    "dev": 0o755,
    "done": 0o755,
    "in": 0o755,
    "out": 0o755,
    "proc": 0o755,
    "run": 0o755,
    "run/secrets": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "work": 0o755,
}
_REPLACED = {
    ".runner/init": b"",
    "etc/hostname": b"",
    "etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
    "etc/resolv.conf": b"",
}
_APPENDED = {
    "etc/passwd": b"runner:x:10001:10001:runner:/work:/bin/sh\n",
    "etc/group": b"runner:x:10001:\n",
}
_DROPPED = (
    "dev/*", "proc/*", "sys/*", "run/*", "tmp/*",
    "usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*",
    "usr/share/lintian/*", "usr/share/doc-base/*",
    "var/cache/*", "var/log/*", "var/lib/apt/*", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*",
    "etc/machine-id", "etc/apt/*",
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock",
)  # fmt: skip


class Entry(NamedTuple):
    """A member of a tar and, for a regular file, its bytes."""

    info: tarfile.TarInfo
    data: IO[bytes] | None


def from_tar(tar: Path) -> Iterator[Entry]:
    """Yield the members of ``tar`` in order."""
    with tarfile.open(tar) as reader:
        for info in reader:
            yield Entry(info, reader.extractfile(info) if info.isreg() else None)


def folder(name: str, mode: int = 0o755) -> Entry:
    """Return the entry of a folder."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return Entry(info, None)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    """Return the entry of a regular file."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return Entry(info, io.BytesIO(data))


def link(name: str, target: str) -> Entry:
    """Return the entry of a symbolic link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return Entry(info, None)


def write_layer(entries: Iterable[Entry], target: Path) -> str:
    """Write ``entries`` and the standard folders to ``target`` in canonical form; return its hex SHA-256."""
    fixed = [folder(name, mode) for name, mode in FOLDERS.items()]
    fixed += [
        file(name, data, 0o755 if name == ".runner/init" else 0o644) for name, data in _REPLACED.items()
    ]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as writer:
        for entry in entries:
            if kept := _canonical(entry):
                writer.addfile(*kept)
        for entry in fixed:
            info, data = _canonical_info(entry.info), entry.data
            writer.addfile(info, data)
    with target.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def _canonical(entry: Entry) -> Entry | None:
    name = _clean(entry.info.name)
    if not name or name in FOLDERS or name in _REPLACED or _dropped(name):
        return None
    if not (entry.info.isreg() or entry.info.isdir() or entry.info.issym() or entry.info.islnk()):
        return None
    data = entry.data
    if entry.info.islnk() and _dropped(_clean(entry.info.linkname)):
        raise SandboxError(f"{name} is a hard link to a file that images leave out")
    if name in _APPENDED and data is not None:
        content = data.read() + _APPENDED[name]
        entry.info.size, data = len(content), io.BytesIO(content)
    return Entry(_canonical_info(entry.info), data)


def _canonical_info(old: tarfile.TarInfo) -> tarfile.TarInfo:
    new = tarfile.TarInfo(_clean(old.name))
    new.type, new.size = (tarfile.REGTYPE if old.isreg() else old.type), old.size
    new.mode = old.mode & (0o1777 if old.isdir() else 0o777)
    new.linkname = _clean(old.linkname) if old.islnk() else old.linkname
    new.mtime = EPOCH
    return new


def _clean(name: str) -> str:
    return name.removeprefix("./").strip("/").removeprefix(".//") if name not in {".", "./"} else ""


def _dropped(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _DROPPED)
