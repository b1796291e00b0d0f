"""The operator's choices: the environment, the policy file, and what a project may narrow.

``policy.yaml`` (the operator's) and ``runner.yaml`` (the project's) share their keys today::

    defaults: {engine: docker}      # auto | docker | bubblewrap | gvisor
    max_parallel: 4                 # steps at a time; a project can only lower the policy's number
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINES = ("auto", "docker", "bubblewrap", "gvisor")
SYSTEM_POLICY = Path("/etc/runner/policy.yaml")
PROJECT_FILE = "runner.yaml"
PARALLEL = 4
_MOST_PARALLEL = 256
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are: state, cache and configuration folders, and the operator's policy file."""

    home: Path
    cache: Path
    config: Path
    policy: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of an environment, as the XDG base directory specification says."""
        user = Path(environ.get("HOME") or Path.home())
        config = _folder(environ, "XDG_CONFIG_HOME", user / ".config")
        state = _folder(environ, "XDG_STATE_HOME", user / ".local" / "state")
        home = Path(environ["RUNNER_HOME"]).absolute() if environ.get("RUNNER_HOME") else state
        cache = _folder(environ, "XDG_CACHE_HOME", user / ".cache")
        return cls(home, cache, config, _policy(environ, config))


@dataclass(frozen=True, slots=True)
class Choices:
    """What the policy and the project say together: the engine, and how many steps run at a time."""

    engine: str = "auto"
    parallel: int = PARALLEL


def _folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    given = environ.get(name, "")
    return (Path(given) if given.startswith("/") else default) / "runner"  # XDG: a relative path is ignored


def _policy(environ: Mapping[str, str], config: Path) -> Path:
    if environ.get("RUNNER_POLICY"):
        return Path(environ["RUNNER_POLICY"]).absolute()
    return SYSTEM_POLICY if SYSTEM_POLICY.exists() else config / "policy.yaml"


def choices(settings: Settings, project: Path | None = None) -> Choices:
    """Return the policy's choices, narrowed by the project's ``runner.yaml``; raises ``UsageError``."""
    policy = _read(settings.policy)
    narrowed = _read(project / PROJECT_FILE) if project else {}
    return Choices(_engine(policy, narrowed), _parallel(policy, narrowed))


def policy_digest(settings: Settings) -> str:
    """Return the SHA-256 in hex of the operator's policy file, empty where there is none."""
    try:
        return hashlib.sha256(settings.policy.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UsageError(f"{settings.policy}: cannot be read: {error.strerror}") from error


def _engine(policy: dict[str, Any], project: dict[str, Any]) -> str:
    allowed = str(policy.get("engine", "auto"))
    wanted = str(project.get("engine", "auto"))
    if "auto" in (allowed, wanted):
        return wanted if allowed == "auto" else allowed
    if wanted != allowed:
        raise UsageError(
            f"{PROJECT_FILE} asks for the engine {wanted}, and the operator's policy says {allowed}",
            cure="take defaults.engine out of runner.yaml, or ask the operator",
        )
    return allowed


def _parallel(policy: dict[str, Any], project: dict[str, Any]) -> int:
    most = int(policy.get("parallel", PARALLEL))
    return min(int(project.get("parallel", most)), most)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_FILE:
        raise UsageError(f"{path}: is larger than 1 MiB")
    return _checked(path, _parse(path, data))


def _parse(path: Path, data: bytes) -> object:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(data.decode())
    except (YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from error


def _checked(path: Path, data: object) -> dict[str, Any]:
    top = _mapping(path, data, ("defaults", "max_parallel"))
    defaults = _mapping(path, top.get("defaults"), ("engine",))
    found: dict[str, Any] = {}
    if "engine" in defaults:
        if defaults["engine"] not in ENGINES:
            raise UsageError(f"{path}: defaults.engine is one of {', '.join(ENGINES)}")
        found["engine"] = defaults["engine"]
    if "max_parallel" in top:
        number = top["max_parallel"]
        if type(number) is not int or not 1 <= number <= _MOST_PARALLEL:
            raise UsageError(f"{path}: max_parallel is a whole number from 1 to {_MOST_PARALLEL}")
        found["parallel"] = number
    return found


def _mapping(path: Path, data: object, known: tuple[str, ...]) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a mapping is expected, with the keys {', '.join(known)}")
    for key in data:
        if key not in known:
            raise UsageError(f"{path}: unknown key {str(key)[:64]!r} (known: {', '.join(known)})")
    return dict(data)
