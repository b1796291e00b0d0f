"""bubblewrap's command line for one sandbox: a pure function of what it must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.sandbox.base import Limits
    from runner.sandbox.bubblewrap.rootfs import Piece

STEP = 10001
_SMALL = 1 << 20
PASSWD = b"""root:x:0:0:root:/:/bin/sh
step:x:10001:10001:step:/work:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
"""
GROUP = b"root:x:0:\nstep:x:10001:\nnogroup:x:65534:\n"


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands where: ``root`` pieces, ``mounts`` as (source, target), and the attempt's three paths."""

    root: tuple[Piece, ...]
    mounts: tuple[tuple[str, str], ...]
    inputs: str
    out: str
    init: str


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files that bubblewrap reads (``seccomp``, ``passwd``, ``group``) and writes (``info``)."""

    seccomp: int
    info: int
    passwd: int = -1
    group: int = -1


def bwrap_arguments(layout: Layout, limits: Limits, descriptors: Descriptors) -> list[str]:
    """Return all arguments after ``bwrap``."""
    return [
        *_isolation(descriptors),
        "--tmpfs", "/",
        *_root(layout, descriptors),
        "--proc", "/proc",
        "--dev", "/dev",
        *_tmpfs("/dev/shm", limits.shm, "1777"),  # noqa: S108 - the sandbox's own
        "--remount-ro", "/dev",
        *_tmpfs("/tmp", limits.tmp, "1777"),  # noqa: S108 - the sandbox's own
        *_tmpfs("/work", limits.work, "0700"),
        *_tmpfs("/run", _SMALL, "0755"),
        *_tmpfs("/run/secrets", _SMALL, "0700"),
        "--remount-ro", "/run",
        "--ro-bind", layout.inputs, "/in",
        "--bind", layout.out, "/out",
        *(word for source, target in layout.mounts for word in ("--ro-bind", source, target)),
        "--dir", "/.runner",
        "--ro-bind", layout.init, "/.runner/init",
        "--dir", "/sys",
        "--remount-ro", "/",
        "--chdir", "/work",
        "--", "/.runner/init",
    ]  # fmt: skip


def _isolation(descriptors: Descriptors) -> list[str]:
    return [
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
        "--unshare-cgroup-try", "--disable-userns",
        "--as-pid-1", "--die-with-parent", "--new-session",
        "--uid", str(STEP), "--gid", str(STEP),
        "--hostname", "sandbox",
        "--cap-drop", "ALL",
        "--clearenv",
        "--seccomp", str(descriptors.seccomp),
        "--info-fd", str(descriptors.info),
    ]  # fmt: skip


def _root(layout: Layout, descriptors: Descriptors) -> list[str]:
    words: list[str] = []
    for piece in layout.root:
        if piece.kind == "dir":
            words += ["--dir", piece.target]
        else:
            words += ["--symlink" if piece.kind == "link" else "--ro-bind", piece.source, piece.target]
    for found, name in ((descriptors.passwd, "passwd"), (descriptors.group, "group")):
        if found >= 0:
            words += ["--perms", "0644", "--file", str(found), f"/etc/{name}"]
    return words


def _tmpfs(target: str, size: int, mode: str) -> list[str]:
    return ["--perms", mode, "--size", str(max(size, 4096)), "--tmpfs", target]
