"""Plans that were made before, kept under a key of all that they were made of: reading one is faster.

A kept plan is believed only if it is whole, this user's own, and stands under the key that it was written
for; whoever uses it looks again at what the key cannot cover (``Grounds``). Nothing here can fail a run:
what cannot be read or written is planned anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import __version__
from runner.errors import StoreError
from runner.planning.codec import plan_from_json, plan_json
from runner.vault.files import own_folder, read_private, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.planning.plan import Plan

MOST = 64
LARGEST = 1 << 20
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a plan rests on outside its key, as it was when the plan was made.

    ``sources`` maps what was snapshotted to the digest of its content, ``recipes`` the sandbox profiles to
    their recipes' digests, and ``seen`` the paths that were only looked at to what they were (``look``).
    """

    sources: dict[str, str]
    recipes: dict[str, str]
    seen: dict[str, str]


class KeptPlans:
    """A folder of plans, at most ``MOST`` files of at most ``LARGEST`` bytes; runners may share it."""

    def __init__(self, folder: Path) -> None:
        """Touch nothing yet."""
        self._folder = folder

    def find(self, key: str) -> tuple[Plan, Grounds] | None:
        """Return the plan that was kept under ``key``, or None when there is none to believe."""
        try:
            head, _, body = read_private(own_folder(self._folder) / key).partition(b"\n")
            if head != _seal(key, body):
                return None
            data = json.loads(body)
            return plan_from_json(data["plan"]), Grounds(**data["grounds"])
        except (OSError, StoreError, ValueError, KeyError, TypeError):
            return None

    def keep(self, key: str, plan: Plan, grounds: Grounds) -> None:
        """Keep a plan if it can be kept, in place of what stands there; the oldest make room."""
        body = json.dumps({"plan": plan_json(plan), "grounds": asdict(grounds)}).encode()
        if len(body) > LARGEST or plan_from_json(json.loads(body)["plan"]) != plan:
            return
        with contextlib.suppress(OSError, StoreError):
            self._make_room(own_folder(self._folder))
            replace(self._folder / key, _seal(key, body) + b"\n" + body)

    def _make_room(self, folder: Path) -> None:
        with os.scandir(folder) as entries:
            found = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries)
        for _, path in found[: max(0, len(found) - MOST + 1)]:
            Path(path).unlink()


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the key of what was asked for (any JSON values): of this Runner's code too."""
    text = json.dumps([dict(parts), __version__, sys.version, list(_code())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def look(path: Path) -> str:
    """Return where a path leads and which kind of file is there."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        kind = 0
    return f"{kind:o} {os.path.realpath(path)}"


def _seal(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + body).hexdigest().encode()


def _code() -> Iterator[tuple[str, int, int, int]]:
    """Yield what changes when this code, or a package beside it, is installed anew: sizes and times."""
    yield _row(str(_PACKAGE.parent), _PACKAGE.parent.stat(), size=0)
    folders = [str(_PACKAGE)]
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.name.endswith(".py"):
                    yield _row(entry.path, entry.stat(), size=entry.stat().st_size)
                elif entry.is_dir() and entry.name != "__pycache__":
                    folders.append(entry.path)


def _row(path: str, state: os.stat_result, *, size: int) -> tuple[str, int, int, int]:
    return path, size, state.st_mtime_ns, state.st_ctime_ns if size else 0
