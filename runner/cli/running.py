"""What ``run`` and ``exec`` share: signals, progress, the report."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, print_json
from runner.cli.summary import print_summary
from runner.clock import Cancellation
from runner.observe.progress import LiveProgress, PlainProgress

if TYPE_CHECKING:
    from runner.app import App
    from runner.planning.plan import Plan

_TAIL = 10


def drive(plan: Plan, *, engine: str | None, as_json: bool) -> int:
    """Run a plan under the signals' care; prints progress and the report; returns the exit status."""
    from runner.app import App

    app = App.from_environment()
    cancellation = Cancellation()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: cancellation.cancel(signal.Signals(got).name))
    stream = sys.stderr if as_json else sys.stdout
    buffer = stream.buffer
    live = os.isatty(stream.fileno()) and os.environ.get("TERM") not in (None, "dumb")
    progress = LiveProgress(buffer, list(plan.steps)) if live else PlainProgress(buffer)

    def say(text: str) -> None:
        print(harmless(text), file=sys.stderr, flush=True)

    report, status = app.run(plan, engine, progress, cancellation, say)
    if as_json:
        print_json(report)
    else:
        print_summary(report)
        _print_failures(app, report)
    return status


def _print_failures(app: App, report: dict[str, Any]) -> None:
    for name, step in report["steps"].items():
        if step["status"] != "failed":
            continue
        print(f"\n{name} failed: {harmless(app.cause(report['run'], name))}")
        for line in app.last_lines(report["run"], name, _TAIL):
            print(f"  | {harmless(line)}")
        print(f"  next: runner logs {report['run']} '{name}'")
