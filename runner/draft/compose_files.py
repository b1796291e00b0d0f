"""The lines about files: what is mounted, what runs, and what is kept."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.draft.cover import cover
from runner.draft.page import is_nameable, listed, quoted
from runner.draft.script import APP
from runner.draft.watched import LINKED

if TYPE_CHECKING:
    from runner.draft.folder import Folder
    from runner.draft.page import Page
    from runner.draft.script import Script
    from runner.draft.seen import Seen

_STEP = "    "
_COPIED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MOST_COPIED = 10
_MOST_NAMED = 12
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Files:
    """What is known of files: ``base`` leads from the workflow's folder to the script's.

    ``own`` are the script's own modules, ``elsewhere`` the paths of this machine that it names,
    ``named`` those of its folder.
    """

    script: Script
    seen: Seen
    folder: Folder
    base: str
    own: frozenset[str] = frozenset()
    elsewhere: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def copied(self) -> tuple[str, ...]:
        """The files in its working directory that are to be kept: plain names, of a run that succeeded."""
        fit = [name for name in self.left if _COPIED.fullmatch(name) and name not in self.seen.made]
        return tuple(fit[:_MOST_COPIED]) if self.seen.reason is None else ()

    @property
    def left(self) -> tuple[str, ...]:
        """The files in its working directory that look like results."""
        return tuple(
            each for each in self.seen.left if not any(_is_scratch(part) for part in each.split("/"))
        )


def _is_scratch(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def write_mounts(page: Page, files: Files) -> None:
    """Write the least mounts that cover what was read."""
    script = files.script.path.name
    read = {name for name in files.seen.read if "__pycache__/" not in f"/{name}"} | {script}
    page.add(f"{_STEP}mounts:")
    unfit = []
    mounts = cover(read & {*files.folder.files} | {script}, files.folder.files, files.folder.links)
    for each in mounts:
        if not is_nameable(each.path or "."):
            unfit.append(each.path)
            continue
        source = posixpath.normpath(posixpath.join(files.base, each.path))
        source = source if source.startswith("../") else f"./{source}".removesuffix("/.")
        target = posixpath.join(APP, each.path).rstrip("/")
        page.add(
            f"{_STEP}  - {quoted(f'{source}:{target}')}", "the script" if each.path == script else each.why
        )
    unread = [name for name in files.named if not any(_touches(name, each.path) for each in mounts)]
    _tell(page, f"{_STEP}  ", unread, "is named in the script, and nothing of it was opened")
    if files.seen.blind:
        page.note(f"{_STEP}  ", "it opened so much so fast that some of it may not have been seen")
    if files.seen.by_bytes:
        page.note(
            f"{_STEP}  ", f"{files.seen.engine} shows what was read, and not what was only mapped into memory"
        )
    _tell(page, f"{_STEP}  ", unfit, "was opened, and its name cannot stand in a mount")
    _tell(
        page,
        f"{_STEP}  ",
        files.elsewhere,
        "is named, lies outside the script's folder, and was not shown to it",
    )
    _tell(page, f"{_STEP}  ", files.folder.without, "lies in its folder and was not shown to it")


def _touches(name: str, mounted: str) -> bool:
    return not mounted or f"{mounted}/".startswith(f"{name}/") or f"{name}/".startswith(f"{mounted}/")


def write_run(page: Page, files: Files) -> list[str]:
    """Write what runs, and return its lines."""
    commands = [LINKED, files.script.command, *_copying(files.copied)]
    page.block(_STEP, "run", commands, "as watched, in a working directory that shows its folder")
    _tell(page, _STEP, files.seen.read_only, "(it wrote to a file that is shown to it: results go to /out)")
    return commands


def write_outputs(page: Page, files: Files) -> None:
    """Write which results are kept."""
    kept = [*files.seen.made, *files.copied]
    fit = sorted(name for name in kept if is_nameable(name))
    if len(fit) > _MOST_NAMED:
        page.add(f'{_STEP}out: ["**"]', f"{len(kept)} files, {fit[0]} among them")
    elif fit:
        evidence = (
            "from its working directory, which is gone afterwards" if files.copied else "written to /out"
        )
        page.add(f"{_STEP}out: {listed(fit)}", evidence)
    _tell(
        page, _STEP, [name for name in kept if not is_nameable(name)], "was written, and cannot be named here"
    )
    _tell(page, _STEP, files.seen.not_taken, "")
    lost = [name for name in files.left if name not in files.copied]
    _tell(page, _STEP, lost, "was left in the working directory and is lost: write it to /out")


def _copying(names: tuple[str, ...]) -> list[str]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[posixpath.dirname(name)].append(name)
    return [
        f"mkdir -p /out/{folder} && cp {' '.join(some)} /out/{folder}/"
        if folder
        else f"cp {' '.join(some)} /out/"
        for folder, some in sorted(by_folder.items())
    ]


def _tell(page: Page, indent: str, words: tuple[str, ...] | list[str], what: str) -> None:
    for each in words[:_MOST_TOLD]:
        page.note(indent, f"{each[:100]} {what}".rstrip())
    if len(words) > _MOST_TOLD:
        page.note(indent, f"and {len(words) - _MOST_TOLD} more like it")
