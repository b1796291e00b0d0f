"""One workflow's steps, planned: legs, needs, files, limits, snapshots. All that is wrong is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runner.errors import Problem, UsageError, WorkflowError
from runner.planning.declared import undeclared
from runner.planning.fill import Known
from runner.planning.inherit import (
    COMPENSATION_RETRY,
    argv_of,
    grace_of,
    image_of,
    limits_of,
    limits_over,
    mounts_of,
    retry_of,
    secrets_of,
    timeout_of,
)
from runner.planning.matrix import Leg, legs_of
from runner.planning.modes import Substitute
from runner.planning.needs import Table, Wiring
from runner.planning.network import rules_of
from runner.planning.plan import ImageRef, PlannedStep
from runner.planning.requirements import equipped
from runner.sandbox.base import Mount
from runner.workflow.expressions import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runner.planning.snapshots import Snapshots
    from runner.settings import BreakerRule
    from runner.workflow.load import LoadedWorkflow
    from runner.workflow.model import Compensate, Step
    from runner.workflow.model import Mount as WrittenMount

MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a run is asked for: mode, resolved inputs, and the digest of the operator's policy.

    ``recipe`` gives the digest of a sandbox profile's recipe by its name; ``breakers`` are those declared,
    ``private`` the hosts (``host:port``) that may stand on private addresses. ``contents`` gives the Debian
    packages of a profile, ``index`` is where Python packages come from.
    """

    mode: str
    inputs: dict[str, Any]
    policy: str = ""
    recipe: Callable[[str], str] = str
    breakers: Mapping[str, BreakerRule] = field(default_factory=dict)
    private: frozenset[str] = frozenset()
    contents: Callable[[str], tuple[str, ...]] = lambda _: ()
    index: str = ""


