"""Where everything lies in the state folder: every path is made here and nowhere else.

::

    HOME/id                             random id of this state folder
    HOME/journal.db                     the journal
    HOME/objects/ab/cdef…               results by content
    HOME/snapshots/                     mounts by content
    HOME/runs/RUN/lock                  held while a runner drives the run
    HOME/runs/RUN/logs/STEP.N.log       what an attempt printed, masked
    HOME/runs/RUN/quarantine/…          results that hold a secret, sealed for the operator
    HOME/runs/RUN/attempts.FENCE/…/     in/ and out/ of one runner's attempts, gone after them
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.events import PHASE_RUN
from runner.vault.files import own_folder, read_private, write_new

if TYPE_CHECKING:
    from pathlib import Path

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_PLAIN = 64


def safe_name(name: str) -> str:
    """Return a file name for a step's id; ids that need changing get a digest, so that none collide."""
    plain = _UNSAFE.sub("_", name)[:_PLAIN]
    if plain == name and plain:
        return plain
    return f"{plain}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def new_run_id(now: float) -> str:
    """Return the id of a run that begins at ``now`` (seconds since 1970)."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + os.urandom(3).hex()


def is_run_id(name: object) -> bool:
    """Whether ``name`` can be the id of a run, and so the name of its folder."""
    return isinstance(name, str) and _RUN.fullmatch(name) is not None


class Layout:
    """Paths under ``home``; folders are made (0700) when asked for and refused when they are not ours."""

    def __init__(self, home: Path) -> None:
        """Take the state folder; nothing is touched yet."""
        self.home = home.absolute()

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self._home() / "journal.db"

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return own_folder(self._home() / "runs")

    @property
    def objects(self) -> Path:
        """The folder of results by content."""
        return own_folder(self._home() / "objects")

    @property
    def snapshots(self) -> Path:
        """The folder of mounts by content."""
        return own_folder(self._home() / "snapshots")

    def run(self, run: str) -> Path:
        """Return a run's folder; raises ``UsageError`` for what is no run's id."""
        if not is_run_id(run):
            raise UsageError(f"{run!r} is not a run's id", cure="runner ps lists the runs")
        return own_folder(self.runs / run)

    def lock(self, run: str) -> Path:
        """Return a run's lock file."""
        return self.run(run) / "lock"

    def logs(self, run: str) -> Path:
        """Return the folder of a run's logs."""
        return own_folder(self.run(run) / "logs")

    def log(self, run: str, step: str, attempt: int, phase: str = PHASE_RUN) -> Path:
        """Return the log file of one attempt."""
        return self.logs(run) / f"{_attempt(step, attempt, phase)}.log"

    def attempts(self, run: str, fence: int) -> Path:
        """Return the folder of the attempts of the runner that has this fence, and of no other."""
        return own_folder(self.run(run) / f"attempts.{fence}")

    def state_id(self) -> str:
        """Return this state folder's random id (16 hex digits), made at first use."""
        path = self._home() / "id"
        with contextlib.suppress(FileNotFoundError):
            return read_private(path).decode()
        with contextlib.suppress(FileExistsError):
            write_new(path, os.urandom(8).hex().encode())
        return read_private(path).decode()

    def _home(self) -> Path:
        if self.home.is_symlink():
            return own_folder(self.home.resolve())
        return own_folder(self.home)


def _attempt(step: str, attempt: int, phase: str) -> str:
    middle = "" if phase == PHASE_RUN else f".{safe_name(phase)}"
    return f"{safe_name(step)}{middle}.{attempt}"
