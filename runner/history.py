"""Looking back: the runs of a state folder, their reports, logs and results."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from runner.clock import SystemClock, rfc3339
from runner.errors import UsageError
from runner.settings import Settings
from runner.store.artifacts import Artifacts
from runner.store.journal import Journal
from runner.store.layout import Layout
from runner.store.locks import live_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENDED = ("succeeded", "rehearsed", "failed", "rolled-back", "rollback-failed", "cancelled")


class History:
    """What has run in one state folder."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is touched until a method needs it."""
        self._settings = settings
        self._clock = SystemClock()
        self._layout = Layout(settings.home)

    @classmethod
    def from_environment(cls) -> History:
        """Return the history for this process's environment."""
        return cls(Settings.from_environment(os.environ))

    def runs(self) -> list[dict[str, Any]]:
        """Return every run of this state folder, newest first; a dead runner's run is ``interrupted``."""
        live = live_runs(self._settings.home)
        with Journal(self._layout.journal, self._clock) as journal:
            return [
                {
                    "run": row.run,
                    "workflow": row.workflow,
                    "mode": row.mode,
                    "status": row.status if row.status in _ENDED or row.run in live else "interrupted",
                    "started": rfc3339(row.started) if row.started else None,
                    "ended": rfc3339(row.ended) if row.ended else None,
                }
                for row in reversed(journal.runs())
            ]

    def report(self, prefix: str) -> dict[str, Any]:
        """Return the run object of a run."""
        from runner.engine.report import report
        from runner.planning.codec import plan_from_json

        with Journal(self._layout.journal, self._clock) as journal:
            run = journal.find(prefix)
            found = report(run, plan_from_json(json.loads(journal.plan_json(run))), journal.records(run))
        if found["status"] not in _ENDED and run not in live_runs(self._settings.home):
            found["status"] = "interrupted"
        return found

    def logs(self, prefix: str, step: str | None, *, follow: bool) -> Iterator[bytes]:
        """Yield what a run's steps wrote, attempt after attempt."""
        from runner.store import logs

        report = self.report(prefix)
        run = report["run"]
        if step is not None and step not in report["steps"]:
            raise UsageError(
                f"run {run} has no step '{step}'", cure=f"its steps: {', '.join(report['steps'])}"
            )
        for name in [step] if step else report["steps"]:
            if follow:
                path = self._layout.log(run, name, max(1, report["steps"][name]["attempts"]))
                yield from logs.follow(path, lambda: run not in live_runs(self._settings.home))
                continue
            for attempt in range(1, report["steps"][name]["attempts"] + 1):
                yield from logs.read(self._layout.log(run, name, attempt))

    def cause(self, run: str, step: str) -> str:
        """Return in words why a step failed."""
        from runner.events import AttemptEnded, StepSettled

        with Journal(self._layout.journal, self._clock) as journal:
            events = [record.event for record in journal.records(run)]
        told = [
            event.detail
            for event in events
            if isinstance(event, AttemptEnded | StepSettled) and event.step == step
        ]
        return next((detail for detail in reversed(told) if detail), "no cause was recorded")

    def last_lines(self, run: str, step: str, count: int) -> list[str]:
        """Return the last lines of a step's last attempt."""
        from runner.store import logs

        attempts = self.report(run)["steps"][step]["attempts"]
        lines = logs.tail(self._layout.log(run, step, max(1, attempts)), count)
        return [line.decode("utf-8", "replace") for line in lines]

    def export(self, prefix: str, target: Path) -> list[tuple[str, str, int]]:
        """Copy a run's results to ``target/STEP/FILE``; returns (name, SHA-256, bytes) of each."""
        from runner.events import AttemptEnded

        with Journal(self._layout.journal, self._clock) as journal:
            run = journal.find(prefix)
            events = [record.event for record in journal.records(run)]
        last = {event.step: event for event in events if isinstance(event, AttemptEnded)}
        files = [
            (f"{step}/{kept.name}", kept.sha256, kept.size)
            for step, event in last.items()
            for kept in event.artifacts
        ]
        if not files:
            raise UsageError(f"run {run} left no result files", cure="name them under out: in the workflow")
        Artifacts(self._settings.home).export([(name, digest) for name, digest, _ in files], target)
        return files
