"""Attempts whose runner died: how they ended, and what they left under ``/out``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.engine.ahead import Attempts
from runner.engine.outputs import OUTPUT_FILE
from runner.events import PHASE_COMPENSATE, PHASE_RUN, ArtifactKept, AttemptEnded
from runner.sandbox.attempt_folder import remove_tree
from runner.sandbox.base import Collection
from runner.sandbox.collect import Caps, collect_directory, is_literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.engine.ports import ArtifactsPort
    from runner.engine.run import Run
    from runner.planning.plan import PlannedStep

_UNMASKED = "not looked for after a crash: a name that it finds may hold a secret"


def lost_attempts(run: Run) -> list[AttemptEnded]:
    """Return the ends of the attempts that were under way when the run's runner died."""
    ends = [_lost(name, run.steps[name].attempts, PHASE_RUN) for name in sorted(run.active)]
    undoing = sorted(run.undo.active)
    return ends + [_lost(name, run.steps[name].undo.attempts, PHASE_COMPENSATE) for name in undoing]


def _lost(step: str, attempt: int, phase: str) -> AttemptEnded:
    detail = "the runner ended while this attempt ran"
    return AttemptEnded(step, attempt, phase, reason="infra", detail=detail, lost=True)


@dataclass(frozen=True, slots=True)
class Salvage:
    """Takes what lost attempts of ``run`` left in ``folders``, one of each runner that drove it.

    ``unmasked``: secrets were opened that no masker of ours knows, so that only names that the author wrote
    are taken and told.
    """

    run: Run
    folders: Sequence[Path]
    artifacts: ArtifactsPort
    unmasked: bool

    def complete(self, lost: AttemptEnded) -> AttemptEnded:
        """Return the end with what the attempt left, which stays where it is until the end is recorded.

        Raises ``StoreError`` and ``OSError`` when it cannot be read or kept.
        """
        kept: list[ArtifactKept] = []
        refused: list[str] = []
        for folder in self.folders:
            attempts = Attempts(self.run.id, self.run.plan, folder)
            directory = attempts.directory(lost)
            if not (directory / "out").exists():
                continue
            found = self._collect(attempts.step(lost), directory)
            files = [file for file in found.files if file.name != OUTPUT_FILE]
            kept += [ArtifactKept(file.name, *self.artifacts.keep(file.path)) for file in files]
            refused += found.refused
        return replace(lost, artifacts=tuple(kept), refused=tuple(refused))

    def _collect(self, step: PlannedStep, directory: Path) -> Collection:
        into = directory / "salvaged"
        remove_tree(into)  # of somebody who died here before us
        wanted = [one for one in step.outputs if is_literal(one) or not self.unmasked]
        found = collect_directory(
            directory / "out", wanted, Caps(size=step.limits.output), into, moving=False
        )
        if not self.unmasked:
            return found
        told = [line for line in found.refused if any(line.startswith(f"{one}: ") for one in wanted)]
        left = [f"{one}: {_UNMASKED}" for one in step.outputs if one not in wanted]
        return Collection(found.files, (*told, *left))
