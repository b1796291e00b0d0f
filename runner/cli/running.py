"""What ``run`` and ``exec`` share: signals, progress, the report."""

from __future__ import annotations

import gc
import os
import select
import signal
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, print_json
from runner.cli.summary import print_summary
from runner.clock import Cancellation
from runner.observe.progress import LiveProgress, PlainProgress

if TYPE_CHECKING:
    from pathlib import Path

    from runner.history import History
    from runner.planning.plan import Plan

_TAIL = 10


def drive(plan: Plan, project: Path, *, engine: str | None, as_json: bool) -> int:
    """Run a plan under the signals' care; prints progress and the report; returns the exit status.

    The first signal cancels the run but for its ``finally`` steps, the second ends those too.
    """
    from runner.app import App, Watching
    from runner.history import History

    gc.freeze()
    gc.enable()
    app = App.from_environment()
    stops = (Cancellation(), Cancellation())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: stops[stops[0].requested].cancel(signal.Signals(got).name))
    stream = sys.stderr if as_json else sys.stdout
    for watched in {sys.stdout.fileno(), stream.fileno()}:
        threading.Thread(target=_cancel_when_unread, args=(watched, stops[0]), daemon=True).start()
    buffer = stream.buffer
    live = os.isatty(stream.fileno()) and os.environ.get("TERM") not in (None, "dumb")
    progress = LiveProgress(buffer, list(plan.steps)) if live else PlainProgress(buffer)

    def say(text: str) -> None:
        print(harmless(text), file=sys.stderr, flush=True)

    report, status = app.run(plan, project, engine, Watching(progress, *stops, say))
    if as_json:
        print_json(report)
    else:
        print_summary(report)
        _print_failures(History.from_environment(), report)
    return status


def _cancel_when_unread(descriptor: int, cancellation: Cancellation) -> None:
    """Wait until nobody can read the pipe any more: a silent step would never find out by writing."""
    if not (stat.S_ISFIFO(os.fstat(descriptor).st_mode) or stat.S_ISSOCK(os.fstat(descriptor).st_mode)):
        return  # a terminal that hangs up sends a signal
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are told without asking
    if any(told & (select.POLLERR | select.POLLHUP) for _, told in poll.poll()):
        cancellation.cancel("nobody reads the output any more")


def _print_failures(history: History, report: dict[str, Any]) -> None:
    for name, step in report["steps"].items():
        if step["status"] != "failed":
            continue
        print(f"\n{name} failed: {harmless(history.cause(report['run'], name))}")
        for line in history.last_lines(report["run"], name, _TAIL):
            print(f"  | {harmless(line)}")
        print(f"  next: runner logs {report['run']} '{name}'")
