"""The least mounts that cover what was read."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FEW = 5
MANY = 30


@dataclass(frozen=True, slots=True)
class Cover:
    """A file or folder of the script's folder that is to be mounted; ``why`` is the evidence."""

    path: str
    why: str


def cover(read: Iterable[str], files: Iterable[str], links: Mapping[str, str]) -> list[Cover]:
    """Return what to mount, in order: the files that were read, or a folder where many of its files were.

    ``files`` are all there are, ``links`` maps symbolic links to what they lead to; all paths are relative
    to the script's folder.
    """
    wanted = set(read)
    wanted |= {each for name, target in links.items() for each in _through(name, target, wanted)}
    by_folder: dict[str, set[str]] = defaultdict(set)
    for path in wanted:
        by_folder[posixpath.dirname(path)].add(path)
    whole = [name for name, some in by_folder.items() if len(some) > (FEW if name else MANY)]
    tops = [name for name in whole if not any(_below(name, other) for other in whole)]
    there = sorted(files)
    folders = [Cover(name, _share(name, wanted, there)) for name in tops]
    single = [Cover(path, "opened") for path in wanted if not any(_below(path, name) for name in tops)]
    return sorted([*folders, *single], key=lambda each: each.path)


def _through(name: str, target: str, read: set[str]) -> set[str]:
    """Return what was read by way of a link."""
    real = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return {f"{name}{path[len(real) :]}" for path in read if path == real or path.startswith(f"{real}/")}


def _below(path: str, folder: str) -> bool:
    return path != folder and (not folder or path.startswith(f"{folder}/"))


def _share(folder: str, read: set[str], files: list[str]) -> str:
    inside = [path for path in files if _below(path, folder)]
    opened = sum(path in read for path in inside)
    return f"{opened} of its {len(inside)} files were opened"
