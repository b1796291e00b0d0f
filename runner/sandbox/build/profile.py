"""A sandbox profile: which packages make up a root file system."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
"""Raised whenever the builder turns the same packages into other bytes."""

BASES = ("busybox", "essential")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}")
_PATH = re.compile(r"/[A-Za-z0-9/_.-]*(:/[A-Za-z0-9/_.-]*)*")
_KEYS = frozenset({"description", "base", "packages", "path"})


@dataclass(frozen=True, slots=True)
class Profile:
    """What ``profile.yaml`` says; ``path`` is the ``PATH`` that the image declares."""

    name: str
    description: str
    base: str
    packages: tuple[str, ...]
    path: str


def profile_names(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """Return the names of every profile in ``folders``, sorted."""
    found = {file.parent.name for folder in folders for file in folder.glob("*/profile.yaml")}
    return tuple(sorted(name for name in found if _NAME.fullmatch(name)))


def find_profile(name: str, folders: tuple[Path, ...]) -> Path:
    """Return the folder of profile ``name`` in the first of ``folders`` that has it.

    Raises ``UsageError`` naming the profiles that there are.
    """
    if _NAME.fullmatch(name):
        for folder in folders:
            if (folder / name / "profile.yaml").is_file():
                return folder / name
    known = ", ".join(profile_names(folders))
    raise UsageError(f"there is no sandbox profile named {name!r}", cure=f"choose one of: {known}")


def recipe_digest(folder: Path) -> str:
    """Return the hex SHA-256 of the recipe in ``folder`` and of the builder's format."""
    text = (folder / "profile.yaml").read_bytes()
    return hashlib.sha256(b"%d\n%s\n%s" % (FORMAT, folder.name.encode(), text)).hexdigest()


def load_profile(folder: Path) -> Profile:
    """Read ``profile.yaml``; raises ``UsageError`` naming what is wrong in it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    file = folder / "profile.yaml"
    try:
        data = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{file}: must be a mapping with {', '.join(sorted(_KEYS))}")
    if problem := _problem(data):
        raise UsageError(f"{file}: {problem}")
    packages = tuple(sorted(data["packages"]))
    return Profile(folder.name, str(data.get("description", "")), data["base"], packages, data["path"])


def _problem(data: dict[str, Any]) -> str:
    unknown = sorted(set(map(str, data)) - _KEYS)
    if unknown:
        return f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}"
    if data.get("base") not in BASES:
        return f"base must be one of {', '.join(BASES)}"
    packages = data.get("packages")
    if not isinstance(packages, list) or not packages:
        return "packages must be a list of Debian package names"
    wrong = [item for item in packages if not isinstance(item, str) or not _PACKAGE.fullmatch(item)]
    if wrong:
        return f"{wrong[0]!r} is no Debian package name"
    path = data.get("path")
    return (
        ""
        if isinstance(path, str) and _PATH.fullmatch(path)
        else "path must be absolute folders joined by ':'"
    )
