"""The engine's failures in Runner's words: the one place that knows what the engine says."""

from __future__ import annotations

import re

from runner.errors import EngineUnavailable, ImageMissing, LimitUnenforceable, SandboxError

_NO_IMAGE = re.compile(r"no such image|manifest unknown|pull access denied", re.IGNORECASE)
_LIMIT = re.compile(r"minimum memory limit|nano ?cpus|range of cpus", re.IGNORECASE)
_LIMIT_STATUS = 400


def unreachable(error: Exception, address: str) -> EngineUnavailable:
    """Say why the engine at ``address`` does not answer, with the cure."""
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return EngineUnavailable(
            f"no Docker Engine answers at {address}",
            cure="start one (`make engine`), set DOCKER_HOST, or use --engine bubblewrap",
        )
    if isinstance(error, PermissionError):
        return EngineUnavailable(
            f"this user may not use the Docker Engine at {address}",
            cure="add the user to the group docker and log in again, or use --engine bubblewrap",
        )
    if isinstance(error, TimeoutError):
        return EngineUnavailable(
            f"the Docker Engine at {address} did not answer in time",
            cure="look at the engine's own log; it may be overloaded or hang",
        )
    return EngineUnavailable(f"the Docker Engine at {address} broke off: {error}")


def refused(status: int, message: str, what: str) -> SandboxError:
    """Say why the engine answered ``what`` with the HTTP ``status`` and ``message``."""
    words = message.strip() or f"HTTP status {status}"
    if _NO_IMAGE.search(words):
        return ImageMissing(
            f"the engine has no such image: {words}",
            cure="build it with `runner sandbox build`, or pull it",
        )
    if status == _LIMIT_STATUS and _LIMIT.search(words):
        return LimitUnenforceable(f"the engine cannot hold a limit: {words}")
    return SandboxError(f"the engine refused to {what}: {words}")


def unsupported_address(address: str) -> EngineUnavailable:
    """Say that only an engine on a unix socket can be used."""
    return EngineUnavailable(
        f"DOCKER_HOST={address} is not a unix socket, and remote engines are not built yet",
        cure="unset DOCKER_HOST, or set it to unix:///path/to/docker.sock",
    )


def missing_runtime(runtime: str, known: list[str]) -> EngineUnavailable:
    """Say that the engine does not know the ``runtime``."""
    return EngineUnavailable(
        f"the Docker Engine has no runtime {runtime!r} (it has {', '.join(sorted(known))})",
        cure=f"install {runtime} and register it in /etc/docker/daemon.json, or run `make engine`",
    )
