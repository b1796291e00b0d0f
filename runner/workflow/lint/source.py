"""What a rule looks at: the model, where each value stands, and the folders around the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.workflow.model import Command, Step, Workflow
    from runner.workflow.nodes import Document

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded model with its document; ``project`` is resolved."""

    model: Workflow
    document: Document
    file: Path
    project: Path

    def steps(self) -> Iterator[tuple[Where, str, Step]]:
        """Yield every step with its place and id; those under ``finally`` last."""
        for name, step in self.model.steps.items():
            yield ("steps", name), name, step
        for name, step in self.model.finally_steps.items():
            yield ("finally", name), name, step

    def commands(self) -> Iterator[tuple[Where, Command]]:
        """Yield every command: the steps, their compensations and probes."""
        for where, _, step in self.steps():
            yield where, step
            if step.compensate:
                yield (*where, "compensate"), step.compensate
            if step.probe:
                yield (*where, "probe"), step.probe

    def error(self, where: Where, message: str, hint: str = "") -> Problem:
        """Return an error at a value."""
        return Problem(str(self.file), *self._at(where), message, hint)

    def warning(self, where: Where, message: str, hint: str = "") -> Problem:
        """Return a warning at a value."""
        return Problem(str(self.file), *self._at(where), message, hint, "warning")

    def _at(self, where: Where) -> tuple[int, int]:
        known = self.document.values
        while where not in known:
            where = where[:-1]
        place = known[where]
        whole = where and place[0] > self.document.keys.get(where, place)[0]
        return self.document.keys[where] if whole else place
