"""Fills in what is known at plan time, and leaves the rest to the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runner.workflow.expressions import interpolate, references, uses_status

OPEN = "${{"
_WHOLE = frozenset({"inputs", "matrix"})
_SINGLE = frozenset({"run.mode", "run.workflow"})


@dataclass(frozen=True, slots=True)
class Known:
    """The contexts that a plan knows."""

    workflow: str
    mode: str
    inputs: dict[str, Any]
    matrix: dict[str, Any] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Return the text filled in, or as it is when only the run can; raises ``ExpressionError``.

        A value that itself holds ``${{`` is left to the run too, which fills in once: a value is never
        taken for an expression.
        """
        if OPEN not in text or uses_status(text) or not all(map(_known, references(text))):
            return text
        filled = interpolate(text, self._context())
        return text if OPEN in filled else filled

    def _context(self) -> dict[str, Any]:
        run = {"mode": self.mode, "workflow": self.workflow}
        return {"inputs": self.inputs, "matrix": self.matrix, "run": run}


def _known(path: str) -> bool:
    path = path.lower()
    return path.partition(".")[0] in _WHOLE or path in _SINGLE
