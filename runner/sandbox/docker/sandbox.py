"""One attempt's container, from its message to its removal."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.clock import Deadline, SystemClock
from runner.errors import SandboxError
from runner.sandbox.base import STDERR, STDOUT, Chunk, Collection, Exit, Usage
from runner.sandbox.collect import Caps, collect_directory
from runner.sandbox.docker.container import remove_container
from runner.sandbox.groups import groups_of, usage_of
from runner.sandbox.verdict import Evidence, judge
from runner.sandbox.wire import (
    END,
    HELLO,
    VERSION,
    End,
    decode_end,
    encode_kill,
    encode_message,
)
from runner.sandbox.wire import STDERR as ERR_FRAME
from runner.sandbox.wire import STDOUT as OUT_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runner.sandbox.attempt_folder import AttemptFolder
    from runner.sandbox.base import Carrier, Message, SandboxSpec
    from runner.sandbox.docker.api import EngineApi
    from runner.sandbox.docker.container import Running
    from runner.sandbox.docker.removals import Removals

_READY = 30.0
_POLL = 1.0
_LOOK = 0.25
_MARGIN = 2.0
_BACKSTOP = 5.0
_CONFIRM = 15.0
_STREAMS = {OUT_FRAME: STDOUT, ERR_FRAME: STDERR}


class DockerSandbox:
    """A container whose PID 1 waits for its message."""

    def __init__(
        self,
        spec: SandboxSpec,
        api: EngineApi,
        running: Running,
        folder: AttemptFolder,
        removals: Removals,
    ) -> None:
        self._spec = spec
        self._api = api
        self._running = running
        self._folder = folder
        self._removals = removals
        self._deadline: Deadline | None = None
        self._final: End | None = None
        self._exit: Exit | None = None
        self._dead = threading.Event()
        self._over_output = threading.Event()
        self._overdue = False
        self._stopped = False
        self._destroyed = False
        self._groups: Mapping[str, Path] | None = None

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        """Wait until PID 1 is ready, lay out the inputs, and send the message."""
        self._await_hello()
        self._folder.place_inputs(message.inputs)
        seconds = message.seconds + message.grace + _BACKSTOP
        self._deadline = Deadline.after(seconds, SystemClock())
        way = self._folder.way
        if way:
            way.begin(carrier, self._running.wire.send)
        try:
            self._running.wire.send(way.encode(message) if way else encode_message(message))
        except OSError as error:
            raise SandboxError(f"the waiting sandbox was lost: {error}") from error
        if not self._folder.in_memory:
            threading.Thread(target=self._watch_output, name="output-watch", daemon=True).start()

    def logs(self) -> Iterator[Chunk]:
        """Yield what the step writes until the container's stream ends."""
        while (frames := self._receive()) is not None:
            for kind, payload in frames:
                stream = _STREAMS.get(kind)
                if stream:
                    yield Chunk(stream, payload)
                elif kind == END:
                    self._final = decode_end(payload)
                elif self._folder.way:
                    self._folder.way.take(kind, payload)

    def wait(self) -> Exit:
        """Return the engine's verdict; drains whatever nobody read."""
        if self._exit is None:
            for _ in self.logs():
                pass
            code = self._confirmed_code()
            self._dead.set()
            self._running.wire.close()
            self._running.exit.close()
            if self._folder.way:
                self._folder.way.end()
            self._exit = judge(
                Evidence(
                    code=code,
                    out_of_memory=bool(code) and self._out_of_memory(),
                    final=self._final,
                    over_output=self._over_output.is_set() or self._folder.over_limit,
                    overdue=self._overdue,
                    stopped=self._stopped,
                    guarded=self._running.guarded,
                    complaint=self._running.wire.complaint,
                )
            )
        return self._exit

    def stop(self, *, grace: float) -> None:
        """Send TERM, then KILL after ``grace`` seconds, then let the engine kill."""
        if not self._dead.is_set():
            self._stopped = True
            threading.Thread(target=self._end, args=(grace,), name="stop", daemon=True).start()

    def collect(self, patterns: Sequence[str]) -> Collection:
        """Take the files under ``/out`` that match."""
        if not self._dead.is_set():
            raise SandboxError("results can be collected only from a dead sandbox")
        if self._exit and self._exit.code is None:  # what may still live may still write
            return Collection((), ("/out: the engine did not confirm the sandbox's end",))
        caps = Caps(size=self._spec.limits.output)
        return collect_directory(self._folder.out, patterns, caps, self._spec.directory / "collected")

    def usage(self) -> Usage:
        """Return what the container's control groups say, if they are on this machine.

        gVisor's own threads are counted with the step's: of processes nothing is known there.
        """
        if self._groups is None:
            self._groups = self._find_groups()
        found = usage_of(self._groups)
        return found if self._running.guarded else replace(found, processes=None)

    def _find_groups(self) -> Mapping[str, Path]:
        process = self._state().get("Pid")
        found = groups_of(process).counted if isinstance(process, int) and process else {}
        # the engine may be on another machine, where this number means something else
        return {name: path for name, path in found.items() if self._running.container in str(path)}

    def destroy(self) -> None:
        """Hang up, give the folder back, and remove the container in the background."""
        if self._destroyed:
            return
        self._destroyed = True
        was_dead = self._dead.is_set()
        self._dead.set()
        self._running.wire.close()
        self._running.exit.close()
        self._folder.release()
        self._removals.submit(lambda: self._remove(was_dead=was_dead))

    def _remove(self, *, was_dead: bool) -> None:
        remove_container(self._api, self._running.container, self._running.start)
        if not was_dead:
            self._folder.release()

    def _await_hello(self) -> None:
        try:
            frames = self._running.wire.receive(_READY)
            while frames == []:
                frames = self._running.wire.receive(_READY)
        except TimeoutError as error:
            raise SandboxError(f"the sandbox did not become ready: {error}") from error
        if not frames or frames[0][0] != HELLO:
            raise SandboxError(f"the waiting sandbox was lost {self._running.wire.complaint}".strip())
        if int.from_bytes(frames[0][1], "big") != VERSION:
            raise SandboxError("sandbox-init speaks another version of the protocol")

    def _receive(self) -> list[tuple[int, bytes]] | None:
        while True:
            try:
                return self._running.wire.receive(_POLL)
            except TimeoutError:
                self._heed_deadline()
            except SandboxError:  # no frame of ours
                self._running.wire.close()
                self._kill()
                return None

    def _heed_deadline(self) -> None:
        """Kill what PID 1 should have killed; what even the engine cannot kill is hung up on."""
        if self._deadline is None or not self._deadline.passed:
            return
        if not self._overdue:
            self._overdue = True
            self._kill()
            self._deadline = Deadline.after(_CONFIRM, self._deadline.clock)
        else:
            self._running.wire.close()

    def _confirmed_code(self) -> int | None:
        code = self._running.exit.code(_CONFIRM)
        if code is None:
            self._kill()
            code = self._state_code()
        return code

    def _state_code(self) -> int | None:
        """Ask the engine again, for a promise that was broken by a lost connection."""
        for _ in range(20):
            state = self._state()
            if state and not state.get("Running", True):
                return int(str(state["ExitCode"]))
            self._dead.wait(_LOOK)
        return None

    def _state(self) -> dict[str, object]:
        try:
            answer = self._api.ask("GET", f"/containers/{self._running.container}/json")
        except SandboxError:
            return {}
        state: dict[str, object] = answer.body.get("State", {}) if isinstance(answer.body, dict) else {}
        return state

    def _out_of_memory(self) -> bool:
        return bool(self._state().get("OOMKilled"))

    def _end(self, grace: float) -> None:
        if self._deadline is None:  # nothing runs yet
            self._running.wire.close()
        elif grace > 0:
            self._signal(signal.SIGTERM)
            self._dead.wait(grace)
        if not self._dead.is_set():
            self._signal(signal.SIGKILL)
        if not self._dead.wait(_MARGIN):
            self._kill()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._running.wire.send(encode_kill(number))

    def _kill(self) -> None:
        try:
            self._api.kill(self._running.container)
        except SandboxError:  # the engine is busy writing to a stream that nobody reads
            self._running.wire.close()

    def _watch_output(self) -> None:
        while not self._dead.wait(_LOOK):
            if self._folder.over_limit:
                self._over_output.set()
                self.stop(grace=0)
                return
