"""Where things are: state, cache and configuration folders, and the operator's policy file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_POLICY = Path("/etc/runner/policy.yaml")


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


def _folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    given = environ.get(name, "")
    return (Path(given) if given.startswith("/") else default) / "runner"  # XDG: a relative path is ignored


def _policy(environ: Mapping[str, str], config: Path) -> Path:
    if environ.get("RUNNER_POLICY"):
        return Path(environ["RUNNER_POLICY"]).absolute()
    return SYSTEM_POLICY if SYSTEM_POLICY.exists() else config / "policy.yaml"
