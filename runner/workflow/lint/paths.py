"""Host paths: none leaves the project, by dots or by a symlink, and none is a secret or a socket."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Mount, Step

RESERVED = ("/in", "/out", "/done", "/work", "/tmp", "/run", "/proc", "/dev", "/sys", "/.runner")  # noqa: S108 - inside
NEVER_IN = (".git", ".env*", "runner.yaml")
_ENGINES = ("docker", "containerd", "podman", "crio", "cri-dockerd", "buildkit")


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of mounts, datasets, lock files and stand-ins."""
    looked = _Looked(source)
    yield from _mounts(looked, ("defaults",), source.model.defaults.mounts)
    for where, command in source.commands():
        yield from _mounts(looked, where, command.mounts or ())
    for name, data in source.model.data.items():
        yield from looked.problems(("data", name, "path"), data.path, missing="warning")
        if data.staging_path:
            yield from looked.problems(("data", name, "staging_path"), data.staging_path)
    for where, _, step in source.steps():
        yield from _step(looked, where, step)
    if source.model.metadata.runbook and "://" not in source.model.metadata.runbook:
        yield from looked.problems(("metadata", "runbook"), source.model.metadata.runbook, missing="warning")


def _step(looked: _Looked, where: Where, step: Step) -> Iterator[Problem]:
    if step.requirements:
        yield from looked.problems((*where, "requirements"), step.requirements)
    for name, path in step.staging.out.items() if step.staging else ():
        yield from looked.problems((*where, "staging", "out", name), path)
    for number, name in enumerate(step.out):
        if name.startswith("/") or ".." in name.split("/"):
            yield looked.source.error(
                (*where, "out", number), f"{name} leaves /out: write a path relative to it"
            )


def is_engine_socket(path: str) -> bool:
    """Tell whether a path looks like the control socket of a container engine."""
    name = posixpath.basename(path.rstrip("/"))
    return name.endswith(".sock") and name.startswith(_ENGINES)


@dataclass(slots=True)
class _Looked:
    """The file system, asked once for each path."""

    source: Source
    known: dict[str, tuple[str, str] | None] = field(default_factory=dict)

    def problems(self, where: Where, path: str, missing: str = "error") -> Iterator[Problem]:
        if path not in self.known:
            self.known[path] = self._judge(path)
        found = self.known[path]
        if found and found[0] == "missing" and missing == "warning":
            yield self.source.warning(where, found[1])
        elif found:
            yield self.source.error(where, found[1])

    def _judge(self, path: str) -> tuple[str, str] | None:
        """Return what is wrong with a path as (kind, words), or None."""
        if is_engine_socket(path):
            return "socket", f"{path} controls the container engine: it is never given to a step"
        if path.startswith(("/", "~")):
            return "outside", f"{path} is not relative: paths start at the file's folder"
        whole = os.path.realpath(self.source.file.absolute().parent / path)
        if not Path(whole).is_relative_to(self.source.project):
            by = "" if ".." in path.split("/") else " through a symlink"
            return "outside", f"{path} leaves the project{by}"
        return self._judge_inside(path, Path(whole))

    def _judge_inside(self, path: str, whole: Path) -> tuple[str, str] | None:
        parts = (*posixpath.normpath(path).split("/"), *whole.relative_to(self.source.project).parts)
        hidden = next((each for each in parts if any(fnmatchcase(each, rule) for rule in NEVER_IN)), None)
        if hidden:
            return "hidden", f"{path}: {hidden} is never given to a step"
        try:
            mode = whole.stat().st_mode
        except OSError:
            return "missing", f"{path} does not exist"
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return "special", f"{path} is neither a file nor a folder"
        return None


def _mounts(looked: _Looked, where: Where, mounts: tuple[Mount, ...]) -> Iterator[Problem]:
    targets: set[str] = set()
    for number, mount in enumerate(mounts):
        here = (*where, "mounts", number)
        yield from looked.problems(here, mount.source)
        wrong = _target(mount.target)
        if not wrong and mount.target.rstrip("/") in targets:
            wrong = f"two mounts have the target {mount.target}"
        if wrong:
            yield looked.source.error(here, wrong)
        targets.add(mount.target.rstrip("/"))


def _target(target: str) -> str:
    parts = target.split("/")
    if not target.startswith("/"):
        return f"the target {target} is not absolute"
    if ".." in parts or "." in parts or "//" in target or not target.strip("/"):
        return f"the target {target} is no plain path of a folder"
    if any(target == each or target.startswith(f"{each}/") for each in RESERVED):
        return f"the target {target} belongs to the sandbox: use a name of your own, such as /app"
    return ""
