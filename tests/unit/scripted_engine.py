"""A fake engine that runs Python functions as steps, stores in memory, and a bench to drive runs on."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memory_stores import MemoryStores

from runner.clock import Cancellation, SystemClock
from runner.engine.executor import execute
from runner.engine.ports import Work
from runner.errors import ImageMissing, SandboxError
from runner.events import Event, Record, RunCreated
from runner.planning.plan import ImageRef, Plan, PlannedStep, Retry
from runner.sandbox.base import (
    Capabilities,
    Carrier,
    Chunk,
    Collected,
    Collection,
    Exit,
    Image,
    Limits,
    Message,
    Sandbox,
    SandboxSpec,
)

if TYPE_CHECKING:
    from pathlib import Path

    from runner.engine.run import Run

LIMITS = Limits(1 << 28, 1.0, 64, 1024, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20)


class Inside:
    """What a scripted step sees: its message, its output folder, and whether it was told to stop."""

    def __init__(self, message: Message, out: Path, stopped: threading.Event) -> None:
        self.message, self.out, self.stopped = message, out, stopped
        self.written: list[Chunk] = []

    def print(self, data: bytes, stream: str = "stdout") -> None:
        self.written.append(Chunk(stream, data))


Script = Callable[[Inside], int | Exit]


class ScriptedSandbox:
    """Runs one function between ``start`` and the end of ``logs``."""

    def __init__(self, driver: ScriptedDriver, spec: SandboxSpec) -> None:
        self.driver, self.spec = driver, spec
        self.stopped = threading.Event()
        self.out = spec.directory / "out"
        self.out.mkdir()
        self.exit = Exit(None, "infra", "never ran")

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        del carrier
        if self.spec.step in self.driver.lost:
            self.driver.lost.discard(self.spec.step)
            raise SandboxError("the sandbox is lost")
        self.inside = Inside(message, self.out, self.stopped)
        self.driver.began(self.spec)

    def logs(self) -> Iterator[Chunk]:
        name = self.spec.step if self.spec.phase == "run" else f"{self.spec.step}/{self.spec.phase}"
        result = self.driver.scripts.get(name, succeed)(self.inside)
        yield from self.inside.written
        self.exit = result if isinstance(result, Exit) else Exit(result, "exit" if result else None)

    def wait(self) -> Exit:
        self.driver.ended(self.spec)
        return self.exit

    def stop(self, *, grace: float) -> None:
        self.driver.stops.append((self.spec.step, grace))
        self.stopped.set()

    def collect(self, patterns: Sequence[str]) -> Collection:
        files = [path for path in sorted(self.out.iterdir()) if path.name in patterns]
        return Collection(
            tuple(Collected(one.name, one, one.stat().st_size) for one in files), ("odd: a link",)
        )

    def destroy(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.driver.alive.discard(self)


class ScriptedDriver:
    """Makes scripted sandboxes and counts what lives, what runs and what was made."""

    name = "scripted"

    def __init__(self, scripts: dict[str, Script] | None = None, *, parks: bool = False) -> None:
        self.parks = parks
        self.scripts = scripts or {}
        self.alive: set[ScriptedSandbox] = set()
        self.made: list[SandboxSpec] = []
        self.lost: set[str] = set()
        self.stops: list[tuple[str, float]] = []
        self.running: set[str] = set()
        self.most = 0
        self.begun: list[str] = []
        self.shared: set[Path] = set()

    def check(self) -> Capabilities:
        return Capabilities(self.name, "1")

    def create(self, spec: SandboxSpec) -> Sandbox:
        self.shared |= {spec.directory} & {each.spec.directory for each in self.alive}
        sandbox = ScriptedSandbox(self, spec)
        self.alive.add(sandbox)
        self.made.append(spec)
        return sandbox

    def began(self, spec: SandboxSpec) -> None:
        self.running.add(spec.step)
        self.most = max(self.most, len(self.running))
        self.begun.append(spec.step)

    def ended(self, spec: SandboxSpec) -> None:
        self.running.discard(spec.step)

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        del is_live
        return ()

    def close(self) -> None:
        assert not self.alive


@dataclass
class Images:
    """Every profile but ``absent`` is there."""

    def find(self, ref: ImageRef) -> Image:
        if ref.name == "absent":
            raise ImageMissing("there is no image absent")
        return Image(ref.name, "sha256:0")


@dataclass
class Seen:
    """An observer that remembers; ``error`` is raised by every output."""

    events: list[Event] = field(default_factory=list)
    output_bytes: bytes = b""
    error: Exception | None = None

    def event(self, record: Record) -> None:
        self.events.append(record.event)

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        assert step
        assert attempt
        assert stream
        if self.error:
            raise self.error
        self.output_bytes += data


def napping(seconds: float, code: int = 0) -> Script:
    def nap(_: Inside) -> int:
        time.sleep(seconds)
        return code

    return nap


def succeed(_: Inside) -> int:
    return 0


def step(name: str, *needs: str, **more: Any) -> PlannedStep:
    fields: dict[str, Any] = {
        "id": name,
        "step": name.partition("[")[0],
        "needs": needs,
        "image": ImageRef("profile", "minimal"),
        "argv": ("true",),
        "env": {},
        "condition": "",
        "mounts": (),
        "limits": LIMITS,
        "inputs": (),
        "outputs": (),
        "secrets": (),
        "timeout": 60.0,
        "grace": 1.0,
        "retry": Retry(),
        "effects": "none",
    }
    return PlannedStep(**{**fields, **more})


@dataclass
class Bench:
    """One run on a fresh table."""

    folder: Path
    stores: MemoryStores
    observer: Seen = field(default_factory=Seen)
    cancellation: Cancellation = field(default_factory=Cancellation)
    abandonment: Cancellation = field(default_factory=Cancellation)
    driver: ScriptedDriver = field(default_factory=ScriptedDriver)

    def run(self, driver: ScriptedDriver, *steps: PlannedStep, lanes: int = 4) -> Run:
        self.driver = driver
        plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {one.id: one for one in steps})
        if not self.stores.records:
            self.stores.append([RunCreated("w", "staging", driver.name, "d", "p")])
        work = Work(
            run="r1",
            plan=plan,
            driver=driver,
            images=Images(),
            stores=self.stores.stores(),
            observer=self.observer,
            clock=SystemClock(),
            cancellation=self.cancellation,
            abandonment=self.abandonment,
            folder=self.folder,
            lanes=lanes,
        )
        return execute(work, list(self.stores.records))

    def events(self, kind: type) -> list[Any]:
        return [record.event for record in self.stores.records if isinstance(record.event, kind)]


@contextmanager
def fresh(folder: Path) -> Iterator[Bench]:
    """Give a bench below ``folder``, and see that its run leaves nothing and no sandboxes shared a folder."""
    kept = folder / "kept"
    kept.mkdir()
    made = Bench(folder / "run", MemoryStores(kept))
    yield made
    assert not made.driver.alive
    assert not made.driver.shared
    assert not made.folder.exists()
    assert not [one.name for one in threading.enumerate() if one.name.startswith(("lane", "park"))]
