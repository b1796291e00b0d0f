"""What the operator's policy and a project say together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.index import INDEX_KEYS, PackageIndex, read_index
from runner.settings.breakers import MOST_FAILURES, BreakerRule, declared, narrowed
from runner.settings.reading import duration, mapping, number, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.settings.places import Settings

ENGINES = ("auto", "docker", "bubblewrap", "gvisor")
PROJECT_FILE = "runner.yaml"
PARALLEL = 4
ROLLBACK_WINDOW = 30 * 86400.0
_MOST_PARALLEL = 256
_SHARED = ("defaults", "max_parallel", "breakers", "hold_after", "rollback_window")
_OPERATORS = ("egress", "sources", "python")
_SOURCES = ("identity", "openbao", "postgres")


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


def choices(settings: Settings, project: Path | None = None) -> Choices:
    """Return the policy's choices, narrowed by the project's ``runner.yaml``; raises ``UsageError``."""
    policy = _read(settings.policy)
    own = _read(project / PROJECT_FILE) if project else {}
    for key in _OPERATORS:
        if key in own:
            raise UsageError(
                f"{PROJECT_FILE}: {key} is the operator's alone to say",
                cure=f"take it out of {PROJECT_FILE}; it stands in the operator's policy, {settings.policy}",
            )
    held = [each["hold_after"] for each in (policy, own) if each.get("hold_after")]
    window = min(each.get("rollback_window", ROLLBACK_WINDOW) for each in (policy, own))
    network = policy.get("egress", {})
    return Choices(
        _engine(policy, own),
        _parallel(policy, own),
        narrowed(policy, own),
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


def _read(path: Path) -> dict[str, Any]:
    return _checked(path, read(path))


def _checked(path: Path, data: object) -> dict[str, Any]:
    top = mapping(path, data, (*_SHARED, *_OPERATORS))
    readers: dict[str, Callable[[Any], Any]] = {
        "max_parallel": lambda _: number(path, top, "max_parallel", 1, _MOST_PARALLEL),
        "hold_after": lambda _: number(path, top, "hold_after", 0, MOST_FAILURES),
        "rollback_window": lambda value: duration(path, "rollback_window", value),
        "breakers": lambda value: declared(path, value),
        "egress": lambda value: _network(path, value),
        "sources": lambda value: mapping(path, value, _SOURCES),
        "python": lambda value: read_index(path, mapping(path, value, INDEX_KEYS)),
    }
    found = {key: read(top[key]) for key, read in readers.items() if key in top}
    defaults = mapping(path, top.get("defaults"), ("engine",))
    if "engine" in defaults:
        if defaults["engine"] not in ENGINES:
            raise UsageError(f"{path}: defaults.engine is one of {', '.join(ENGINES)}")
        found["engine"] = defaults["engine"]
    return found


def _network(path: Path, data: object) -> dict[str, Any]:
    given = mapping(path, data, ("private", "ca"))
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
