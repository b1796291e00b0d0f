"""Looking back: the runs of a state folder, their reports, logs and results."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.clock import SystemClock, rfc3339
from runner.errors import UsageError
from runner.events import PHASE_COMPENSATE, PHASE_RUN, ConnectionEnded
from runner.settings import Settings, choices
from runner.store.artifacts import Artifacts
from runner.store.journal import Journal
from runner.store.layout import Layout
from runner.store.locks import live_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.engine.run import Run

_RESTING = ("succeeded", "rehearsed", "failed", "rolled-back", "rollback-failed", "cancelled", "held")


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
                    "status": row.status if row.status in _RESTING or row.run in live else "interrupted",
                    "started": rfc3339(row.started) if row.started else None,
                    "ended": rfc3339(row.ended) if row.ended else None,
                }
                for row in reversed(journal.runs())
            ]

    def report(self, prefix: str) -> dict[str, Any]:
        """Return the run object of a run; ``rollback_until`` says until when it can be undone, or is null."""
        from runner.engine.report import run_object

        run = self._folded(prefix)
        found = run_object(run)
        if found["status"] not in _RESTING and run.id not in live_runs(self._settings.home):
            found["status"] = "interrupted"
        window = self._rollback_window(run)
        undoable = run.ended is not None and not run.successor and run.left_to_undo()
        found["rollback_until"] = rfc3339((run.ended or 0.0) + window) if undoable else None
        return found

    def connections(self, run: str) -> list[dict[str, Any]]:
        """Return what steps reached, could not reach or were denied; alike ones are one row with a count."""
        with Journal(self._layout.journal, self._clock) as journal:
            events = [each.event for each in journal.records(run)]
        rows: dict[tuple[str, ...], dict[str, Any]] = {}
        for event in events:
            if isinstance(event, ConnectionEnded):
                place = (event.step, event.phase, event.host, str(event.port))
                key = (*place, event.denied, event.failed, event.method)
                row = rows.setdefault(key, {**asdict(event), "sent": 0, "received": 0, "count": 0})
                for name in ("sent", "received", "count"):
                    row[name] += getattr(event, name)
        shown = ("step", "phase", "host", "port", "method", "rule", "denied", "failed")
        return [{name: row[name] for name in (*shown, "sent", "received", "count")} for row in rows.values()]

    def advice(self, report: dict[str, Any]) -> list[str]:
        """Return what a person has to know and can type next about a run that did not simply succeed."""
        from runner.observe.advice import advice

        run = self._folded(report["run"])
        return advice(run.plan, report, {name: state.detail for name, state in run.steps.items()})

    def _rollback_window(self, run: Run) -> float:
        """Return for how many seconds a run can be undone; a broken ``runner.yaml`` hides no run."""
        try:
            return choices(self._settings, Path(run.plan.project)).rollback_window
        except UsageError:
            return choices(self._settings).rollback_window

    def _folded(self, prefix: str) -> Run:
        from runner.engine.recall import recall

        with Journal(self._layout.journal, self._clock) as journal:
            return recall(journal, journal.find(prefix))

    def logs(
        self, prefix: str, step: str | None, *, follow: bool, unread: Callable[[], bool]
    ) -> Iterator[bytes]:
        """Yield what the steps wrote, attempt after attempt; follow until the run ends or is ``unread``."""
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
                yield from logs.follow(path, lambda: unread() or run not in live_runs(self._settings.home))
                continue
            for phase, table in ((PHASE_RUN, "steps"), (PHASE_COMPENSATE, "rollback")):
                for attempt in range(1, report[table].get(name, {"attempts": 0})["attempts"] + 1):
                    yield from logs.read(self._layout.log(run, name, attempt, phase))

    def cause(self, run: str, step: str, phase: str) -> str:
        """Return in words why a step, or its compensation, failed."""
        state = self._folded(run).steps[step]
        told = state.undo if phase == PHASE_COMPENSATE else state
        return told.detail or (told.last.detail if told.last else "") or "no cause was recorded"

    def last_lines(self, run: str, step: str, phase: str, count: int) -> list[str]:
        """Return the last lines of the last attempt at a step, or at its compensation."""
        from runner.store import logs

        state = self._folded(run).steps[step]
        attempts = (state.undo if phase == PHASE_COMPENSATE else state).attempts
        lines = logs.tail(self._layout.log(run, step, max(1, attempts), phase), count)
        return [line.decode("utf-8", "replace") for line in lines]

    def export(self, prefix: str, target: Path, *, partial: bool) -> list[tuple[str, str, int]]:
        """Copy a run's results to ``target/STEP/FILE``; returns (name, SHA-256, bytes) of each.

        Raises ``UsageError`` for a run that did not succeed, unless ``partial``.
        """
        run = self._folded(prefix)
        if run.status not in {"succeeded", "rehearsed"} and not partial:
            raise UsageError(
                f"run {run.id} is {run.status}: its results are not whole",
                cure="--partial takes what there is",
            )
        files = [
            (f"{step}/{kept.name}", kept.sha256, kept.size)
            for step, state in run.steps.items()
            for kept in (state.last.artifacts if state.last else ())
        ]
        if not files:
            raise UsageError(
                f"run {run.id} left no result files", cure="name them under out: in the workflow"
            )
        Artifacts(self._settings.home).export([(name, digest) for name, digest, _ in files], target)
        return files
