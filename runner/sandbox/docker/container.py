"""Making, starting and removing containers, whatever was left under their names."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.sandbox.docker import translate
from runner.sandbox.docker.stream import Wire

if TYPE_CHECKING:
    from runner.sandbox.docker.api import EngineApi, PendingExit, Question

_ERROR = 400
_NOT_FOUND = 404
_CONFLICT = 409
_PATIENCE = 15.0
_PAUSE = 0.05
_START = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A started container: its id, its byte stream, and the engine's promise to tell its exit.

    ``guarded``: its kernel lets no step kill PID 1; gVisor's does. ``start`` may be unanswered as yet.
    """

    container: str
    wire: Wire
    exit: PendingExit
    start: Question
    guarded: bool = True


def create_container(api: EngineApi, name: str, request: dict[str, Any]) -> str:
    """Create and return the id; what a crash of ours left under this name goes first."""
    until = time.monotonic() + _PATIENCE
    while True:
        answer = api.create(name, request)
        if answer.status < _ERROR:
            return str(answer.body["Id"])
        if answer.status != _CONFLICT or time.monotonic() > until:
            raise translate.refused(answer.status, answer.message, "create a container")
        if _belongs(api, name, request):
            api.remove(name)
        time.sleep(_PAUSE)


def begin_container(api: EngineApi, container: str) -> Running:
    """Attach to a created container, ask for its exit, and for its start; on failure nothing is left."""
    with ExitStack() as undo:
        undo.callback(api.remove, container)
        wire = Wire(*api.attach(container))
        undo.callback(wire.close)
        promise = api.pending_exit(container)
        undo.callback(promise.close)
        start = api.begin("POST", f"/containers/{container}/start")
        undo.pop_all()
    return Running(container, wire, promise, start)


def await_start(api: EngineApi, running: Running) -> None:
    """Return when PID 1 is there, which it says before the engine does; on failure nothing is left."""
    with ExitStack() as undo:
        undo.callback(remove_container, api, running.container, running.start)
        undo.callback(running.wire.close)
        undo.callback(running.exit.close)
        if not running.wire.speaks_before(running.start.fileno(), _START):
            answer = running.start.answer()
            if answer.status >= _ERROR:
                raise translate.refused(answer.status, answer.message, "start a container")
        undo.pop_all()


def remove_container(api: EngineApi, container: str, start: Question | None = None) -> None:
    """Remove, once its ``start`` is answered, and return when the container is gone.

    Raises ``SandboxError`` when it stays.
    """
    if start:
        start.settle()
    until = time.monotonic() + _PATIENCE
    while True:
        answer = api.remove(container)
        if answer.status < _ERROR or answer.status == _NOT_FOUND:
            return
        if time.monotonic() > until:
            raise translate.refused(answer.status, answer.message, "remove a container")
        time.sleep(_PAUSE)


def _belongs(api: EngineApi, name: str, request: dict[str, Any]) -> bool:
    answer = api.ask("GET", f"/containers/{name}/json")
    if answer.status >= _ERROR:
        return False
    theirs = answer.body["Config"]["Labels"] or {}
    return bool(theirs.get("runner.state") == request["Labels"]["runner.state"])
