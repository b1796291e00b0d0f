"""What a person has to know about a run that did not simply succeed, and the next command to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.planning.plan import Plan


def advice(plan: Plan, report: Mapping[str, Any], details: Mapping[str, str]) -> list[str]:
    """Return lines for a run object; ``details`` says in words what is known of each step."""
    run = report["run"]
    kinds = {
        "held": lambda: _held(plan, report, details),
        "rollback-failed": lambda: _not_undone(plan, report),
        "interrupted": lambda: iter((f"its runner is gone; next: runner resume {run}",)),
        "waiting": lambda: iter(("it waits for its turn in its concurrency group",)),
    }
    lines = list(kinds[report["status"]]()) if report["status"] in kinds else []
    if report.get("rollback_until"):
        lines.append(f"it can be undone until {report['rollback_until']}: runner rollback {run}")
    return lines


def _held(plan: Plan, report: Mapping[str, Any], details: Mapping[str, str]) -> Iterator[str]:
    run = report["run"]
    for name, step in report["steps"].items():
        if step["status"] == "held":
            yield f"{name} is held: {details[name]}"
            yield "  nobody here can see whether it was done: look, then decide"
            yield f"  it was not done, or may be done twice:  runner approve {run} '{name}'"
            yield f"  it was done:                            runner approve {run} '{name}' --done"
            yield f"  give it up:                             runner reject {run} '{name}'"
    yield f"  after that: runner resume {run}"
    yield from _runbook(plan)


def _not_undone(plan: Plan, report: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name, undo in report["rollback"].items() if undo["status"] == "compensation-failed"]
    yield f"not undone: {', '.join(names)}: a person is needed"
    yield f"  undo it by hand, or mend the cause and try again: runner rollback {report['run']}"
    yield from _runbook(plan)


def _runbook(plan: Plan) -> Iterator[str]:
    if plan.runbook:
        yield f"  runbook: {plan.runbook}"
    if plan.owner:
        yield f"  owner: {plan.owner}"
