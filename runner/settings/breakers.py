"""Circuit breakers as they are declared, in the policy or a project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.settings.reading import duration, mapping, number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_FAILURES = 1000
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """A circuit breaker: opens after ``failures`` in a row, lets one attempt probe after ``reset`` seconds.

    ``waits``: a step that meets it open waits for the probe instead of failing at once.
    """

    name: str
    failures: int
    reset: float
    waits: bool = False


def declared(path: Path, data: object) -> dict[str, BreakerRule]:
    """Return the breakers of a file by their names; raises ``UsageError``."""
    found = {}
    for name, given in (data if isinstance(data, dict) else {"": data}).items():
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise UsageError(f"{path}: breakers is a mapping of names such as warehouse, each with its rule")
        rule = mapping(path, given, ("failures", "reset", "on_open"))
        if rule.get("on_open", "fail") not in ("fail", "wait"):
            raise UsageError(f"{path}: breakers.{name}.on_open is fail or wait")
        failures = number(path, {"failures": 5, **rule}, "failures", 1, MOST_FAILURES)
        reset = duration(path, f"breakers.{name}.reset", rule.get("reset", "60s"))
        found[name] = BreakerRule(name, failures, reset, rule.get("on_open") == "wait")
    return found


def narrowed(policy: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, BreakerRule]:
    """Return the breakers of both: of one that both declare the stricter numbers count."""
    found: dict[str, BreakerRule] = dict(project.get("breakers", {}))
    for name, rule in policy.get("breakers", {}).items():
        own = found.get(name, rule)
        waits = rule.waits and own.waits
        found[name] = BreakerRule(name, min(rule.failures, own.failures), max(rule.reset, own.reset), waits)
    return found
