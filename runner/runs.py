"""Starting, resuming and steering runs: who may drive which run from where, and what a person says of it."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.app import Stage
from runner.engine.again import carried, in_doubt, made_anew, refuse_installation
from runner.errors import PolicyDenied, SandboxError, UsageError
from runner.events import RollbackRequested, RunCreated, StepDecided
from runner.planning.codec import plan_json
from runner.planning.network import refuse_private
from runner.store.journal import Before
from runner.store.layout import new_run_id
from runner.store.locks import RunLock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.app import App, Watching
    from runner.engine.lanes import Lanes
    from runner.engine.run import Run
    from runner.events import CancelRequested
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Driver, Image
    from runner.store.journal import Journal

Ended = tuple[dict[str, Any], int]
"""The run object of the contract and the exit status."""


@dataclass(frozen=True, slots=True)
class Again:
    """How a run is tried again: which run, from which step on, and whether writes in doubt may repeat."""

    run: str
    start: str | None = None
    doubled: bool = False


class Runs:
    """The runs of one state folder, for those who bring them on."""

    def __init__(self, app: App) -> None:
        """Drive runs with what ``app`` puts together."""
        self._app = app

    def start(
        self, plan: Plan, engine: str | None, watching: Watching, before: Before | None = None
    ) -> Ended:
        """Run a plan; ``before`` is a run of the same plan that the new one goes on from."""
        app, chosen = self._app, self._app.choices(plan)
        self._refuse_held(plan, chosen.hold_after)
        refuse_private(plan, chosen.private)  # a retry has its plan from before
        for name in _secrets(plan):
            app.bindings().find(name, plan.workflow, plan.mode, plan.definition)
        with _closing(app.driver(engine or chosen.engine, plan.mode, watching.say)) as driver:
            if greet := getattr(driver, "greet", None):  # a driver that need not ask has no such thing
                greet()
            app.reap(driver, watching.say)
            images, warnings = app.images(plan, driver, watching.say)
            images = self._equipped(plan, driver, images, watching)
            unenforced = tuple(f"{gap.what}: {gap.why}" for gap in driver.check().gaps)
            seen = watching.around(driver) if watching.around else driver
            run = new_run_id(app.clock.now())
            created = RunCreated(
                plan.workflow,
                plan.mode,
                driver.name,
                plan.definition,
                plan.digest,
                (*plan.warnings, *warnings),
                unenforced,
                before.origin if before else run,
                {str(ref): image.digest for ref, image in images.items()},
            )
            with RunLock.acquire(app.layout, run), app.journal() as journal:
                ownership = journal.create_run(run, json.dumps(plan_json(plan)), created, before)
                stage = Stage(ownership, plan, seen, images, watching, chosen, created.origin)
                with self._sweeping(journal):
                    return self._begin(stage, journal)

    def resume(self, prefix: str, watching: Watching, *, take_over: bool = False) -> Ended:
        """Go on with a run that was interrupted or held; raises ``UsageError`` when it has ended."""
        with self._opened(prefix, take_over=take_over) as (run, journal):
            if run.over:
                raise UsageError(f"run {run.id} has ended: {run.status}", cure=f"runner show {run.id}")
            refuse_installation(run)
            return self._go_on(run, journal, watching)

    def roll_back(self, prefix: str, who: str, watching: Watching) -> Ended:
        """Undo what a run did; raises ``UsageError`` when there is nothing to undo, or not any more."""
        with self._opened(prefix) as (run, journal):
            if not run.over:
                raise UsageError(
                    f"run {run.id} has not ended",
                    cure=f"runner cancel {run.id} --rollback ends and undoes it",
                )
            self._refuse_rollback(run)
            journal.note(run.id, RollbackRequested(who), ended_at=run.seq)
            report, code = self._go_on(run, journal, watching)
            return report, 0 if report["status"] == "rolled-back" else code

    def retry(self, again: Again, watching: Watching) -> Ended:
        """Run the same plan anew, with the results of the steps that succeeded carried over."""
        with self._app.journal() as journal:
            run = self._folded(journal, journal.find(again.run))
        _refuse_retry(run, again)
        engine = run.created.engine if run.created else None
        events = carried(run, made_anew(run, again.start))
        return self.start(run.plan, engine, watching, Before(run.id, run.seq, origin_of(run), events))

    def cancel(self, prefix: str, requests: Sequence[CancelRequested], watching: Watching) -> Ended:
        """Ask a live run to end and return how it stands; a run that nobody drives is ended here.

        Raises ``UsageError`` when it has ended.
        """
        from runner.engine.report import run_object

        with self._app.journal() as journal:
            run = journal.find(prefix)
            for request in requests:
                journal.note(run, request)
            if not self._app.is_live(run):
                return self.resume(run, watching)
            watching.say(f"asked the runner of {run} to end it; runner show {run} says how it ended")
            return run_object(self._folded(journal, run)), 0

    def decide(self, prefix: str, step: str | None, verdict: str, who: str) -> tuple[str, list[str]]:
        """Record a person's decision about the held steps of a run; returns the run and the steps.

        Raises ``UsageError`` when none of them is held.
        """
        with self._app.journal() as journal:
            run = self._folded(journal, journal.find(prefix))
            steps = sorted(run.held) if step is None else [step]
            if not steps or not run.held.issuperset(steps):
                held = ", ".join(sorted(run.held)) or "none"
                raise UsageError(
                    f"run {run.id} waits for no decision{f' about {step}' if step else ''} (held: {held})",
                    cure=f"runner show {run.id}",
                )
            for name in steps:
                journal.note(run.id, StepDecided(name, verdict, who))
        return run.id, steps

    @contextmanager
    def _opened(self, prefix: str, *, take_over: bool = False) -> Iterator[tuple[Run, Journal]]:
        with self._app.journal() as journal:
            name = journal.find(prefix)
            with RunLock.acquire(self._app.layout, name, take_over=take_over):
                yield self._folded(journal, name), journal

    def _folded(self, journal: Journal, run: str) -> Run:
        from runner.engine.recall import recall

        return recall(journal, run)

    def _go_on(self, run: Run, journal: Journal, watching: Watching) -> Ended:
        app, plan, created = self._app, run.plan, run.created
        assert created is not None  # noqa: S101 - a run's first record
        chosen = app.choices(plan)
        if not run.cancels:  # what the operator said when it was planned may be withdrawn
            refuse_private(plan, chosen.private)
        with _closing(app.make_driver(created.engine)) as driver:
            driver.check()
            ownership = journal.open_run(run.id)  # first: a runner that still lives begins nothing after this
            app.reap(driver, watching.say, run.id)
            self._take_back(journal, run.id)
            images = app.same_images(plan, driver, created.images, watching.say)
            images = self._equipped(plan, driver, images, watching)
            stage = Stage(ownership, plan, driver, images, watching, chosen, origin_of(run))
            with self._sweeping(journal):
                return self._execute(stage, journal, None)

    def _equipped(
        self, plan: Plan, driver: Driver, images: dict[ImageRef, Image], watching: Watching
    ) -> dict[ImageRef, Image]:
        """Return the images with the Python packages of those that have a lock file."""
        if not any(ref.lock for ref in images):
            return images
        from runner.installs import Installs

        return Installs(self._app, plan, driver, watching).equip(images)

    def _begin(self, stage: Stage, journal: Journal) -> Ended:
        """Drive a new run, its first sandbox on its way while the rest of the engine loads."""
        from runner.engine.ahead import lanes_ahead

        attempts = self._app.attempts(stage)
        lanes = lanes_ahead(attempts, stage.driver, stage.images, stage.choices.parallel)
        try:
            return self._execute(stage, journal, lanes)
        finally:
            lanes.close()

    def _execute(self, stage: Stage, journal: Journal, ahead: Lanes | None) -> Ended:
        from runner.engine.executor import execute
        from runner.engine.report import exit_code, run_object

        records = journal.records(stage.ownership.run)
        ended = execute(self._app.work(stage, journal, records, ahead), records)
        self._take_back(journal, ended.id)  # a source that did not answer then may answer now
        return run_object(ended), exit_code(ended)

    def _take_back(self, journal: Journal, run: str) -> None:
        """Take back the leases of a run that we drive or drove."""
        if any(lease.run == run for lease in journal.open_leases()):
            from runner.custody.sweep import Sweep

            sweep = Sweep(self._app, journal)
            sweep.take_back(sweep.of(run))

    @contextmanager
    def _sweeping(self, journal: Journal) -> Iterator[None]:
        """Take back, beside what happens inside, the leases of runs that nobody drives."""
        if not journal.open_leases():
            yield
            return
        from runner.custody.sweep import Sweep

        with Sweep(self._app, journal).beside():
            yield

    def _refuse_held(self, plan: Plan, hold_after: int) -> None:
        if not hold_after:
            return
        from runner.admission import breakers
        from runner.failsafe.breaker import CLOSED

        name = breakers.WORKFLOW + plan.workflow
        with self._app.journal() as journal, journal.tables() as tables:
            kept = breakers.read(tables, name)
        if kept.state != CLOSED:
            raise PolicyDenied(
                f"the workflow {plan.workflow} failed {hold_after} times in a row and is held",
                cure=f"look at its runs (runner ps), then release it: runner breakers reset {name}",
            )

    def _refuse_rollback(self, run: Run) -> None:
        if by := run.successor:
            raise UsageError(f"run {by} went on from {run.id}", cure=f"runner rollback {by} undoes both")
        if not run.left_to_undo():
            raise UsageError(
                f"run {run.id} has nothing to undo: no step with compensate did anything",
                cure=f"runner show {run.id}",
            )
        window = self._app.choices(run.plan).rollback_window
        if self._app.clock.now() > (run.ended or 0.0) + window:
            raise PolicyDenied(
                f"run {run.id} ended more than {window / 86400:g} days ago: it can no longer be undone",
                cure="the operator may widen rollback_window in the policy",
            )


def _secrets(plan: Plan) -> list[str]:
    """Return the names of all secrets that a run can need, for its rollback too."""
    steps = [step for step in plan.steps.values() if not step.shadowed]
    undoing = [step.compensate for step in steps if step.compensate]
    return sorted({use.secret for step in (*steps, *undoing) for use in step.secrets})


@contextmanager
def _closing(driver: Driver) -> Iterator[Driver]:
    """Close the driver at the end; an engine that is away says so once, in the words of who met it first."""
    try:
        yield driver
    except BaseException:
        with suppress(SandboxError):
            driver.close()
        raise
    driver.close()


def origin_of(run: Run) -> str:
    """Return the run whose idempotency keys a run keeps."""
    return (run.created.origin if run.created else "") or run.id


def _refuse_retry(run: Run, again: Again) -> None:
    refuse_installation(run)
    if not run.over:
        raise UsageError(f"run {run.id} has not ended", cure=f"runner resume {run.id} goes on with it")
    if by := run.successor:
        raise UsageError(f"run {by} went on from {run.id} already", cure=f"runner retry {by}")
    known = {step.step for step in run.plan.steps.values()} | set(run.plan.steps)
    if again.start and again.start not in known:
        raise UsageError(
            f"run {run.id} has no step {again.start!r}", cure=f"its steps: {', '.join(run.plan.steps)}"
        )
    doubt = in_doubt(run, made_anew(run, again.start))
    if doubt and not again.doubled:
        names = ", ".join(sorted(doubt, key=run.order.__getitem__))
        raise UsageError(
            f"{names} may have written in run {run.id}, and a retry would write again",
            cure=f"look whether it did; then runner rollback {run.id}, or runner retry {run.id} --again",
        )
