"""The run's first sandbox, asked for while the rest of the engine still loads: it takes longest to come."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.errors import SandboxError
from runner.events import PHASE_COMPENSATE, AttemptEnded, AttemptStarted
from runner.sandbox.base import Mount, SandboxSpec
from runner.sandbox.packages import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.engine.lanes import Lanes
    from runner.planning.plan import ImageRef, Plan, PlannedStep
    from runner.sandbox.base import Driver, Image
    from runner.workflow.hosts import Rule


class Attempts:
    """The attempts of the run ``run``, each with a folder of its own in ``folder``."""

    def __init__(self, run: str, plan: Plan, folder: Path) -> None:
        """Make nothing yet."""
        self.run, self.plan, self.folder = run, plan, folder
        self._order = {name: place for place, name in enumerate(plan.steps)}

    def step(self, of: AttemptStarted | AttemptEnded) -> PlannedStep:
        """Return what the attempt runs: the step, or its compensation."""
        step = self.plan.steps[of.step]
        return step.compensate if of.phase == PHASE_COMPENSATE and step.compensate else step

    def directory(self, of: AttemptStarted | AttemptEnded) -> Path:
        """Return the attempt's own folder."""
        return self.folder / f"{self._order[of.step]}-{of.phase[0]}{of.attempt}"

    def spec(self, start: AttemptStarted, images: Mapping[ImageRef, Image]) -> SandboxSpec:
        """Return the sandbox of one attempt; a compensation finds under ``/done`` what its step left."""
        step, phase = self.step(start), start.phase
        directory = self.directory(start)
        left = (Mount(directory / "done", "/done", ""),) if phase == PHASE_COMPENSATE else ()
        image = images[step.image]
        packages = (Mount(image.packages, TARGET, image.packages.name),) if image.packages else ()
        mounts = (*step.mounts, *packages, *left)
        spec = SandboxSpec(self.run, start.step, start.attempt, image, mounts, step.limits, directory, phase)
        return spec if step.egress is None else _with_outlets(spec, (*step.egress, *step.closed))

    @property
    def first(self) -> str | None:
        """The step that will begin first, if that is sure before anything is decided."""
        sure = (
            name
            for name, step in self.plan.steps.items()
            if not (step.needs or step.condition or step.shadowed or step.final or step.breaker)
        )
        return None if self.plan.turns else next(sure, None)


def _with_outlets(spec: SandboxSpec, rules: tuple[Rule, ...]) -> SandboxSpec:
    from runner.sandbox.egress.rules import outlets_of

    return replace(spec, outlets=outlets_of(rules))


def lanes_ahead(attempts: Attempts, driver: Driver, images: Mapping[ImageRef, Image], count: int) -> Lanes:
    """Return ``count`` lanes, with the first sandbox on its way where the driver takes long to make one.

    The run must stand in the journal: a sandbox that a crash leaves behind is found by it. Whoever asked
    closes the lanes.
    """
    name, begun = attempts.first, None
    begin = getattr(driver, "begin", None)  # a driver whose sandboxes come at once has no such thing
    if name is not None and begin is not None:
        with suppress(SandboxError):  # the attempt itself will meet it, and say so
            begun = begin(attempts.spec(AttemptStarted(name, 1), images))
    from runner.engine.lanes import Lanes  # loads while the engine starts it

    lanes = Lanes(count, driver)
    if name is not None and begun is not None:
        lanes.all[0].adopt(name, begun)
    return lanes
