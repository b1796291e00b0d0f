"""Which hosts a step may reach: as written, in staging only those under ``staging.egress``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.planning.modes import STAGING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.planning.plan import Plan, PlannedStep
    from runner.workflow.hosts import Rule
    from runner.workflow.model import Command, Reach


def rules_of(command: Command) -> tuple[Rule, ...] | None:
    """Return the rules of a command that has any; raises ``ValueError`` for an entry that is none."""
    return tuple(reach.rule for reach in command.reaches) or None


def networked(plan: Plan, staging: Sequence[Reach], private: frozenset[str]) -> Plan:
    """Return the plan with the hosts that its mode leaves: in staging those under ``staging.egress``.

    ``private`` are the hosts (``host:port``) that may stand on private addresses; raises ``PolicyDenied`` for
    another that the plan says is there.
    """
    if plan.mode == STAGING and any(step.egress for step in _commands(plan)):
        rules = tuple(reach.rule for reach in staging)
        steps = {name: _in_staging(step, rules) for name, step in plan.steps.items()}
        plan = replace(plan, steps=steps)
    refuse_private(plan, private)
    return plan


def _commands(plan: Plan) -> list[PlannedStep]:
    """Return everything that runs."""
    running = [step for step in plan.steps.values() if not step.shadowed]
    return [each for step in running for each in (step, step.compensate) if each]


def _in_staging(step: PlannedStep, rules: tuple[Rule, ...]) -> PlannedStep:
    undo = _in_staging(step.compensate, rules) if step.compensate else None
    if step.egress is None:
        return replace(step, compensate=undo)
    open_to = {(rule.host, rule.port) for rule in rules}
    closed = (rule for rule in step.egress if rule.kind == "tcp" and (rule.host, rule.port) not in open_to)
    return replace(step, compensate=undo, egress=rules, closed=tuple(closed))


def refuse_private(plan: Plan, allowed: frozenset[str]) -> None:
    """Raise ``PolicyDenied`` where the plan reaches a private address that the operator does not allow."""
    wanted = {
        f"{rule.host}:{rule.port}" for step in _commands(plan) for rule in step.egress or () if rule.private
    }
    missing = sorted(wanted - allowed)
    if missing:
        raise PolicyDenied(
            f"{plan.workflow} wants to reach {', '.join(missing)} on a private address,"
            " which only the operator can allow",
            cure=f"the operator allows it in policy.yaml: egress: {{private: [{', '.join(missing)}]}}",
        )
