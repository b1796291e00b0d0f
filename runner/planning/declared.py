"""What a workflow names and somebody else declares: its breakers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from runner.workflow.load import LoadedWorkflow


def undeclared(loaded: LoadedWorkflow, breakers: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each step whose breaker is not one of ``breakers``."""
    known = ", ".join(sorted(breakers)) or "none"
    for place, steps in (("steps", loaded.model.steps), ("finally", loaded.model.finally_steps)):
        for name, step in steps.items():
            if step.breaker is not None and step.breaker not in breakers:
                line = loaded.positions.get((place, name, "breaker")) or loaded.positions.get(
                    (place, name), (0, 0)
                )
                words = f"{name}: the breaker {step.breaker} is not declared (known: {known})"
                yield Problem(str(loaded.path), *line, words, "add it to breakers: in runner.yaml")
