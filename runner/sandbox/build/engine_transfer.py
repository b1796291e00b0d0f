"""Moving whole images into and out of a Docker Engine, over its socket.

Docker Engine API v1.41. Raises ``EngineUnavailable`` when nothing answers.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from runner.errors import EngineUnavailable, ImageMissing, SandboxError
from runner.sandbox.build.archive import write_archive
from runner.sandbox.build.engine_images import inspect, profile_id
from runner.sandbox.docker.api import engine_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.sandbox.build.record import BuiltProfile

_API = "/v1.41"
_ANSWER_SECONDS = 30.0
_LOAD_SECONDS = 600.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket at ``path``."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextmanager
def _request(
    method: str, path: str, body: IO[bytes] | bytes | None = None, *, kind: str = "application/json"
) -> Iterator[http.client.HTTPResponse]:
    seconds = _ANSWER_SECONDS if body is None else _LOAD_SECONDS
    connection = _UnixConnection(engine_address(os.environ), seconds)
    headers = {"Content-Type": kind}
    if body is not None and not isinstance(body, bytes):
        headers["Content-Length"] = str(body.seek(0, os.SEEK_END))
        body.seek(0)
    try:
        connection.request(method, _API + path, body, headers)
        yield connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise EngineUnavailable(
            f"the Docker Engine does not answer: {error}", cure="runner doctor"
        ) from error
    finally:
        connection.close()


def load(built: BuiltProfile, layer: Path) -> str:
    """Load a built profile into the engine and return its ID there."""
    with tempfile.TemporaryFile(dir=layer.parent) as archive:
        write_archive(built, layer, archive)
        with _request("POST", "/images/load?quiet=1", archive, kind="application/x-tar") as answer:
            data = answer.read()
    found = profile_id(built)
    if found is None:
        raise SandboxError(f"the Docker Engine did not load sandbox profile {built.name}: {_words(data)}")
    return found


def pull(reference: str) -> dict[str, Any]:
    """Pull ``reference`` with the user's registry logins; raises ``ImageMissing`` when it cannot be had."""
    import docker

    cure = f"check the name and your network, or load it yourself: docker load, docker pull {reference}"
    try:
        client = docker.from_env(timeout=int(_LOAD_SECONDS))
        try:
            client.images.pull(reference)
        finally:
            client.close()
    except docker.errors.DockerException as error:
        reason = str(getattr(error, "explanation", None) or error)
        raise ImageMissing(
            f"image {reference} is not here and cannot be pulled: {reason}", cure=cure
        ) from error
    found = inspect(reference)
    if found is None:
        raise ImageMissing(f"image {reference} is not here after a pull", cure=cure)
    return found


@contextmanager
def exported(image: str) -> Iterator[IO[bytes]]:
    """Yield the flattened file system of ``image`` as a tar stream; the container that lent it is removed."""
    body = json.dumps({"Image": image, "Cmd": ["/"], "Labels": {"runner.export": "1"}}).encode()
    with _request("POST", "/containers/create", body) as answer:
        data = answer.read()
    container = json.loads(data).get("Id") if data else None
    if container is None:
        raise SandboxError(f"the Docker Engine cannot open image {image}: {_words(data)}")
    try:
        with _request("GET", f"/containers/{container}/export") as answer:
            yield answer
    finally:
        with (
            suppress(EngineUnavailable),
            _request("DELETE", f"/containers/{container}?force=1&v=1") as answer,
        ):
            answer.read()


def _words(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[-300:].decode(errors="replace").strip()
