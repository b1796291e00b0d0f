"""Python packages of lock files: installed before the run that needs them, by a run of its own.

So the journal holds every connection, the log says what uv said, and what a killed runner leaves is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from runner.app import Stage
from runner.errors import Interrupted, SandboxError, StoreError, UsageError
from runner.events import AttemptEnded, ConnectionEnded, RunCreated
from runner.planning.codec import plan_json
from runner.planning.digests import digest_of
from runner.planning.installation import ARCHIVE, FORMAT, LOCK, PYTHON, STEP, Order, installation
from runner.sandbox.images import HOST
from runner.sandbox.packages import Packages, too_much
from runner.store.layout import new_run_id
from runner.store.locks import RunLock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.app import App, Watching
    from runner.engine.run import Run
    from runner.events import Record
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Driver, Image
    from runner.store.journal import Journal

_TAIL = 2000
_FULL = b"No space left on device"
_AUTHORS = re.compile(r"Hash mismatch|No solution found|no usable wheels|no trusted hash")


class Installs:
    """The packages that the images of one plan need on one engine."""

    def __init__(self, app: App, plan: Plan, driver: Driver, watching: Watching) -> None:
        """Install nothing yet."""
        self._app, self._plan, self._driver, self._watching = app, plan, driver, watching
        self._packages = Packages(app.cache)

    def equip(self, images: Mapping[ImageRef, Image]) -> dict[ImageRef, Image]:
        """Return the images, those with a lock file with its packages: kept from before, or installed now.

        Raises ``SandboxError``, ``UsageError`` for a lock file that cannot be installed, and ``Interrupted``.
        """
        return {
            ref: replace(image, packages=self._of(ref, image)) if ref.lock else image
            for ref, image in images.items()
        }

    def _of(self, ref: ImageRef, image: Image) -> Path:
        machine = [os.uname().machine, _host_python() if image.digest == HOST else image.digest]
        key = digest_of([FORMAT, ref.lock, *machine, self._uv[1]])
        return self._packages.find(key) or self._install(key, ref, image)

    def _text(self, ref: ImageRef) -> str:
        from runner.workflow.locks import BadLock, lock_text, read_lock

        try:
            return lock_text(read_lock((self._app.layout.snapshots / ref.lock).read_bytes()))
        except OSError as error:
            raise StoreError(f"the snapshot of a lock file is gone: {error}") from error
        except BadLock as error:  # it changed between the look at it and its snapshot
            raise UsageError(f"a lock file is wrong: {error}") from error

    @cached_property
    def _uv(self) -> tuple[Path, str]:
        try:
            import uv

            found = sorted(Path(uv.__file__).parent.parent.glob("uv-*.dist-info"))
            return Path(uv.find_uv_bin()), found[0].stem if found else "uv"
        except (ImportError, FileNotFoundError):
            raise UsageError(
                "requirements: needs uv, which is not installed", cure="pip install 'runner[python]'"
            ) from None

    def _install(self, key: str, ref: ImageRef, image: Image) -> Path:
        text, chosen = self._text(ref), self._app.choices(self._plan)
        count = len(text.splitlines())
        self._watching.say(f"installing {count} Python package(s) from {chosen.index.address}")
        with self._packages.draft() as draft:
            lock, archive = draft / LOCK, _Archive(draft / ARCHIVE)
            lock.write_text(text)
            order = Order(key, replace(ref, lock=""), lock, *self._uv)
            plan = installation(self._plan, order, chosen.index, chosen.private)
            self._run(plan, image, archive)
            return self._packages.keep(key, archive.file, chosen.index.most)

    def _run(self, plan: Plan, image: Image, archive: _Archive) -> None:
        from runner.engine.executor import execute

        app, listener, ref = self._app, _Listener(), plan.steps[STEP].image
        watching = replace(self._watching, observer=listener)
        created = RunCreated(
            plan.workflow,
            plan.mode,
            self._driver.name,
            plan.definition,
            plan.digest,
            images={str(ref): image.digest},
        )
        run = new_run_id(app.clock.now())
        with RunLock.acquire(app.layout, run), app.journal() as journal:
            ownership = journal.create_run(run, json.dumps(plan_json(plan)), created, None)
            choices = replace(app.choices(plan), hold_after=0)
            stage = Stage(ownership, plan, self._driver, {ref: image}, watching, choices, run)
            records = journal.records(run)
            work = app.work(stage, journal, records, None)
            work = replace(work, stores=replace(work.stores, artifacts=archive))
            ended = execute(work, records)
            if ended.status != "succeeded":
                if listener.is_too_much:
                    raise too_much(choices.index.most)
                raise _failure(ended, listener, _obstacles(journal, run))


@dataclass(frozen=True, slots=True)
class _Archive:
    """The one result, taken over for the cache: among the results of runs it would only stand twice."""

    file: Path

    def keep(self, path: Path) -> tuple[str, int]:
        """Take the file over."""
        shutil.move(path, self.file)
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), self.file.stat().st_size

    def path(self, sha256: str) -> Path:
        """Raise ``StoreError``: nobody asks for it as a result."""
        raise StoreError(f"the packages {sha256[:12]} are in the cache folder alone")


@dataclass(slots=True)
class _Listener:
    """Keeps why the installation failed, and the last of what it said."""

    reason: str = ""
    why: str = ""
    said: bytes = field(default=b"", repr=False)

    @property
    def is_too_much(self) -> bool:
        """Whether the packages did not fit: uv may have tidied up before it ended."""
        return self.reason == "output-limit" or _FULL in self.said

    def event(self, record: Record) -> None:
        """Note how the attempt ended."""
        if isinstance(record.event, AttemptEnded) and record.event.reason:
            self.reason, self.why = record.event.reason, record.event.detail

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        """Note what it said."""
        del step, attempt, stream
        self.said = (self.said + data)[-_TAIL:]


def _obstacles(journal: Journal, run: str) -> list[str]:
    """Return each connection that was refused or failed, in words."""
    seen = (record.event for record in journal.records(run))
    return [
        f"{event.host}:{event.port}: {event.denied or event.failed}"
        for event in seen
        if isinstance(event, ConnectionEnded) and (event.denied or event.failed)
    ]


def _failure(
    ended: Run, listener: _Listener, obstacles: list[str]
) -> Interrupted | SandboxError | UsageError:
    """Return what went wrong, once: a lock file that cannot be installed is the author's to correct."""
    if ended.status == "cancelled":
        return Interrupted(f"cancelled while Python packages were installed (run {ended.id})")
    said = listener.said.decode(errors="replace").strip()
    told = said[max(0, said.rfind("\nerror: ")) :].strip()
    why = [] if told and listener.reason == "exit" else [listener.why]
    words = "\n  ".join(["Python packages cannot be installed", *told.splitlines(), *obstacles[-1:], *why])
    if _AUTHORS.search(said):
        return UsageError(words, cure=f"correct the lock file; all that uv said: runner logs {ended.id}")
    return SandboxError(words, cure=f"runner show {ended.id}")


def _host_python() -> str:
    """Return which Python the host's system folders have, where they stand in for a profile."""
    real = Path(PYTHON).resolve()
    state = real.stat() if real.exists() else None
    return f"{HOST}{real} {state.st_size if state else 0} {state.st_mtime_ns if state else 0}"
