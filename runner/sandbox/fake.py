"""A driver that isolates nothing because it runs nothing: outcomes are written down beforehand.

A step without a scripted outcome is interpreted: ``true``, ``false``, ``exit N``, ``sleep SECONDS``,
``echo TEXT``, ``write NAME TEXT``, ``copy INPUT NAME``, ``send PORT TEXT`` (to an outlet, and prints the
answer); any other command cannot be started (127).
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.base import STDOUT, Capabilities, Chunk, Collection, Exit, Usage
from runner.sandbox.collect import Caps, collect_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from runner.sandbox.base import Carrier, Message, SandboxSpec

_TERMINATED, _KILLED, _TIMED_OUT, _NOT_FOUND = 143, 137, 124, 127


@dataclass(frozen=True, slots=True)
class FakeOutcome:
    """How one attempt goes: after ``delay`` seconds it has written ``chunks`` and ``files`` and ends.

    ``reason`` defaults to ``exit`` for a code that is not 0. ``lost_at`` (``create`` or ``start``) raises
    ``SandboxError`` there instead. ``ignores_term``: only KILL ends it.
    """

    code: int | None = 0
    reason: str | None = None
    detail: str = ""
    chunks: tuple[Chunk, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    delay: float = 0.0
    lost_at: str = ""
    ignores_term: bool = False


class FakeDriver:
    """Plays ``script``: step id → the outcomes of its attempts in order; then commands are interpreted.

    ``specs`` and ``messages`` tell a test what was asked for, ``alive`` what was not destroyed.
    """

    name = "fake"

    def __init__(self, script: Mapping[str, Sequence[FakeOutcome]] | None = None) -> None:
        self._script = {step: list(outcomes) for step, outcomes in (script or {}).items()}
        self._lock = threading.Lock()
        self.specs: list[SandboxSpec] = []
        self.messages: list[tuple[SandboxSpec, Message]] = []
        self.alive: list[FakeSandbox] = []
        self.running = 0
        self.most_at_once = 0
        self.closed = False

    def check(self) -> Capabilities:
        """Return no gaps."""
        return Capabilities(self.name, "1")

    def create(self, spec: SandboxSpec) -> FakeSandbox:
        """Make a sandbox for the step's next scripted outcome; raises ``SandboxError`` when it says so."""
        with self._lock:
            self.specs.append(spec)
            outcomes = self._script.get(spec.step)
            outcome = outcomes.pop(0) if outcomes else None
            if outcome and outcome.lost_at == "create":
                raise SandboxError("the engine lost the sandbox before it was made")
            sandbox = FakeSandbox(self, spec, outcome)
            self.alive.append(sandbox)
            return sandbox

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Forget the sandboxes of runs that are not alive."""
        with self._lock:
            gone = [sandbox for sandbox in self.alive if not is_live(sandbox.spec.run)]
        for sandbox in gone:
            sandbox.destroy()
        return tuple(f"{sandbox.spec.run}/{sandbox.spec.step}" for sandbox in gone)

    def close(self) -> None:
        """Note that nobody needs the driver any more."""
        self.closed = True

    def begin(self, spec: SandboxSpec, message: Message) -> None:
        """Count a step that starts."""
        with self._lock:
            self.messages.append((spec, message))
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)

    def end(self) -> None:
        """Count a step that ended."""
        with self._lock:
            self.running -= 1

    def forget(self, sandbox: FakeSandbox) -> None:
        """Drop a destroyed sandbox."""
        with self._lock:
            if sandbox in self.alive:
                self.alive.remove(sandbox)


class FakeSandbox:
    """One attempt that only seems to run."""

    def __init__(self, driver: FakeDriver, spec: SandboxSpec, outcome: FakeOutcome | None) -> None:
        self.spec = spec
        self._driver = driver
        self._outcome = outcome
        self._message: Message | None = None
        self._stop = threading.Event()
        self._grace = 0.0
        self._exit: Exit | None = None
        self._collections = 0

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        """Take the message; raises ``SandboxError`` when the script says that the sandbox is lost."""
        if self._outcome is None and message.argv[0] == "send" and carrier:
            self._outcome = _exchange(self.spec, carrier, *message.argv[1:])
        if self._outcome is None:
            self._outcome = interpret(message.argv, message.inputs)
        if self._outcome.lost_at == "start":
            raise SandboxError("the waiting sandbox was lost")
        self._message = message
        self._driver.begin(self.spec, message)

    def logs(self) -> Iterator[Chunk]:
        """Yield the outcome's chunks after its delay."""
        if self._exit is None:
            yield from self._run()

    def wait(self) -> Exit:
        """Return how it ended."""
        for _ in self.logs():
            pass
        return self._exit or Exit(_KILLED, "infra", "it never started")

    def stop(self, *, grace: float) -> None:
        """End the delay."""
        self._grace = grace
        self._stop.set()

    def collect(self, patterns: Sequence[str]) -> Collection:
        """Write the outcome's files and take those that match."""
        if self._exit is None or self._outcome is None:
            raise SandboxError("results can be collected only from a dead sandbox")
        out = self.spec.directory / "out"
        for name, content in self._outcome.files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        out.mkdir(parents=True, exist_ok=True)
        self._collections += 1
        into = self.spec.directory / f"collected-{self._collections}"
        return collect_directory(out, patterns, Caps(size=self.spec.limits.output), into)

    def usage(self) -> Usage:
        """Return that nothing is known."""
        return Usage()

    def destroy(self) -> None:
        """Disappear."""
        self.stop(grace=0)
        self._driver.forget(self)

    def _run(self) -> Iterator[Chunk]:
        outcome, message = self._outcome, self._message
        if outcome is None or message is None:
            self._exit = Exit(_KILLED, "infra", "the sandbox was lost before it started")
            return
        stopped = self._stop.wait(min(outcome.delay, message.seconds)) if outcome.delay else False
        self._exit = self._verdict(outcome, message, stopped=stopped)
        self._driver.end()
        yield from outcome.chunks

    def _verdict(self, outcome: FakeOutcome, message: Message, *, stopped: bool) -> Exit:
        if stopped:
            by_force = outcome.ignores_term or self._grace <= 0
            return Exit(_KILLED if by_force else _TERMINATED, "exit", "the step was stopped")
        if outcome.delay > message.seconds:
            return Exit(_TIMED_OUT, "timeout", "the step ran longer than its timeout")
        reason = outcome.reason or ("exit" if outcome.code else None)
        return Exit(outcome.code, reason, outcome.detail or (f"exit status {outcome.code}" if reason else ""))


