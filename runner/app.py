"""The only file that names concrete classes: it puts engine, stores and drivers together."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.clock import SteadyClock, SystemClock, rfc3339
from runner.errors import EngineUnavailable, RunnerError, UsageError
from runner.planning.plan import image_refs
from runner.settings import Settings, choices
from runner.store.journal import Journal
from runner.store.layout import Layout
from runner.store.locks import is_live

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runner.clock import Cancellation
    from runner.engine.ahead import Attempts
    from runner.engine.lanes import Lanes
    from runner.engine.ports import Observer, Work
    from runner.events import Record
    from runner.planning.plan import ImageRef, Plan
    from runner.sandbox.base import Driver, Image
    from runner.sandbox.images import Images
    from runner.settings import Choices
    from runner.store.journal import Ownership
    from runner.vault.bindings import Bindings
    from runner.vault.store import SecretStore

_ENGINES = ("docker", "gvisor", "bubblewrap")


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches a run and may end it; ``say`` takes a line of plain words, ``around`` wraps the driver."""

    observer: Observer
    cancellation: Cancellation
    abandonment: Cancellation
    say: Callable[[str], None]
    around: Callable[[Driver], Driver] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What driving a run takes beside its stores: ``origin`` is the run whose idempotency keys it keeps."""

    ownership: Ownership
    plan: Plan
    driver: Driver
    images: Mapping[ImageRef, Image]
    watching: Watching
    choices: Choices
    origin: str


class App:
    """Runner as the commands use it, over one state folder."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is touched until a method needs it."""
        self._settings = settings
        self.clock = SteadyClock(SystemClock())
        self.layout, self.cache = Layout(settings.home), settings.cache

    @classmethod
    def from_environment(cls) -> App:
        """Return the application for this process's environment."""
        return cls(Settings.from_environment(os.environ))

    # -- what a run is driven with -----------------------------------------------------------------------

    def journal(self) -> Journal:
        """Open the journal; close it after use."""
        return Journal(self.layout.journal, self.clock)

    def attempts(self, stage: Stage) -> Attempts:
        """Return the attempts of a run, in a folder that no other runner of it uses."""
        from runner.engine.ahead import Attempts

        run, fence = stage.ownership.run, stage.ownership.fence
        return Attempts(run, stage.plan, self.layout.attempts(run, fence))

    def work(self, stage: Stage, journal: Journal, records: Sequence[Record], ahead: Lanes | None) -> Work:
        """Return what driving a run on from ``records`` takes; ``ahead`` may have its first sandbox."""
        from runner.admission.arbiter import Arbiter
        from runner.engine.ports import Stores, Work
        from runner.network import RunNetwork
        from runner.store.artifacts import Artifacts
        from runner.store.quarantine import Quarantine
        from runner.vault.mask import Masker
        from runner.wiring import RunImages, RunJournal, RunLogs, RunSecrets

        run, plan, watching = stage.ownership.run, stage.plan, stage.watching
        arbiter = Arbiter(run, plan, self.is_live, stage.choices.hold_after)
        own = RunJournal(journal, stage.ownership, arbiter, len(records))
        network = RunNetwork(stage.choices.authorities)
        network.prepare(plan)
        stores = Stores(
            own,
            Artifacts(self._settings.home),
            RunLogs(self.layout, run),
            RunSecrets(self.bindings, own, plan, self.clock, Quarantine(self.layout, run, self.secret_store)),
            Masker,
            network,
        )
        return Work(
            run=run,
            plan=plan,
            driver=stage.driver,
            images=RunImages(stage.images),
            stores=stores,
            observer=watching.observer,
            clock=self.clock,
            cancellation=watching.cancellation,
            abandonment=watching.abandonment,
            folder=self.attempts(stage).folder,
            lanes=stage.choices.parallel,
            origin=stage.origin,
            ahead=ahead,
        )

    def images(
        self, plan: Plan, driver: Driver, say: Callable[[str], None]
    ) -> tuple[dict[ImageRef, Image], tuple[str, ...]]:
        """Find every image of a plan; returns them with the warnings that a reader of the run must see."""
        from runner.sandbox.images import Images

        images = Images(self._settings.cache, Path(plan.project), driver.name, plan.mode, say)
        found = {ref: images.find(ref.kind, ref.name) for ref in sorted(image_refs(plan), key=str)}
        for warning in images.warnings:
            say(f"warning: {warning}")
        return found, tuple(images.warnings)

    def same_images(
        self, plan: Plan, driver: Driver, digests: Mapping[str, str], say: Callable[[str], None]
    ) -> dict[ImageRef, Image]:
        """Find the very images that a run began with; raises ``ImageMissing`` where one is gone."""
        from runner.sandbox.images import Images

        images = Images(self._settings.cache, Path(plan.project), driver.name, plan.mode, say)
        return {
            ref: images.find_again(ref.kind, ref.name, digests.get(str(ref), ""))
            for ref in sorted(image_refs(plan), key=str)
        }

    def choices(self, plan: Plan) -> Choices:
        """Return what policy and the plan's project say."""
        return choices(self._settings, Path(plan.project) if plan.project else None)

    def is_live(self, run: str) -> bool:
        """Whether somebody drives the run."""
        return is_live(self.layout, run)

    # -- engines ----------------------------------------------------------------------------------------

    def driver(self, engine: str, mode: str, say: Callable[[str], None]) -> Driver:
        """Return the engine's driver; ``auto`` is Docker where it answers, else, in staging, bubblewrap."""
        if engine != "auto":
            return self.make_driver(engine)
        try:
            docker = self.make_driver("docker")
            docker.check()
        except EngineUnavailable as error:
            if mode == "production":
                raise
            say(f"engine: bubblewrap ({error.message})")
            return self.make_driver("bubblewrap")
        say("engine: docker")
        return docker

    def make_driver(self, engine: str) -> Driver:
        """Return the driver of ``docker``, ``gvisor`` or ``bubblewrap``."""
        state = self.layout.state_id()
        if engine == "bubblewrap":
            from runner.sandbox.bubblewrap.driver import BubblewrapDriver

            return BubblewrapDriver(state=state)
        from runner.sandbox.docker.driver import DockerDriver

        return DockerDriver(state=state, runtime="runsc" if engine == "gvisor" else "runc", name=engine)

    def examine(self) -> list[dict[str, Any]]:
        """Return what each engine is, can and cannot do here."""
        findings = []
        for engine in _ENGINES:
            try:
                able = self.make_driver(engine).check()
            except RunnerError as error:
                gap = {"what": engine, "why": error.message, "cure": error.cure}
                findings.append({"engine": engine, "usable": False, "version": "", "gaps": [gap]})
            else:
                gaps = [dataclasses.asdict(gap) for gap in able.gaps]
                findings.append({"engine": engine, "usable": True, "version": able.version, "gaps": gaps})
        return findings

    def collect_garbage(self, say: Callable[[str], None]) -> list[str]:
        """Remove what dead runs left, on every engine that answers; returns what was removed."""
        from runner.leftovers import Leftovers
        from runner.sandbox.packages import Packages

        removed: list[str] = []
        for engine in ("docker", "bubblewrap"):
            with suppress(EngineUnavailable):
                driver = self.make_driver(engine)
                removed += driver.reap(self.is_live)
                driver.close()
        removed += Leftovers(self.layout, self.journal, self.is_live, say).clear()
        return [*removed, *Packages(self.cache).clear(self.clock.now())]

    def reap(self, driver: Driver, say: Callable[[str], None], run: str = "") -> list[str]:
        """Remove what dead runs left, and what ``run`` left, which we drive from now on; results are kept."""
        from runner.leftovers import Leftovers

        def is_another_live(other: str) -> bool:
            return other != run and self.is_live(other)

        removed = driver.reap(is_another_live)
        return [*removed, *Leftovers(self.layout, self.journal, is_another_live, say, run).clear()]

    def build_profile(self, name: str, project: Path, say: Callable[[str], None]) -> str:
        """Build a profile and give it to the engine where one answers; returns the image's digest."""
        return self._profile_images(project, say).build(name).digest

    def profiles(self, project: Path) -> list[dict[str, Any]]:
        """Return the profiles that ``project`` can name."""
        return [dict(row) for row in self._profile_images(project, lambda _: None).list()]

    def _profile_images(self, project: Path, say: Callable[[str], None]) -> Images:
        from runner.sandbox.images import Images

        try:
            self.make_driver("docker").check()
        except EngineUnavailable:
            return Images(self._settings.cache, project, "bubblewrap", "staging", say)
        return Images(self._settings.cache, project, "docker", "staging", say)

    # -- breakers ---------------------------------------------------------------------------------------

    def breakers(self, project: Path) -> list[dict[str, Any]]:
        """Return every breaker that is declared for ``project`` or has a state."""
        from runner.admission import breakers

        with self.journal() as journal, journal.tables() as tables:
            found = breakers.rows(tables, choices(self._settings, project).breakers)
        return [
            {**dataclasses.asdict(row), "probe_at": rfc3339(row.probe_at) if row.probe_at else None}
            for row in found
        ]

    def trip_breaker(self, name: str, project: Path) -> None:
        """Open a breaker by hand; raises ``UsageError`` for a name that nobody declared."""
        from runner.admission import breakers

        self._need_breaker(name, project)
        with self.journal() as journal, journal.tables() as tables:
            breakers.trip(tables, name, self.clock.now())

    def reset_breaker(self, name: str, project: Path) -> None:
        """Close a breaker by hand; raises ``UsageError`` for a name that nobody declared."""
        from runner.admission import breakers

        self._need_breaker(name, project)
        with self.journal() as journal, journal.tables() as tables:
            breakers.reset(tables, name)

    def _need_breaker(self, name: str, project: Path) -> None:
        known = [row["name"] for row in self.breakers(project)]
        if name not in known:
            raise UsageError(f"there is no breaker {name!r}", cure=f"known: {', '.join(known) or 'none'}")

    # -- secrets ----------------------------------------------------------------------------------------

    def bindings(self) -> Bindings:
        """Return the operator's bindings."""
        from runner.vault.bindings import Bindings
        from runner.vault.sources.known import KnownSources

        store = self.secret_store()
        return Bindings(self._settings.config, store, self.clock, KnownSources(self._settings, store))

    def secret_store(self) -> SecretStore:
        """Return the operator's own encrypted values."""
        from runner.vault.store import SecretStore

        return SecretStore(self._settings.home, self._settings.config)
