"""What all commands that drive a run share: signals, progress, the report."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, is_unread, print_json
from runner.clock import Cancellation
from runner.observe.progress import LiveProgress, PlainProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.app import Watching
    from runner.history import History
    from runner.runs import Ended, Runs

_TAIL = 10


def drive(act: Callable[[Runs, Watching], Ended], steps: Sequence[str], *, as_json: bool) -> int:
    """Do ``act`` under the signals' care; prints progress and the report; returns the exit status.

    ``steps`` are those that a live view counts. The first signal cancels the run but for its ``finally``
    steps and compensations, the second ends those too.
    """
    from runner.app import App, Watching
    from runner.history import History
    from runner.runs import Runs

    gc.freeze()
    gc.enable()
    _leave_no_core()
    runs = Runs(App.from_environment())
    stops = (Cancellation(), Cancellation())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: stops[stops[0].requested].cancel(signal.Signals(got).name))
    stream = sys.stderr if as_json else sys.stdout
    for watched in {sys.stdout.fileno(), stream.fileno()}:
        threading.Thread(target=_cancel_when_unread, args=(watched, stops[0]), daemon=True).start()
    buffer = stream.buffer
    live = os.isatty(stream.fileno()) and os.environ.get("TERM") not in (None, "dumb")
    progress = LiveProgress(buffer, list(steps)) if live else PlainProgress(buffer)

    def say(text: str) -> None:
        print(harmless(text), file=sys.stderr, flush=True)

    report, status = act(runs, Watching(progress, *stops, say))
    if as_json:
        print_json(report)
    else:
        from runner.cli.summary import print_summary

        print_summary(report)
        _print_failures(History.from_environment(), report)
    return status


def _leave_no_core() -> None:
    """Keep a crash of this process, which may hold secrets, out of every core file and crash reporter.

    Of a limit of 0 a reporter that the kernel pipes to takes no notice; 1 byte stops both. Source: core(5).
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def steps_of(run: str) -> list[str]:
    """Return the steps of a run in the plan's order."""
    from runner.history import History

    return list(History.from_environment().report(run)["steps"])


def _cancel_when_unread(descriptor: int, cancellation: Cancellation) -> None:
    """Wait until nobody can read the pipe any more: a silent step would never find out by writing."""
    if is_unread(descriptor, None):
        cancellation.cancel("nobody reads the output any more")


def _print_failures(history: History, report: dict[str, Any]) -> None:
    for name, step in report["steps"].items():
        if step["status"] == "failed":
            _print_failure(history, report["run"], name)
    for name, undo in report["rollback"].items():
        if undo["status"] == "compensation-failed":
            _print_failure(history, report["run"], name, "compensate")
    for line in history.advice(report):
        print(harmless(line))


def _print_failure(history: History, run: str, step: str, phase: str = "run") -> None:
    what = f"{step}'s compensation" if phase == "compensate" else step
    print(f"\n{harmless(what)} failed: {harmless(history.cause(run, step, phase))}")
    for line in history.last_lines(run, step, phase, _TAIL):
        print(f"  | {harmless(line)}")
    print(f"  next: runner logs {run} '{harmless(step)}'")
