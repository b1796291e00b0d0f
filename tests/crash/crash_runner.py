"""A runner that kills itself: ``crash_runner.py POINT EFFECTS start FILE INPUT… | resume RUN``.

Every write to the journal and every call of the engine is two points, one before and one after it. At the
point with the number ``POINT`` the process ends by SIGKILL; 0 means never. What steps do outside goes through
``EFFECTS``, a folder with a named pipe that is bound into every sandbox: a read-only mount does not stop a pipe.
The last line on standard output is the number of points that were passed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.app import App, Watching
from runner.clock import Cancellation
from runner.plans import plan_to_run
from runner.runs import Runs
from runner.sandbox.base import Mount
from runner.settings import Settings
from runner.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.events import Record
    from runner.sandbox.base import (
        Capabilities,
        Carrier,
        Chunk,
        Collection,
        Exit,
        Message,
        Sandbox,
        SandboxSpec,
    )


class Points:
    """Counts points, and dies at one of them."""

    def __init__(self, deadly: int) -> None:
        self.passed, self._deadly, self._lock = 0, deadly, threading.Lock()

    def around(self, call: Callable[[], Any]) -> Any:
        self._pass()
        result = call()
        self._pass()
        return result

    def _pass(self) -> None:
        with self._lock:
            self.passed += 1
            if self.passed == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)


class CountedJournal(Journal):
    """The journal, with two points around every write."""

    def __init__(self, points: Points, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._points = points

    def create_run(self, *arguments: Any) -> Any:
        return self._points.around(lambda: Journal.create_run(self, *arguments))

    def open_run(self, run: str) -> Any:
        return self._points.around(lambda: Journal.open_run(self, run))

    def append(self, *arguments: Any) -> Any:
        return self._points.around(lambda: Journal.append(self, *arguments))


class CountedSandbox:
    """A sandbox, with two points around every call."""

    def __init__(self, points: Points, sandbox: Sandbox) -> None:
        self._points, self._sandbox = points, sandbox

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        del carrier
        self._points.around(lambda: self._sandbox.start(message))

    def logs(self) -> Iterator[Chunk]:
        return iter(self._points.around(lambda: list(self._sandbox.logs())))

    def wait(self) -> Exit:
        return self._points.around(self._sandbox.wait)

    def stop(self, *, grace: float) -> None:
        self._points.around(lambda: self._sandbox.stop(grace=grace))

    def collect(self, patterns: Sequence[str]) -> Collection:
        return self._points.around(lambda: self._sandbox.collect(patterns))

    def destroy(self) -> None:
        self._points.around(self._sandbox.destroy)


class CountedDriver:
    """An engine, with two points around every call and the pipe bound into every sandbox."""

    def __init__(self, points: Points, driver: Any, effects: Path) -> None:
        self._points, self._driver, self._effects = points, driver, effects
        self.name = driver.name
        self.parks = getattr(driver, "parks", False)
        if hasattr(driver, "begin"):
            self.begin = self._begin

    def check(self) -> Capabilities:
        return self._points.around(self._driver.check)

    def create(self, spec: SandboxSpec) -> CountedSandbox:
        return CountedSandbox(
            self._points, self._points.around(lambda: self._driver.create(self._piped(spec)))
        )

    def _begin(self, spec: SandboxSpec) -> Callable[[], CountedSandbox]:
        finish = self._points.around(lambda: self._driver.begin(self._piped(spec)))
        return lambda: CountedSandbox(self._points, self._points.around(finish))

    def _piped(self, spec: SandboxSpec) -> SandboxSpec:
        return replace(spec, mounts=(*spec.mounts, Mount(self._effects, "/effects", "")))

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        return self._points.around(lambda: self._driver.reap(is_live))

    def close(self) -> None:
        self._points.around(self._driver.close)


class CrashingApp(App):
    """Runner put together with counted parts."""

    def __init__(self, points: Points, effects: Path) -> None:
        super().__init__(Settings.from_environment(os.environ))
        self._points, self._effects = points, effects

    def journal(self) -> Journal:
        return CountedJournal(self._points, self.layout.journal, self.clock)

    def make_driver(self, engine: str) -> Any:
        return CountedDriver(self._points, super().make_driver(engine), self._effects)


class Silent:
    """Nobody watches."""

    def event(self, record: Record) -> None:
        pass

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        pass


def main(deadly: str, effects: str, act: str, *rest: str) -> int:
    points = Points(int(deadly))
    runs = Runs(CrashingApp(points, Path(effects)))
    watching = Watching(Silent(), Cancellation(), Cancellation(), lambda _: None)
    if act == "start":
        engine, file, *given = rest
        inputs = dict(pair.split("=", 1) for pair in given)
        settings = Settings.from_environment(os.environ)
        plan = plan_to_run(settings, Path(file), "staging", inputs)
        _, code = runs.start(plan, engine, watching)
    else:
        _, code = runs.resume(rest[0], watching)
    print(points.passed)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
