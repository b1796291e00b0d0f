"""The Docker Engine's HTTP interface on its unix socket, as far as Runner needs it.

Raw HTTP/1.0, whose answers end where the stream ends: the engine's client library takes 150 ms to import,
the standard one 20. Reference: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from runner.errors import SandboxError
from runner.sandbox.docker import translate

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT = "unix:///var/run/docker.sock"
_UPGRADED = 101
_ERROR = 400
_HEAD_LIMIT = 65536
_PIECE = 65536


def engine_address(environment: Mapping[str, str]) -> str:
    """Return the path of the engine's socket; raises ``EngineUnavailable`` for a remote engine."""
    address = environment.get("DOCKER_HOST") or _DEFAULT
    if not address.startswith("unix://"):
        raise translate.unsupported_address(address)
    path = address.removeprefix("unix://")
    rootless = Path(environment.get("XDG_RUNTIME_DIR", "/nonexistent")) / "docker.sock"
    if address == _DEFAULT and not Path(path).exists() and rootless.exists():
        return str(rootless)
    return path


def open_socket(path: str, timeout: float) -> socket.socket:
    """Return a connected unix socket; raises ``OSError``."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(timeout)
    try:
        opened.connect(path)
    except OSError:
        opened.close()
        raise
    return opened


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine answered: HTTP ``status`` and the decoded ``body``."""

    status: int
    body: Any

    @property
    def message(self) -> str:
        """The engine's own words about an error."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else ""


class Question:
    """A request that is on its way: whoever needs the answer waits for it, and works until then."""

    def __init__(self, path: str, request: bytes, timeout: float) -> None:
        """Send ``request`` to the socket at ``path``; raises ``EngineUnavailable``."""
        self._path = path
        try:
            self._stream = open_socket(path, timeout)
        except OSError as error:
            raise translate.unreachable(error, path) from error
        try:
            self._stream.sendall(request)
        except OSError as error:
            self._stream.close()
            raise translate.unreachable(error, path) from error

    def answer(self) -> Answer:
        """Return the answer, whatever its status; raises ``EngineUnavailable``."""
        try:
            status, content = _read_head(self._stream)
            return Answer(status, _decode(status, content + _read_rest(self._stream)))
        except (OSError, ValueError) as error:
            raise translate.unreachable(error, self._path) from error
        finally:
            self._stream.close()

    def need(self, what: str) -> Any:  # noqa: ANN401 - JSON
        """Return the answer's body; raises ``SandboxError`` when the engine refuses ``what``."""
        answer = self.answer()
        if answer.status >= _ERROR:
            raise translate.refused(answer.status, answer.message, what)
        return answer.body

    def settle(self) -> None:
        """Wait for an answer that nobody has read, whatever it is: hanging up could undo what was asked."""
        if self.fileno() >= 0:
            with contextlib.suppress(SandboxError):
                self.answer()

    def fileno(self) -> int:
        """Return the descriptor that is readable once the answer comes; -1 when it was read."""
        return self._stream.fileno()

    def promise(self) -> PendingExit:
        """Return once the engine has taken the request in; raises ``EngineUnavailable``."""
        try:
            _, content = _read_head(self._stream)
        except (OSError, ValueError) as error:
            self._stream.close()
            raise translate.unreachable(error, self._path) from error
        return PendingExit(self._stream, content)


class PendingExit:
    """The engine's promise, asked for before the start, to say when a container has exited."""

    def __init__(self, stream: socket.socket, already: bytes) -> None:
        """Take the stream of an answer whose head has been read."""
        self._stream = stream
        self._already = already

    def code(self, seconds: float) -> int | None:
        """Return the exit code, or None when the engine did not say within ``seconds`` or was lost."""
        try:
            self._stream.settimeout(seconds)
            return int(json.loads(self._already + _read_rest(self._stream))["StatusCode"])
        except (OSError, ValueError, KeyError):
            return None

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


class EngineApi:
    """Calls to one engine; every call has a time limit in seconds. Raises ``EngineUnavailable``."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        self.path = path
        self._timeout = timeout

    def begin(self, method: str, path: str, body: object = None, timeout: float | None = None) -> Question:
        """Send one request, and return without waiting for its answer."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        return Question(self.path, head.encode() + data, timeout or self._timeout)

    def ask(self, method: str, path: str, body: object = None, timeout: float | None = None) -> Answer:
        """Send one request and return the answer, whatever its status."""
        return self.begin(method, path, body, timeout).answer()

    def need(self, method: str, path: str, what: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request and return its body; raises ``SandboxError`` when the engine refuses ``what``."""
        return self.begin(method, path, body).need(what)

    def create(self, name: str, request: object) -> Answer:
        """Create a container called ``name``."""
        return self.ask("POST", f"/containers/create?name={quote(name)}", request)

    def remove(self, container: str, timeout: float = 60.0) -> Answer:
        """Kill and remove a container with its volumes."""
        return self.ask("DELETE", f"/containers/{quote(container)}?force=1&v=1", timeout=timeout)

    def kill(self, container: str) -> Answer:
        """Kill everything in a container."""
        return self.ask("POST", f"/containers/{quote(container)}/kill?signal=KILL", timeout=10.0)

    def containers(self, label: str) -> list[dict[str, Any]]:
        """List all containers, dead ones too, that carry ``label`` (``key=value``)."""
        query = urlencode({"all": "1", "filters": json.dumps({"label": [label]})})
        found: list[dict[str, Any]] = self.need("GET", f"/containers/json?{query}", "list containers")
        return found

    def pending_exit(self, container: str) -> PendingExit:
        """Ask to be told of the next exit of a container that has not been started."""
        return self.begin("POST", f"/containers/{quote(container)}/wait?condition=next-exit").promise()

    def attach(self, container: str) -> tuple[socket.socket, bytes]:
        """Return the two-way byte stream of a container, and what of it has already come."""
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        head = (
            f"POST /containers/{quote(container)}/attach?{query} HTTP/1.1\r\nHost: engine\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            stream = open_socket(self.path, self._timeout)
        except OSError as error:
            raise translate.unreachable(error, self.path) from error
        try:
            stream.sendall(head.encode())
            status, rest = _read_head(stream)
        except (OSError, ValueError) as error:
            stream.close()
            raise translate.unreachable(error, self.path) from error
        if status != _UPGRADED:
            stream.close()
            raise translate.refused(status, rest.decode(errors="replace")[:500], "attach to a container")
        return stream, rest


def _read_head(stream: socket.socket) -> tuple[int, bytes]:
    """Return the HTTP status and whatever came after the head."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = stream.recv(4096)
        if not more or len(got) > _HEAD_LIMIT:
            raise ValueError("the engine closed the stream")
        got += more
    head, rest = got.split(b"\r\n\r\n", 1)
    return int(head.split(b" ", 2)[1]), rest


def _read_rest(stream: socket.socket) -> bytes:
    pieces = []
    while piece := stream.recv(_PIECE):
        pieces.append(piece)
    return b"".join(pieces)


def _decode(status: int, content: bytes) -> object:
    """Return the JSON of an answer; an error may be plain words, anything else was cut off."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        if status < _ERROR:
            raise
        return {"message": content.decode(errors="replace")[:500]}
