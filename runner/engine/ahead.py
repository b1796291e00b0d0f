"""The run's first sandbox, asked for while the rest of the engine still loads: it takes longest to come."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from runner.engine.lanes import Lanes
from runner.errors import SandboxError
from runner.sandbox.base import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Driver, Image


class Attempts:
    """The attempts of the run ``run``, each with a folder of its own in ``folder``."""

    def __init__(self, run: str, plan: Plan, folder: Path) -> None:
        """Make nothing yet."""
        self.run, self.plan, self.folder = run, plan, folder
        self._order = {name: place for place, name in enumerate(plan.steps)}

    def spec(self, name: str, attempt: int, lane: int, image: Image) -> SandboxSpec:
        """Return the sandbox of one attempt of the step ``name``."""
        step = self.plan.steps[name]
        directory = self.folder / f"{self._order[name]}-{attempt}-{lane}"
        return SandboxSpec(self.run, name, attempt, lane, image, step.mounts, step.limits, directory)

    @property
    def first(self) -> str | None:
        """The step that will begin first, if that is sure before anything is decided."""
        sure = (
            name
            for name, step in self.plan.steps.items()
            if not (step.needs or step.condition or step.shadowed or step.final)
        )
        return next(sure, None)


def lanes_ahead(attempts: Attempts, driver: Driver, images: Mapping[ImageRef, Image], count: int) -> Lanes:
    """Return ``count`` lanes, with the first sandbox on its way where the driver takes long to make one.

    The run must stand in the journal: a sandbox that a crash leaves behind is found by it. Whoever asked
    closes the lanes.
    """
    lanes = Lanes(count, driver)
    name = attempts.first
    begin = getattr(driver, "begin", None)  # a driver whose sandboxes come at once has no such thing
    if name is not None and begin is not None:
        lane = lanes.all[0]
        spec = attempts.spec(name, 1, lane.number, images[attempts.plan.steps[name].image])
        with suppress(SandboxError):  # the attempt itself will meet it, and say so
            lane.adopt(name, begin(spec))
    return lanes
