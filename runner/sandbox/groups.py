"""Where a process's control groups stand, and what they have counted; version 1 and 2.

Files: https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/memory.html, …/cgroup-v1/pids.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.sandbox.base import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTROLLERS = ("memory", "pids", "cpu")
_MEMORY_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")
_MEMORY_NOW = ("memory.current", "memory.usage_in_bytes")
_COUNT = re.compile(r"[0-9]{1,18}\s*")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one process: ``first`` by controller (version 1), and the ``unified`` one (version 2)."""

    first: Mapping[str, Path]
    unified: Path | None

    @property
    def counted(self) -> dict[str, Path]:
        """Where each controller's counts are."""
        whole = dict.fromkeys(CONTROLLERS, self.unified) if self.unified else {}
        return {name: path for name, path in (whole | dict(self.first)).items() if path}


def groups_of(process: int | str) -> Groups:
    """Return the groups of a process (``self``: ours), as far as they are mounted here."""
    own = {
        controller: path
        for _, names, path in (line.split(":", 2) for line in _lines(f"/proc/{process}/cgroup"))
        for controller in (names.split(",") if names else [""])
    }
    first: dict[str, Path] = {}
    unified: Path | None = None
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            for controller in set(options.split(",")) & set(CONTROLLERS) & set(own):
                first[controller] = _below(point, root, own[controller])
        elif kind == "cgroup2" and "" in own:
            unified = _below(point, root, own[""])
    return Groups(first, unified)


def usage_of(folders: Mapping[str, Path]) -> Usage:
    """Return the peaks in the groups ``folders`` (by controller); where there is none, what is so now."""
    memory = _first(folders.get("memory"), _MEMORY_PEAKS)
    processes = _first(folders.get("pids"), ("pids.peak",))
    peaks = memory is not None and processes is not None
    if memory is None:
        memory = _first(folders.get("memory"), _MEMORY_NOW)
    if processes is None:
        processes = _first(folders.get("pids"), ("pids.current",))
    return Usage(memory, processes, peaks)


def _first(folder: Path | None, names: tuple[str, ...]) -> int | None:
    for name in names if folder else ():
        try:
            text = (folder / name).read_text() if folder else ""
        except OSError:
            continue
        if _COUNT.fullmatch(text):
            return int(text)
    return None


def _below(point: str, root: str, own: str) -> Path:
    inner = own.removeprefix(root) if root != "/" else own
    return Path(point) / inner.strip("/")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
