"""Control groups, version 1 and 2: memory, processes and CPU of one sandbox."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.groups import CONTROLLERS, groups_of, usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runner.sandbox.base import Limits, Usage

_PERIOD = 100_000
_REMOVING = 2.0
_OOM = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where our groups may stand: ``bases`` maps a controller to a folder; ``version`` is 1 or 2."""

    version: int
    bases: Mapping[str, Path]

    @property
    def folders(self) -> tuple[Path, ...]:
        """The distinct folders, in order."""
        return tuple(dict.fromkeys(self.bases.values()))


def find_hierarchy() -> Hierarchy:
    """Return where this process may make groups; ``bases`` lacks what it may not limit."""
    own = groups_of("self")
    first, unified = own.first, own.unified
    usable = {name: path for name, path in first.items() if os.access(path, os.W_OK)}
    return Hierarchy(1, usable) if usable or unified is None else _unified(unified)


def _unified(own: Path) -> Hierarchy:
    """Return the nearest group above us that is delegated and hands its controllers down."""
    for folder in (own, *own.parents):
        control = folder / "cgroup.subtree_control"
        if not control.is_file():
            break
        given = set(control.read_text().split()) & set(CONTROLLERS)
        if given and os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            return Hierarchy(2, dict.fromkeys(sorted(given), folder))
    return Hierarchy(2, {})


class Group:
    """The groups of one sandbox, one folder per hierarchy."""

    def __init__(self, hierarchy: Hierarchy, parent: str, name: str) -> None:
        self._hierarchy = hierarchy
        self._folders = {controller: base / parent / name for controller, base in hierarchy.bases.items()}

    def make(self, limits: Limits) -> None:
        """Make the groups and set their limits; raises ``SandboxError``."""
        try:
            for folder in dict.fromkeys(self._folders.values()):
                folder.parent.mkdir(exist_ok=True)
                if self._hierarchy.version == 2:  # noqa: PLR2004 - the version's number
                    wanted = " ".join(f"+{name}" for name in self._folders)
                    (folder.parent / "cgroup.subtree_control").write_text(wanted)
                folder.mkdir()
            self._set(limits)
        except OSError as error:
            self.remove()
            raise SandboxError(f"cannot make a control group: {error}") from error

    def add(self, pid: int) -> None:
        """Move a process in; its children follow. Raises ``SandboxError``."""
        try:
            for folder in dict.fromkeys(self._folders.values()):
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise SandboxError(f"the sandbox cannot be limited: {error}") from error

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in the group for want of memory."""
        folder = self._folders.get("memory")
        if folder is None:
            return False
        name = "memory.oom_control" if self._hierarchy.version == 1 else "memory.events"
        try:
            found = _OOM.search((folder / name).read_text())
        except OSError:
            return False
        return bool(found and int(found[1]))

    @property
    def usage(self) -> Usage:
        """What the group's processes have used at most."""
        return usage_of(self._folders)

    def remove(self) -> None:
        """Kill what is left in the groups and remove them; may be called twice."""
        for folder in dict.fromkeys(self._folders.values()):
            remove_group(folder)

    def _set(self, limits: Limits) -> None:
        for controller, folder in self._folders.items():
            for name, value in _settings(self._hierarchy.version, controller, limits):
                place = folder / name
                if place.exists():
                    place.write_text(value)


def _settings(version: int, controller: str, limits: Limits) -> tuple[tuple[str, str], ...]:
    memory, quota = str(limits.memory), max(1000, round(limits.cpus * _PERIOD))
    settings = {
        (1, "memory"): (("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)),
        (2, "memory"): (("memory.max", memory), ("memory.swap.max", "0")),
        (1, "pids"): (("pids.max", str(limits.pids)),),
        (2, "pids"): (("pids.max", str(limits.pids)),),
        (1, "cpu"): (("cpu.cfs_period_us", str(_PERIOD)), ("cpu.cfs_quota_us", str(quota))),
        (2, "cpu"): (("cpu.max", f"{quota} {_PERIOD}"),),
    }
    return settings[version, controller]


def remove_group(folder: Path) -> bool:
    """Kill what runs in a group, wait for its end, and remove the group; whether it is gone."""
    until = time.monotonic() + _REMOVING
    while folder.is_dir():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                return False
            _kill_all(folder)
            time.sleep(0.002)
    return True


def reap_groups(hierarchy: Hierarchy, parent: str, is_live: Callable[[str], bool]) -> set[str]:
    """Remove the groups of runs that are not alive; return their names."""
    removed = set()
    for base in hierarchy.folders:
        try:
            found = [entry for entry in (base / parent).iterdir() if entry.is_dir()]
        except OSError:
            continue
        for folder in found:
            if not is_live(folder.name.rpartition("-")[0]) and remove_group(folder):
                removed.add(folder.name)
    return removed


def remove_parents(hierarchy: Hierarchy, parent: str) -> None:
    """Remove our own level where nothing is left in it."""
    for base in hierarchy.folders:
        with contextlib.suppress(OSError):
            (base / parent).rmdir()


def _kill_all(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in map(int, (folder / "cgroup.procs").read_text().split()):
            if pid:  # a process that is just ending stands there as 0, which would be our own process group
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
