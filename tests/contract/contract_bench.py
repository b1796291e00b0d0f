"""What the contract suite runs single attempts with, on any driver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.sandbox.base import Exit, Image, Limits, Message, Outlet, SandboxSpec, SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runner.sandbox.base import Carrier, Collection, Driver, Sandbox

MIB = 1 << 20
STATE = os.urandom(8).hex()  # what another run of the tests makes on this engine is not ours
LIMITS = Limits(64 * MIB, 1, 32, 64, 4 * MIB, MIB, 4 * MIB, 4 * MIB, 64 * MIB)
PATH = {"PATH": "/bin:/usr/bin:/sbin:/usr/sbin", "HOME": "/work", "TMPDIR": "/tmp"}
_PORTABLE = {
    "exit": 'exit "$1"',
    "sleep": 'sleep "$1"',
    "echo": 'echo "$1"',
    "write": 'printf %s "$2" > "/out/$1"',
    "copy": 'cat "/in/$1" > "/out/$2"',
    "send": 'printf %s "$2" | nc 127.0.0.1 "$1"',
}


@dataclass(frozen=True, slots=True)
class Result:
    """What one attempt left behind."""

    exit: Exit
    stdout: str
    stderr: str
    collection: Collection

    def file(self, name: str) -> bytes:
        return next(found.path.read_bytes() for found in self.collection.files if found.name == name)


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt as a test wants it."""

    inputs: Mapping[str, Path] | None = None
    secrets: tuple[SecretValue, ...] = ()
    seconds: float = 60
    grace: float = 2
    limits: Limits = LIMITS
    env: Mapping[str, str] | None = None
    outlets: tuple[Outlet, ...] = ()
    carrier: Carrier | None = None


class Bench:
    """A driver and the means to run single attempts on it."""

    def __init__(self, driver: Driver, image: Image, home: Path) -> None:
        self.driver = driver
        self.image = image
        self.home = home
        self._number = 0

    def spec(self, limits: Limits = LIMITS, outlets: tuple[Outlet, ...] = ()) -> SandboxSpec:
        self._number += 1
        folder = self.home / "runs" / "contract" / str(self._number)
        name = f"s{self._number}"
        return SandboxSpec("contract", name, 1, self.image, (), limits, folder, outlets=outlets)

    def argv(self, *words: str) -> tuple[str, ...]:
        if self.driver.name == "fake" or words[0] not in _PORTABLE:
            return words
        return ("sh", "-c", _PORTABLE[words[0]], "sh", *words[1:])

    def message(self, argv: tuple[str, ...], order: Order) -> Message:
        env = {**PATH, **(order.env or {})}
        return Message(argv, env, order.secrets, order.inputs or {}, order.seconds, order.grace)

    def run(
        self, *words: str, order: Order | None = None, then: Callable[[Sandbox], None] | None = None
    ) -> Result:
        order = order or Order()
        sandbox = self.driver.create(self.spec(order.limits, order.outlets))
        try:
            sandbox.start(self.message(self.argv(*words), order), order.carrier)
            if then:
                then(sandbox)
            written = {"stdout": b"", "stderr": b""}
            for chunk in sandbox.logs():
                written[chunk.stream] += bytes(chunk.data)
            ended = sandbox.wait()
            collection = sandbox.collect(["**"])
        finally:
            sandbox.destroy()
        return Result(ended, written["stdout"].decode(), written["stderr"].decode(), collection)

    def shell(self, script: str, order: Order | None = None) -> Result:
        return self.run("sh", "-c", script, order=order)
