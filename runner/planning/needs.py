"""Who needs whom: names as written, turned into the legs that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from runner.planning.fill import OPEN
from runner.planning.matrix import agrees, label
from runner.planning.plan import Input

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.planning.fill import Known
    from runner.planning.matrix import Leg

DATA = "data"


@dataclass(frozen=True, slots=True)
class Table:
    """Every name that a step can refer to: steps, their single legs, and data sets."""

    legs: dict[str, tuple[Leg, ...]]
    datasets: frozenset[str]

    @classmethod
    def of(cls, legs: dict[str, tuple[Leg, ...]], datasets: frozenset[str]) -> Table:
        """Return the table for steps and their legs."""
        single = {leg.id: (leg,) for group in legs.values() for leg in group}
        return cls({**single, **legs}, datasets)

    def find(self, name: str) -> tuple[Leg, ...]:
        """Return the legs of a step, or the one leg; raises ``ValueError`` for an unknown name."""
        if name not in self.legs:
            raise ValueError(f"there is no step {name[:80]!r}")
        return self.legs[name]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Resolves one leg's ``in`` and ``needs``."""

    table: Table
    leg: Leg
    known: Known

    def inputs(self, written: Mapping[str, str]) -> tuple[Input, ...]:
        """Return the files under ``/in``; raises ``ValueError`` and ``ExpressionError``.

        From a step of several legs, those count that agree with this leg's own matrix; when more than one
        is left, each file is ``NAME/key=value,…``.
        """
        found = [each for name, source in written.items() for each in self._files(name, source)]
        return tuple(found)

    def _files(self, name: str, source: str) -> list[Input]:
        step, slash, file = self.known.fill(source).partition("/")
        if not slash or OPEN in step:
            raise ValueError(f"in: {name}: write STEP/FILE or data/DATASET; the step is known before the run")
        _check_path(name)
        if step == DATA and file in self.table.datasets:
            return [Input(name, DATA, file)]
        _check_path(file)
        legs = [leg for leg in self.table.find(step) if agrees(leg.values, self.leg.values)]
        if not legs:
            raise ValueError(f"in: {name}: no leg of {step} agrees with this leg's matrix")
        if len(legs) == 1:
            return [Input(name, legs[0].id, file)]
        return [Input(f"{name}/{label(leg.values)}", leg.id, file) for leg in legs]

    def needs(self, written: Iterable[str], inputs: tuple[Input, ...]) -> tuple[str, ...]:
        """Return the planned steps that come before: the written needs, then those that ``in`` implies."""
        found = {leg.id: None for name in written for leg in self.table.find(name)}
        found.update({each.step: None for each in inputs if each.step in self.table.legs})
        if self.leg.id in found:
            raise ValueError("it needs itself")
        return tuple(found)


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or not parts or "\0" in path:
        raise ValueError(f"in: {path[:80]!r} is not a relative path inside its folder")
