"""Where the files under a step's ``/in`` come from: results of earlier steps, or their stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.engine.context import fill

if TYPE_CHECKING:
    from runner.engine.ports import ArtifactsPort
    from runner.engine.run import Run
    from runner.planning.plan import Input, PlannedStep


class Missing(Exception):
    """An earlier step did not leave the file that this one reads."""


def resolve_inputs(run: Run, step: PlannedStep, artifacts: ArtifactsPort) -> dict[str, Path]:
    """Return name under ``/in`` → file on the host; raises ``Missing`` and ``ExpressionError``."""
    return {item.name: _resolve(run, step, item, artifacts) for item in step.inputs}


def _resolve(run: Run, step: PlannedStep, item: Input, artifacts: ArtifactsPort) -> Path:
    name = fill(run, step, item.file)
    if not item.step:
        return Path(name)
    source = run.plan.steps[item.step]
    if source.shadowed and name in source.shadow_files:
        return Path(source.shadow_files[name])
    last = run.steps[item.step].last
    for artifact in last.artifacts if last else ():
        if artifact.name == name:
            return artifacts.path(artifact.sha256)
    raise Missing(f"{item.step} did not leave {name}")


def left_by(run: Run, step: str, artifacts: ArtifactsPort) -> dict[str, Path]:
    """Return name → file of what ``step`` left and nobody undid, however its attempts ended."""
    return {kept.name: artifacts.path(kept.sha256) for kept in run.steps[step].left}
