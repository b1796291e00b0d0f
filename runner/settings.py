"""The operator's choices: the environment, the policy file, and what a project may narrow.

``policy.yaml`` (the operator's) and ``runner.yaml`` (the project's) share their keys today::

    defaults: {engine: docker}      # auto | docker | bubblewrap | gvisor
    max_parallel: 4                 # steps at a time; a project can only lower the policy's number
    breakers: {warehouse: {failures: 3, reset: 60s, on_open: fail}}    # or wait; named by steps
    hold_after: 5                   # a workflow that failed so often in a row is held; 0 (the default): never
    rollback_window: 30d            # how long a run that has ended can be undone

Of a number in both files the stricter one counts. The policy alone may hold::

    egress:
      private: ["db.internal:5432"]   # hosts on private addresses that workflows may ask for
      ca: /etc/ssl/corporate.pem      # authorities that are trusted beside the system's
    sources: {…}                      # where secrets come from, see vault/sources/declared
    python:                           # where packages come from (PEP 503), and how large a set may be
      {index: https://pypi.org/simple, files: [https://files.pythonhosted.org], max_bytes: 2GiB}
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.index import INDEX_KEYS, PackageIndex, read_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENGINES = ("auto", "docker", "bubblewrap", "gvisor")
SYSTEM_POLICY = Path("/etc/runner/policy.yaml")
PROJECT_FILE = "runner.yaml"
PARALLEL = 4
ROLLBACK_WINDOW = 30 * 86400.0
_MOST_PARALLEL = 256
_MOST_FAILURES = 1000
_BREAKER = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_LARGEST_FILE = 1 << 20
_SHARED = ("defaults", "max_parallel", "breakers", "hold_after", "rollback_window")
_OPERATORS = ("egress", "sources", "python")
_SOURCES = ("identity", "openbao", "postgres")


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
class BreakerRule:
    """A circuit breaker: opens after ``failures`` in a row, lets one attempt probe after ``reset`` seconds.

    ``waits``: a step that meets it open waits for the probe instead of failing at once.
    """

    name: str
    failures: int
    reset: float
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """What the policy and the project say together.

    The engine, how many steps run at a time, the breakers by name, after how many failures in a row a
    workflow is held (0: never), and for how many seconds a run that has ended can be rolled back. ``private``
    are the hosts (``host:port``) that may stand on private addresses, ``authorities`` a file of certificates.
    """

    engine: str = "auto"
    parallel: int = PARALLEL
    breakers: Mapping[str, BreakerRule] = field(default_factory=dict)
    hold_after: int = 0
    rollback_window: float = ROLLBACK_WINDOW
    private: frozenset[str] = frozenset()
    authorities: Path | None = None
    index: PackageIndex = field(default_factory=PackageIndex)


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
    for key in _OPERATORS:
        if key in narrowed:
            raise UsageError(
                f"{PROJECT_FILE}: {key} is the operator's alone to say",
                cure=f"take it out of {PROJECT_FILE}; it stands in the operator's policy, {settings.policy}",
            )
    held = [each["hold_after"] for each in (policy, narrowed) if each.get("hold_after")]
    window = min(each.get("rollback_window", ROLLBACK_WINDOW) for each in (policy, narrowed))
    network = policy.get("egress", {})
    return Choices(
        _engine(policy, narrowed),
        _parallel(policy, narrowed),
        _breakers(policy, narrowed),
        min(held, default=0),
        window,
        network.get("private", frozenset()),
        network.get("authorities"),
        policy.get("python", PackageIndex()),
    )


def declared_sources(settings: Settings) -> dict[str, Any]:
    """Return what the operator's policy says under ``sources``, as written; raises ``UsageError``."""
    found: dict[str, Any] = _read(settings.policy).get("sources", {})
    return found


def policy_digest(settings: Settings) -> str:
    """Return the SHA-256 in hex of the operator's policy file, empty where there is none."""
    return _digest(settings.policy)


