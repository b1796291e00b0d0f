"""The only file that names concrete classes: it puts engine, stores and drivers together."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.clock import SystemClock
from runner.errors import EngineUnavailable, RunnerError
from runner.events import RunCreated
from runner.settings import Settings, choices
from runner.store.journal import Journal
from runner.store.layout import Layout
from runner.store.locks import RunLock, is_live

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runner.clock import Cancellation
    from runner.engine.ahead import Attempts
    from runner.engine.lanes import Lanes
    from runner.engine.ports import Observer, Work
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Driver, Image
    from runner.sandbox.images import Images
    from runner.vault.bindings import Bindings
    from runner.vault.store import SecretStore

_ENGINES = ("docker", "gvisor", "bubblewrap")


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches a run and may end it; ``say`` takes a line of plain words."""

    observer: Observer
    cancellation: Cancellation
    abandonment: Cancellation
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a run needs beside its stores."""

    plan: Plan
    driver: Driver
    images: Mapping[ImageRef, Image]
    watching: Watching
    parallel: int


class App:
    """Runner as the commands use it, over one state folder."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is touched until a method needs it."""
        self._settings = settings
        self._clock = SystemClock()
        self._layout = Layout(settings.home)

    @classmethod
    def from_environment(cls) -> App:
        """Return the application for this process's environment."""
        return cls(Settings.from_environment(os.environ))

    # -- runs -------------------------------------------------------------------------------------------

    def run(
        self, plan: Plan, project: Path, engine: str | None, watching: Watching
    ) -> tuple[dict[str, Any], int]:
        """Run a plan; returns the run object and the exit status."""
        chosen = choices(self._settings, project)
        for use in {use.secret for step in plan.steps.values() for use in step.secrets if not step.shadowed}:
            self.bindings().find(use, plan.workflow, plan.mode)
        driver = self._driver(engine or chosen.engine, plan.mode, watching.say)
        try:
            with ThreadPoolExecutor(1, "check") as aside:
                able = aside.submit(driver.check)
                self._reap(driver)
                images, warnings = self._images(plan, project, driver, watching.say)
            unenforced = tuple(f"{gap.what}: {gap.why}" for gap in able.result().gaps)
            created = RunCreated(
                plan.workflow,
                plan.mode,
                driver.name,
                plan.definition,
                plan.digest,
                (*plan.warnings, *warnings),
                unenforced,
            )
            return self._drive(_Stage(plan, driver, images, watching, chosen.parallel), created)
        finally:
            driver.close()

    def _drive(self, stage: _Stage, created: RunCreated) -> tuple[dict[str, Any], int]:
        from runner.engine.ahead import Attempts, lanes_ahead
        from runner.planning.codec import plan_json

        run = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(self._clock.now())) + os.urandom(3).hex()
        with RunLock.acquire(self._layout, run), Journal(self._layout.journal, self._clock) as journal:
            journal.create_run(run, json.dumps(plan_json(stage.plan)), created)
            attempts = Attempts(run, stage.plan, self._layout.attempts(run))
            lanes = lanes_ahead(attempts, stage.driver, stage.images, stage.parallel)
            try:
                return self._executed(attempts, stage, journal, lanes)
            finally:
                lanes.close()

    def _executed(
        self, attempts: Attempts, stage: _Stage, journal: Journal, lanes: Lanes
    ) -> tuple[dict[str, Any], int]:
        from runner.engine.executor import execute  # while the engine makes the first sandbox
        from runner.engine.report import exit_code, run_object

        ended = execute(self._work(attempts, stage, journal, lanes), journal.records(attempts.run))
        return run_object(ended), exit_code(ended)

    def _work(self, attempts: Attempts, stage: _Stage, journal: Journal, lanes: Lanes) -> Work:
        from runner.engine.ports import Stores, Work
        from runner.store.artifacts import Artifacts
        from runner.vault.mask import Masker
        from runner.wiring import RunImages, RunJournal, RunLogs, RunSecrets

        run, plan, watching = attempts.run, stage.plan, stage.watching
        stores = Stores(
            RunJournal(journal, journal.open_run(run)),
            Artifacts(self._settings.home),
            RunLogs(self._layout, run),
            RunSecrets(self.bindings(), plan.workflow, plan.mode),
            Masker,
        )
        return Work(
            run=run,
            plan=plan,
            driver=stage.driver,
            images=RunImages(stage.images),
            stores=stores,
            observer=watching.observer,
            clock=self._clock,
            cancellation=watching.cancellation,
            abandonment=watching.abandonment,
            folder=attempts.folder,
            lanes=stage.parallel,
            ahead=lanes,
        )

    def _images(
        self, plan: Plan, project: Path, driver: Driver, say: Callable[[str], None]
    ) -> tuple[dict[ImageRef, Image], tuple[str, ...]]:
        from runner.sandbox.images import Images

        images = Images(self._settings.cache, project, driver.name, plan.mode, say)
        wanted = {step.image for step in plan.steps.values() if not step.shadowed}
        found = {ref: images.find(ref.kind, ref.name) for ref in sorted(wanted, key=str)}
        for warning in images.warnings:
            say(f"warning: {warning}")
        return found, tuple(images.warnings)

    # -- engines ----------------------------------------------------------------------------------------

    def _driver(self, engine: str, mode: str, say: Callable[[str], None]) -> Driver:
        if engine != "auto":
            return self._make_driver(engine)
        try:
            docker = self._make_driver("docker")
            docker.check()
        except EngineUnavailable as error:
            if mode == "production":
                raise
            say(f"engine: bubblewrap ({error.message})")
            return self._make_driver("bubblewrap")
        say("engine: docker")
        return docker

    def _make_driver(self, engine: str) -> Driver:
        state = self._layout.state_id()
        if engine == "bubblewrap":
            from runner.sandbox.bubblewrap.driver import BubblewrapDriver

            return BubblewrapDriver(state=state, home=self._settings.home)
        from runner.sandbox.docker.driver import DockerDriver

        return DockerDriver(state=state, runtime="runsc" if engine == "gvisor" else "runc", name=engine)

    def examine(self) -> list[dict[str, Any]]:
        """Return what each engine is, can and cannot do here."""
        findings = []
        for engine in _ENGINES:
            try:
                able = self._make_driver(engine).check()
            except RunnerError as error:
                gap = {"what": engine, "why": error.message, "cure": error.cure}
                findings.append({"engine": engine, "usable": False, "version": "", "gaps": [gap]})
            else:
                gaps = [dataclasses.asdict(gap) for gap in able.gaps]
                findings.append({"engine": engine, "usable": True, "version": able.version, "gaps": gaps})
        return findings

    def collect_garbage(self) -> list[str]:
        """Remove what dead runs left, on every engine that answers; returns what was removed."""
        removed: list[str] = []
        for engine in ("docker", "bubblewrap"):
            try:
                driver = self._make_driver(engine)
                removed += self._reap(driver)
                driver.close()
            except EngineUnavailable:
                continue
        return removed

    def _reap(self, driver: Driver) -> list[str]:
        from runner.sandbox.attempt_folder import remove_left_behind

        return [*driver.reap(self._is_live), *remove_left_behind(self._layout.runs, self._is_live)]

    def _is_live(self, run: str) -> bool:
        return is_live(self._layout, run)

    def build_profile(self, name: str, project: Path, say: Callable[[str], None]) -> str:
        """Build a profile and give it to the engine where one answers; returns the image's digest."""
        return self._profile_images(project, say).build(name).digest

    def profiles(self, project: Path) -> list[dict[str, Any]]:
        """Return the profiles that ``project`` can name."""
        return [dict(row) for row in self._profile_images(project, lambda _: None).list()]

    def _profile_images(self, project: Path, say: Callable[[str], None]) -> Images:
        from runner.sandbox.images import Images

        try:
            self._make_driver("docker").check()
        except EngineUnavailable:
            return Images(self._settings.cache, project, "bubblewrap", "staging", say)
        return Images(self._settings.cache, project, "docker", "staging", say)

    # -- secrets ----------------------------------------------------------------------------------------

    def bindings(self) -> Bindings:
        """Return the operator's bindings."""
        from runner.vault.bindings import Bindings

        return Bindings(self._settings.config, self._store())

    def set_secret(self, name: str, value: bytes, mode: str) -> None:
        """Seal a value into the store."""
        self._store().set(name, value, mode)

    def secret_rows(self) -> list[dict[str, Any]]:
        """Return every name with its source and who may have it; never a value."""
        bound = [dataclasses.asdict(binding) for binding in self.bindings().list()]
        named = {(row["name"], row["mode"]) for row in bound}
        bound += [
            {"name": stored.name, "source": "store", "mode": stored.mode, "workflow": None}
            for stored in self._store().list()
            if (stored.name, stored.mode) not in named
        ]
        return bound

    def _store(self) -> SecretStore:
        from runner.vault.store import SecretStore

        return SecretStore(self._settings.home, self._settings.config)