@dataclass(slots=True)
class Sources:
    """Takes each source once; ``digests`` maps them as written."""

    base: Path
    project: Path
    snapshots: Snapshots
    taken: dict[str, tuple[str, Path]] = field(default_factory=dict)

    def take(self, source: str) -> tuple[str, Path]:
        """Return the digest and the snapshot of a source as written."""
        if source not in self.taken:
            self.taken[source] = self.snapshots.take(self.base / source, self.project)
        return self.taken[source]

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each source that was taken."""
        return {source: digest for source, (digest, _) in self.taken.items()}


@dataclass(slots=True)
class Planner:
    """Plans every leg of every step of one workflow."""

    loaded: LoadedWorkflow
    request: PlanRequest
    sources: Sources
    breakers: set[BreakerRule] = field(default_factory=set)
    images: dict[ImageRef, str] = field(default_factory=dict)

    def steps(self) -> dict[str, PlannedStep]:
        """Return every leg of every step; all that is wrong is told at once."""
        problems: list[Problem] = []
        legs = self._legs(problems)
        self._raise(problems)
        problems += undeclared(self.loaded, self.request.breakers)
        table = Table.of(legs, frozenset(self.loaded.model.data))
        found: dict[str, PlannedStep] = {}
        for name, step, final in self._written():
            for leg in legs[name]:
                try:
                    found[leg.id] = self._planned(table, leg, _Written(name, step, final))
                except (ValueError, ExpressionError) as error:
                    problems.append(self._problem(leg.id, error))
                except WorkflowError as error:  # a mount: told once, where it is first used
                    told = [f"{each.file}: {each.message}" for each in error.problems]
                    problems += [
                        self._problem(leg.id, words) for words in told if not _is_told(problems, words)
                    ]
        self._raise(problems)
        return found

    def _written(self) -> list[tuple[str, Step, bool]]:
        model = self.loaded.model
        first = [(name, step, False) for name, step in model.steps.items()]
        return first + [(name, step, True) for name, step in model.finally_steps.items()]

    def _legs(self, problems: list[Problem]) -> dict[str, tuple[Leg, ...]]:
        legs: dict[str, tuple[Leg, ...]] = {}
        for name, step, _ in self._written():
            if name in legs:
                problems.append(self._problem(name, "a step and a finally step have the same id"))
            try:
                legs[name] = legs_of(name, step)
            except ValueError as error:
                problems.append(self._problem(name, error))
        if sum(map(len, legs.values())) > MOST_STEPS:
            problems.append(self._problem("", f"more than {MOST_STEPS} steps with all legs"))
        return legs

    def _planned(self, table: Table, leg: Leg, written: _Written) -> PlannedStep:
        step, defaults = written.step, self.loaded.model.defaults
        known = Known(self.loaded.model.name, self.request.mode, self.request.inputs, leg.values)
        wiring = Wiring(table, leg, known)
        inputs = wiring.inputs(step.inputs)
        strategy = step.strategy
        planned = PlannedStep(
            id=leg.id,
            step=written.name,
            needs=wiring.needs(step.needs, inputs),
            image=self._known(self._image(step)),
            argv=argv_of(step.run),
            env={name: known.fill(value) for name, value in step.env.items()},
            condition=step.condition,
            mounts=self._mounts(step),
            limits=limits_of(step, defaults),
            inputs=inputs,
            outputs=tuple(step.out),
            secrets=secrets_of(step),
            timeout=timeout_of(step, defaults),
            grace=grace_of(step),
            retry=retry_of(step),
            effects=step.outside,
            idempotent=step.idempotent,
            continue_on_error=step.continue_on_error,
            matrix=leg.values,
            max_parallel=(strategy.max_parallel or 0) if strategy else 0,
            fail_fast=strategy.fail_fast if strategy else True,
            final=written.final,
            compensate_on=step.compensate_on,
            irreversible=step.irreversible,
            breaker=self._breaker(step),
            publish=dict(step.publish),
            egress=rules_of(step),
        )
        return replace(planned, compensate=self._compensation(planned, step.compensate, wiring))

    def _compensation(
        self, planned: PlannedStep, given: Compensate | None, wiring: Wiring
    ) -> PlannedStep | None:
        """Return how to undo a step: everything of the step that it does not override."""
        if given is None:
            return None
        own_image = given.sandbox or given.image
        return replace(
            planned,
            argv=argv_of(given.run),
            image=self._known(image_of(given, self.loaded.model.defaults)) if own_image else planned.image,
            env=planned.env | {name: wiring.known.fill(value) for name, value in given.env.items()},
            mounts=planned.mounts if given.mounts is None else self._taken(given.mounts),
            limits=limits_over(planned.limits, given.resources),
            inputs=wiring.inputs(given.inputs) if given.inputs else planned.inputs,
            secrets=planned.secrets if given.secrets is None else secrets_of(given),
            egress=planned.egress if given.egress is None and given.tcp is None else rules_of(given),
            outputs=(),
            timeout=planned.timeout if given.timeout is None else given.timeout,
            grace=planned.grace if given.grace is None else given.grace,
            retry=COMPENSATION_RETRY if given.retry is None else retry_of(given),
            publish={},
            breaker=None,
        )

    def _image(self, step: Step) -> ImageRef:
        defaults = self.loaded.model.defaults
        ref = self._known(image_of(step, defaults))
        if step.requirements is None:
            return ref
        lock, _ = self.sources.take(step.requirements)
        return equipped(ref, lock, mounts_of(step, defaults), self.request.contents)

    def _known(self, ref: ImageRef) -> ImageRef:
        """Note what the definition says of an image; an unknown profile is the author's mistake."""
        if ref not in self.images:
            try:
                recipe = f"@{self.request.recipe(ref.name)}" if ref.kind == "profile" else ""
            except UsageError as error:
                raise ValueError(f"{error.message} ({error.cure})") from error
            self.images[ref] = f"{ref}{recipe} {self.request.index}" if ref.lock else f"{ref}{recipe}"
        return ref

    def _breaker(self, step: Step) -> BreakerRule | None:
        rule = self.request.breakers.get(step.breaker or "")
        if rule:
            self.breakers.add(rule)
        return rule

    def _mounts(self, step: Step) -> tuple[Mount, ...]:
        return self._taken(mounts_of(step, self.loaded.model.defaults))

    def _taken(self, mounts: tuple[WrittenMount, ...]) -> tuple[Mount, ...]:
        found = []
        for mount in mounts:
            digest, path = self.sources.take(mount.source)
            found.append(Mount(path, mount.target, digest))
        return tuple(found)

    def substitutes(self) -> dict[str, Substitute]:
        """Return what each step has for staging; taken in every mode, as the definition has them."""
        found = {}
        for name, step, _ in self._written():
            if step.staging is not None:
                run = step.staging.run
                files = {file: str(self.sources.take(source)[1]) for file, source in step.staging.out.items()}
                found[name] = Substitute(None if run is None else argv_of(run), files)
        return found

    def _problem(self, name: str, what: object) -> Problem:
        step = name.partition("[")[0]
        positions = self.loaded.positions
        place = positions.get(("steps", step)) or positions.get(("finally", step)) or (0, 0)
        return Problem(str(self.loaded.path), *place, f"{name}: {what}" if name else str(what))

    def _raise(self, problems: list[Problem]) -> None:
        if problems:
            raise WorkflowError(problems)


def _is_told(problems: list[Problem], words: str) -> bool:
    return any(problem.message.endswith(words) for problem in problems)


@dataclass(frozen=True, slots=True)
class _Written:
    name: str
    step: Step
    final: bool
