"""How a root file system is put together from read-only pieces, so that it may lack our mount points."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runner.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OURS = frozenset({"dev", "proc", "sys", "tmp", "run", "in", "out", "work", ".runner"})
HOST_ETC = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs", "ca-certificates.conf",
    "localtime", "timezone", "mime.types", "services", "protocols", "nsswitch.conf", "fonts", "magic",
)  # fmt: skip
_HOST_TOP = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_RESERVED = ("/in", "/out", "/work", "/tmp", "/run", "/dev", "/proc", "/sys", "/.runner")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the new root: ``kind`` is ``bind`` (of ``source``), ``link`` (to it) or ``dir``."""

    kind: str
    target: str
    source: str = ""


def image_pieces(rootfs: Path, targets: Iterable[str]) -> tuple[Piece, ...]:
    """Return the pieces of an unpacked image; folders above a target that the image lacks are opened up."""
    opened: set[str] = set()
    for target in targets:
        check_target(target)
        opened |= _folders_to_open(rootfs, PurePosixPath(target))
    return tuple(_folder_pieces(rootfs, "", opened))


def host_pieces() -> tuple[Piece, ...]:
    """Return the pieces of the host's system folders: ``/usr``, its links, and a few files of ``/etc``."""
    pieces = [_piece(Path("/") / name, f"/{name}") for name in _HOST_TOP if os.path.lexists(f"/{name}")]
    pieces.append(Piece("dir", "/etc"))
    for name in HOST_ETC:
        place = Path("/etc") / name
        if place.exists():
            pieces.append(Piece("bind", f"/etc/{name}", str(place)))
    return tuple(pieces)


def check_target(target: str) -> None:
    """Raise ``SandboxError`` for a mount target that is not a plain absolute path outside our own folders."""
    path = PurePosixPath(target)
    plain = path.is_absolute() and ".." not in path.parts and len(path.parts) > 1
    if not plain or any(path.is_relative_to(place) for place in _RESERVED):
        raise SandboxError(f"nothing can be mounted on {target!r}", cure="choose another absolute path")


def _folders_to_open(rootfs: Path, target: PurePosixPath) -> set[str]:
    """Return the existing folders above ``target`` that must be rebuilt because the next name is missing."""
    opened: list[str] = []
    here = rootfs
    for part in target.parts[1:]:
        here /= part
        if here.is_symlink():
            raise SandboxError(f"nothing can be mounted on {target}: a part of it is a symbolic link")
        if not here.exists():
            return set(opened)
        opened.append("/" + str(here.relative_to(rootfs)))
    return set()


def _folder_pieces(rootfs: Path, folder: str, opened: set[str]) -> Iterator[Piece]:
    for name in sorted(os.listdir(f"{rootfs}{folder}")):  # noqa: PTH208 - names alone are wanted
        target = f"{folder}/{name}"
        if not folder and name in OURS:
            continue
        if target in opened:
            yield Piece("dir", target)
            yield from _folder_pieces(rootfs, target, opened)
        else:
            yield _piece(Path(f"{rootfs}{target}"), target)


def _piece(source: Path, target: str) -> Piece:
    if source.is_symlink():
        return Piece("link", target, str(source.readlink()))
    return Piece("bind", target, str(source))
