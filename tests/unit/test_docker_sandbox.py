"""What one container's life means where the engine does not answer as it should."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, cast

from runner.sandbox.attempt_folder import AttemptFolder
from runner.sandbox.base import Image, Limits, SandboxSpec
from runner.sandbox.docker.api import Answer, EngineApi
from runner.sandbox.docker.container import Running
from runner.sandbox.docker.removals import Removals
from runner.sandbox.docker.sandbox import DockerSandbox
from runner.sandbox.docker.stream import Wire

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.docker.api import PendingExit, Question

MIB = 1024 * 1024
LIMITS = Limits(memory=MIB, cpus=1.0, pids=8, files=64, tmp=MIB, shm=MIB, work=MIB, output=300 * MIB, log=MIB)


class Silent:
    """An engine that broke its promise to tell the exit."""

    def code(self, seconds: float) -> int | None:
        return None if seconds else 0

    def close(self) -> None:
        pass


class Settled:
    """A start that was answered."""

    def settle(self) -> None:
        pass


class Vague(EngineApi):
    """An engine that never says that the container has stopped, as soon as it is asked."""

    def kill(self, container: str) -> Answer:
        return Answer(204, container)

    def ask(self, method: str, path: str, body: object = None, timeout: float | None = None) -> Answer:
        return Answer(200, {"State": {"Running": True, "Asked": (method, path, body, timeout)}})


def test_nothing_is_taken_from_a_sandbox_that_may_still_live(tmp_path: Path) -> None:
    spec = SandboxSpec("run", "step", 1, Image("i", "sha256:1"), (), LIMITS, tmp_path)
    folder = AttemptFolder(tmp_path, LIMITS, os.geteuid(), os.getegid())
    folder.prepare()
    (folder.out / "result").write_text("not yet final")
    near, far = socket.socketpair()
    far.close()
    running = Running("c", Wire(near, b""), cast("PendingExit", Silent()), cast("Question", Settled()))
    sandbox = DockerSandbox(spec, Vague("/nowhere"), running, folder, Removals())
    assert sandbox.wait().reason == "infra"
    found = sandbox.collect(["result"])
    assert not found.files
    assert "did not confirm" in found.refused[0]
    folder.release()
