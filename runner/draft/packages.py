"""The Python packages of a script that is to be watched: its block says which, a lock file says exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.workflow.file import Unreadable, content_of

if TYPE_CHECKING:
    from runner.draft.script import Script


def with_packages(script: Script, lock: str | None) -> Script:
    """Return the script with its lock file; raises ``UsageError`` where that does not hold what it needs."""
    if not script.is_python:
        if lock:
            raise UsageError("--requirements is for a script of Python")
        return script
    if lock is None and "# /// script" not in script.text:
        return script
    from runner.workflow.locks import BadLock, lock_command, read_lock, script_needs, uncovered

    make, made = lock_command(script.path.name)
    try:
        needs = script_needs(script.text)
        pins = read_lock(content_of(Path(lock))) if lock else ()
    except BadLock as bad:
        raise UsageError(f"{lock}: {bad}", cure=f"make it anew: {make}") from None
    except (ValueError, Unreadable) as error:
        raise UsageError(f"{script.path.name}: {error}") from None
    lacking = list(uncovered(needs, pins))
    if needs and not lock:
        lacking = [f"it depends on {', '.join(needs)}, and no lock file holds it"]
    if lacking:
        cure = f"{make}, then: runner init --requirements {made} {script.path.name}"
        raise UsageError(f"{script.path.name}: {'; '.join(lacking)}", cure=cure)
    return replace(script, lock=Path(lock).resolve() if lock else None)
