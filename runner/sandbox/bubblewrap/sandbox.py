"""One attempt under bubblewrap, from its message to its removal."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.sandbox.base import STDERR, STDOUT, Chunk, Exit
from runner.sandbox.collect import Caps, collect_directory
from runner.sandbox.verdict import Evidence, judge
from runner.sandbox.wire import END, HELLO, VERSION, End, FrameReader, decode_end, encode_kill, encode_message
from runner.sandbox.wire import STDERR as ERROR_FRAME
from runner.sandbox.wire import STDOUT as OUTPUT_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.sandbox.attempt_folder import AttemptFolder
    from runner.sandbox.base import Carrier, Collection, Message, SandboxSpec, Usage
    from runner.sandbox.bubblewrap.cgroup import Group
    from runner.sandbox.bubblewrap.process import Process

_STREAMS = {OUTPUT_FRAME: STDOUT, ERROR_FRAME: STDERR}
_READ = 256 * 1024
_READY = 30.0
_LOOK = 0.25
_RARELY = 3600.0
_MARGIN = 2.0
_BACKSTOP = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a sandbox holds until ``destroy``; ``give_back`` returns the host user id."""

    process: Process
    group: Group
    folder: AttemptFolder
    give_back: Callable[[], None]


class BubblewrapSandbox:
    """A sandbox whose PID 1 waits for its message."""

    def __init__(self, spec: SandboxSpec, parts: Parts) -> None:
        self._spec = spec
        self._parts = parts
        self._reader = FrameReader()
        self._pending: list[tuple[int, bytes]] = []
        self._ended = False
        self._final: End | None = None
        self._exit: Exit | None = None
        self._dead = threading.Event()
        self._over_output = threading.Event()
        self._started = False
        self._stopped = False
        self._overdue = False
        self._collections = 0
        self._destroyed = False
        self._sending = threading.Lock()

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        """Wait until PID 1 is ready, lay out the inputs, and send the message."""
        self._await_hello()
        self._parts.folder.place_inputs(message.inputs)
        way = self._parts.folder.way
        if way:
            way.begin(carrier, self._send)
        try:
            self._send(way.encode(message) if way else encode_message(message))
        except OSError as error:
            raise SandboxError(f"the waiting sandbox was lost: {error}") from error
        self._started = True
        seconds = message.seconds + message.grace + _BACKSTOP
        threading.Thread(target=self._watch, args=(seconds,), name="watch", daemon=True).start()

    def logs(self) -> Iterator[Chunk]:
        """Yield what the step writes until everything in the sandbox is dead."""
        while (frames := self._receive()) is not None:
            for kind, payload in frames:
                stream = _STREAMS.get(kind)
                if stream:
                    yield Chunk(stream, payload)
                elif kind == END:
                    self._final = decode_end(payload)
                elif self._parts.folder.way:
                    self._parts.folder.way.take(kind, payload)

    def wait(self) -> Exit:
        """Return the verdict once bubblewrap has confirmed the end; drains whatever nobody read."""
        if self._exit is None:
            for _ in self.logs():
                pass
            code = self._parts.process.join()
            self._dead.set()
            if self._parts.folder.way:
                self._parts.folder.way.end()
            evidence = Evidence(
                code=code,
                out_of_memory=self._parts.group.out_of_memory,
                final=self._final,
                over_output=self._over_output.is_set() or self._parts.folder.over_limit,
                overdue=self._overdue,
                stopped=self._stopped,
                complaint="" if self._final else self._parts.process.complaint(),
            )
            self._exit = judge(evidence)
        return self._exit

    def stop(self, *, grace: float) -> None:
        """Send TERM, and kill everything after ``grace`` seconds."""
        if self._dead.is_set():
            return
        self._stopped = True
        if not self._started or grace <= 0:
            self._parts.process.kill()
            return
        threading.Thread(target=self._end, args=(grace,), name="stop", daemon=True).start()

    def collect(self, patterns: Sequence[str]) -> Collection:
        """Take the files under ``/out`` that match; raises ``SandboxError`` while anything lives."""
        if not self._dead.is_set():
            raise SandboxError("results can be collected only from a dead sandbox")
        self._collections += 1
        name = "collected" if self._collections == 1 else f"collected-{self._collections}"
        caps = Caps(size=self._spec.limits.output)
        return collect_directory(self._parts.folder.out, patterns, caps, self._spec.directory / name)

    def usage(self) -> Usage:
        """Return what the control group says, which stands until ``destroy``."""
        return self._parts.group.usage

    def destroy(self) -> None:
        """Kill what lives, and remove the control group and the folders."""
        if self._destroyed:
            return
        self._destroyed = True
        self._parts.process.close()
        self._dead.set()
        self._parts.group.remove()
        self._parts.folder.release()
        self._parts.give_back()

    def _await_hello(self) -> None:
        frames: list[tuple[int, bytes]] | None = []
        while frames == []:
            frames = self._receive(_READY)
        if not frames or frames[0][0] != HELLO:
            self._parts.process.kill()
            raise SandboxError(f"the waiting sandbox was lost: {self._parts.process.complaint()}")
        if int.from_bytes(frames[0][1], "big") != VERSION:
            raise SandboxError("sandbox-init speaks another version of the protocol")
        self._pending = frames[1:]

    def _receive(self, timeout: float | None = None) -> list[tuple[int, bytes]] | None:
        if self._pending:
            frames, self._pending = self._pending, []
            return frames
        if self._ended:
            return None
        data = self._parts.process.read(_READ, timeout)
        if not data:
            self._ended = True
            return None
        return [(kind, bytes(payload)) for kind, payload in self._reader.feed(data)]

    def _send(self, data: bytes) -> None:
        with self._sending:
            self._parts.process.send(data)

    def _end(self, grace: float) -> None:
        with contextlib.suppress(OSError):
            self._send(encode_kill(signal.SIGTERM))
        if not self._dead.wait(grace):
            self._parts.process.kill()

    def _watch(self, seconds: float) -> None:
        """Stop a step that writes too much, and kill what PID 1 should have killed at its deadline."""
        look = _RARELY if self._parts.folder.in_memory else _LOOK
        waited = 0.0
        while not self._dead.wait(min(look, seconds - waited)):
            waited += look
            if waited >= seconds:
                self._overdue = True
                self._parts.process.kill()
                return
            if self._parts.folder.over_limit:
                self._over_output.set()
                self._parts.process.kill()
                return
