"""The protocol between the engine and whatever isolates a step, and the data that crosses it.

Call order: ``Driver.check`` once; then per attempt ``create → start → logs → wait → collect → destroy``.
``stop`` may come at any time from another thread. ``stop`` and ``destroy`` may be called twice.
Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

STDOUT = "stdout"
STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandbox may use: bytes, CPUs, processes, open files."""

    memory: int
    cpus: float
    pids: int
    files: int
    tmp: int
    shm: int
    work: int
    output: int
    log: int


@dataclass(frozen=True, slots=True)
class Mount:
    """A read-only snapshot: ``source`` on the host, ``target`` inside, ``digest`` of its content."""

    source: Path
    target: str
    digest: str


@dataclass(frozen=True, slots=True)
class Image:
    """A root file system, found and verified.

    ``name`` is what the author wrote; ``digest`` is ``sha256:…`` of the image configuration, or
    ``host:`` for the host's system folders; ``rootfs`` is the unpacked tree (bubblewrap), ``reference``
    what the engine calls it (Docker). ``packages`` is a tree of Python packages that it has beside its own.
    """

    name: str
    digest: str
    rootfs: Path | None = None
    reference: str = ""
    packages: Path | None = None


@dataclass(frozen=True, slots=True)
class Outlet:
    """A port on a sandbox's own loopback whose connections are carried out to a ``Carrier``.

    ``host`` is the name that ``/etc/hosts`` inside gives ``address``, empty for the proxy itself.
    """

    address: str
    port: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox, complete. Nothing in it is secret: engines write it to disk and show it to others.

    ``phase`` is ``run`` or ``compensate``: both count their attempts from 1.
    ``directory`` is the attempt's own folder on the host; the driver makes ``in`` and ``out`` in it.
    Each has a loopback of its own; without ``outlets`` nothing leads out of it.
    """

    run: str
    step: str
    attempt: int
    image: Image
    mounts: tuple[Mount, ...]
    limits: Limits
    directory: Path
    phase: str = "run"
    outlets: tuple[Outlet, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A secret on its way into a sandbox: a file under ``/run/secrets``, on request in the environment."""

    name: str
    value: bytes = field(repr=False)
    as_env: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What a waiting sandbox is told to do; ``inputs`` maps names under ``/in`` to files on the host."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    secrets: tuple[SecretValue, ...]
    inputs: Mapping[str, Path]
    seconds: float
    grace: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that the step wrote to ``stdout`` or ``stderr``, in order of arrival, cut anywhere."""

    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """How a sandbox ended, as the engine confirmed it.

    ``code`` is the exit status (128 + signal for a signal) or None. ``reason`` is None for status 0, else
    ``exit``, ``timeout``, ``out-of-memory``, ``output-limit`` or ``infra``; ``detail`` says it in words.
    ``refused``: nothing of the step ran, and another sandbox like this one would be refused alike.
    """

    code: int | None
    reason: str | None
    detail: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """The most that a sandbox has used so far: bytes and processes (threads too), ours among them.

    None: this engine cannot tell. ``peaks`` is False where the kernel keeps no peak, and this is a sample.
    """

    memory: int | None = None
    processes: int | None = None
    peaks: bool = True


@dataclass(frozen=True, slots=True)
class Collected:
    """A result file taken out of a dead sandbox: ``name`` relative to ``/out``, now at ``path``."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Collection:
    """What was taken (``files``) and what was refused and why, in words (``refused``)."""

    files: tuple[Collected, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that this engine cannot do here: which limit or feature, why, and the cure."""

    what: str
    why: str
    cure: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine is and cannot do; ``gaps`` is empty on a well-kept machine."""

    engine: str
    version: str
    gaps: tuple[Gap, ...] = ()


class Carrier(Protocol):
    """Takes over the connections that one sandbox makes to its outlets."""

    def carry(self, outlet: int, connection: socket.socket) -> None:
        """Own a connection to the spec's outlet number ``outlet``; returns at once. Called from many threads.

        ``connection`` is a connected stream socket that carries the step's bytes and nothing else.
        """
        ...


class Sandbox(Protocol):
    """One attempt's sandbox. It runs nothing before ``start``."""

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        """Give the message; called once. Raises ``SandboxError`` when the sandbox is lost: nothing ran.

        ``carrier`` is there when the spec has outlets, which accept before the step's first instruction.
        """
        ...

    def logs(self) -> Iterator[Chunk]:
        """Yield what the step writes until nothing in the sandbox can write any more."""
        ...

    def wait(self) -> Exit:
        """Return when the engine confirms that everything in the sandbox is dead; after ``logs``."""
        ...

    def stop(self, *, grace: float) -> None:
        """Ask the step to end (TERM), and kill everything after ``grace`` seconds; returns at once."""
        ...

    def collect(self, patterns: Sequence[str]) -> Collection:
        """Take the files under ``/out`` that match; only after ``wait``."""
        ...

    def usage(self) -> Usage:
        """Return what was used so far, from any thread, between ``start`` and ``destroy``; never raises.

        Where the kernel forgets with the sandbox's end, nothing is known after it: ask before, and often.
        """
        ...

    def destroy(self) -> None:
        """Remove every trace on the engine; the attempt's folder stays the caller's."""
        ...


class Driver(Protocol):
    """An engine that makes sandboxes."""

    name: str

    def check(self) -> Capabilities:
        """Say what this engine can do; raises ``EngineUnavailable`` with the cure when it does not answer."""
        ...

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox that waits for its message. May be called ahead of need, from any thread."""
        ...

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove what carries our state id and whose run is not live; return what was removed.

        ``is_live`` is asked about a run after its things were found: a run that starts meanwhile is safe.
        """
        ...

    def close(self) -> None:
        """Remove what this driver holds beside sandboxes, and wait for removals under way."""
        ...