def _exchange(spec: SandboxSpec, carrier: Carrier, port: str, text: str) -> FakeOutcome:
    ports = [str(outlet.port) for outlet in spec.outlets]
    if port not in ports:
        return FakeOutcome(code=1)
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as answer:
        carrier.carry(ports.index(port), theirs)
        ours.sendall(text.encode())
        ours.shutdown(socket.SHUT_WR)
        return FakeOutcome(chunks=(Chunk(STDOUT, answer.read()),))


def interpret(argv: Sequence[str], inputs: Mapping[str, Path]) -> FakeOutcome:
    """Return what one of the few known commands would do; code 127 for any other."""
    match tuple(argv):
        case ("true",):
            outcome = FakeOutcome()
        case ("false",):
            outcome = FakeOutcome(code=1)
        case ("exit", code):
            outcome = FakeOutcome(code=int(code))
        case ("sleep", seconds):
            outcome = FakeOutcome(delay=float(seconds))
        case ("echo", text):
            outcome = FakeOutcome(chunks=(Chunk(STDOUT, f"{text}\n".encode()),))
        case ("write", name, text):
            outcome = FakeOutcome(files={name: text.encode()})
        case ("copy", source, name) if source in inputs:
            outcome = FakeOutcome(files={name: inputs[source].read_bytes()})
        case _:
            outcome = FakeOutcome(
                code=_NOT_FOUND, detail="the command cannot be started: No such file or directory"
            )
    return outcome
