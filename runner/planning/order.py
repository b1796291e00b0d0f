"""Steps in an order in which every need comes first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from runner.errors import Problem, WorkflowError

if TYPE_CHECKING:
    from runner.planning.plan import PlannedStep


def in_order(steps: dict[str, PlannedStep], file: str) -> dict[str, PlannedStep]:
    """Return the steps so that every need comes first, otherwise as written; raises ``WorkflowError``."""
    waiting = {name: len(step.needs) for name, step in steps.items()}
    dependents: dict[str, list[str]] = {name: [] for name in steps}
    for name, step in steps.items():
        for need in step.needs:
            dependents[need].append(name)
    ready = deque(name for name, count in waiting.items() if not count)
    ordered: dict[str, PlannedStep] = {}
    while ready:
        name = ready.popleft()
        ordered[name] = steps[name]
        for dependent in dependents[name]:
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
    if len(ordered) < len(steps):
        circle = ", ".join(name for name in steps if name not in ordered)
        raise WorkflowError([Problem(file, 0, 0, f"these steps need each other in a circle: {circle[:400]}")])
    finals = {name: step for name, step in ordered.items() if step.final}
    return {name: step for name, step in ordered.items() if not step.final} | finals