def project_digest(project: Path) -> str:
    """Return the SHA-256 in hex of the project's ``runner.yaml``, empty where there is none."""
    return _digest(project / PROJECT_FILE)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


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
    most = int(policy.get("max_parallel", PARALLEL))
    return min(int(project.get("max_parallel", most)), most)


def _breakers(policy: dict[str, Any], project: dict[str, Any]) -> dict[str, BreakerRule]:
    found: dict[str, BreakerRule] = dict(project.get("breakers", {}))
    for name, rule in policy.get("breakers", {}).items():
        own = found.get(name, rule)
        waits = rule.waits and own.waits
        found[name] = BreakerRule(name, min(rule.failures, own.failures), max(rule.reset, own.reset), waits)
    return found


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
    top = _mapping(path, data, (*_SHARED, *_OPERATORS))
    readers: dict[str, Callable[[Any], Any]] = {
        "max_parallel": lambda _: _number(path, top, "max_parallel", 1, _MOST_PARALLEL),
        "hold_after": lambda _: _number(path, top, "hold_after", 0, _MOST_FAILURES),
        "rollback_window": lambda value: _duration(path, "rollback_window", value),
        "breakers": lambda value: _declared(path, value),
        "egress": lambda value: _network(path, value),
        "sources": lambda value: _mapping(path, value, _SOURCES),
        "python": lambda value: read_index(path, _mapping(path, value, INDEX_KEYS)),
    }
    found = {key: read(top[key]) for key, read in readers.items() if key in top}
    defaults = _mapping(path, top.get("defaults"), ("engine",))
    if "engine" in defaults:
        if defaults["engine"] not in ENGINES:
            raise UsageError(f"{path}: defaults.engine is one of {', '.join(ENGINES)}")
        found["engine"] = defaults["engine"]
    return found


def _network(path: Path, data: object) -> dict[str, Any]:
    given = _mapping(path, data, ("private", "ca"))
    hosts = given.get("private", [])
    if not isinstance(hosts, list) or not all(isinstance(each, str) and ":" in each for each in hosts):
        raise UsageError(
            f"{path}: egress.private is a list of hosts with their ports, such as db.internal:5432"
        )
    found: dict[str, Any] = {"private": frozenset(each.lower() for each in hosts)}
    if "ca" in given:
        authorities = Path(str(given["ca"]))
        if not authorities.is_absolute() or not authorities.is_file():  # a relative one could be the author's
            raise UsageError(
                f"{path}: egress.ca is no absolute path of a file of certificates: {authorities}"
            )
        found["authorities"] = authorities
    return found


def _declared(path: Path, data: object) -> dict[str, BreakerRule]:
    found = {}
    for name, given in (data if isinstance(data, dict) else {"": data}).items():
        if not isinstance(name, str) or not re.fullmatch(_BREAKER, name):
            raise UsageError(f"{path}: breakers is a mapping of names such as warehouse, each with its rule")
        rule = _mapping(path, given, ("failures", "reset", "on_open"))
        if rule.get("on_open", "fail") not in ("fail", "wait"):
            raise UsageError(f"{path}: breakers.{name}.on_open is fail or wait")
        failures = _number(path, {"failures": 5, **rule}, "failures", 1, _MOST_FAILURES)
        reset = _duration(path, f"breakers.{name}.reset", rule.get("reset", "60s"))
        found[name] = BreakerRule(name, failures, reset, rule.get("on_open") == "wait")
    return found


def _number(path: Path, data: dict[str, Any], key: str, least: int, most: int) -> int:
    number = data[key]
    if type(number) is not int or not least <= number <= most:
        raise UsageError(f"{path}: {key} is a whole number from {least} to {most}")
    return number


def _duration(path: Path, key: str, value: object) -> float:
    from runner.units import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{path}: {key}: {error}") from error


def _mapping(path: Path, data: object, known: tuple[str, ...]) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a mapping is expected, with the keys {', '.join(known)}")
    for key in data:
        if key not in known:
            raise UsageError(f"{path}: unknown key {str(key)[:64]!r} (known: {', '.join(known)})")
    return dict(data)
