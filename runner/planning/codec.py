"""A plan as JSON and back, exactly: the journal keeps it, a resume reads it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.planning.plan import ImageRef, Input, Plan, PlannedStep, Retry, SecretUse, Turns
from runner.sandbox.base import Limits, Mount
from runner.settings import BreakerRule

if TYPE_CHECKING:
    from runner.workflow.hosts import Rule

VERSION = 3


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan's JSON form."""
    return {"version": VERSION, **_plain(plan)}


class OlderPlan(ValueError):
    """The form of a plan that an older Runner made."""


def plan_from_json(data: dict[str, Any]) -> Plan:
    """Return the plan of a JSON form; raises ``ValueError`` for another version's."""
    rest = dict(data)
    version = rest.pop("version", None)
    if isinstance(version, int) and version < VERSION:
        raise OlderPlan(f"the plan is of version {version}, not {VERSION}")
    if version != VERSION:
        raise ValueError(f"the plan is not of version {VERSION}")
    rest["steps"] = {name: _step(step) for name, step in rest["steps"].items()}
    rest["warnings"] = tuple(rest["warnings"])
    rest["turns"] = Turns(**rest["turns"]) if rest["turns"] else None
    return Plan(**rest)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any part of a plan
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _step(data: dict[str, Any]) -> PlannedStep:
    parts = dict(data)
    parts["image"] = ImageRef(**parts["image"])
    parts["mounts"] = tuple(
        Mount(Path(each["source"]), each["target"], each["digest"]) for each in parts["mounts"]
    )
    parts["limits"] = Limits(**parts["limits"])
    parts["inputs"] = tuple(Input(**each) for each in parts["inputs"])
    parts["secrets"] = tuple(SecretUse(**each) for each in parts["secrets"])
    parts["retry"] = Retry(**{**parts["retry"], "on": tuple(parts["retry"]["on"])})
    parts["breaker"] = BreakerRule(**parts["breaker"]) if parts["breaker"] else None
    parts["compensate"] = _step(parts["compensate"]) if parts["compensate"] else None
    parts["egress"] = None if parts["egress"] is None else _rules(parts["egress"])
    parts["closed"] = _rules(parts["closed"])
    for name in ("needs", "argv", "outputs", "compensate_on"):
        parts[name] = tuple(parts[name])
    return PlannedStep(**parts)


def _rules(data: list[dict[str, Any]]) -> tuple[Rule, ...]:
    if not data:  # most steps reach nothing, and need not know what a rule is
        return ()
    from runner.workflow.hosts import Rule

    return tuple(Rule(**each) for each in data)
