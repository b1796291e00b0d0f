"""A run that is taken over: the old owner is fenced off before anything of its is removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scripted_engine import Seen, step

from runner.app import App, Watching
from runner.clock import Cancellation
from runner.events import RunCreated
from runner.planning.codec import plan_json
from runner.planning.plan import Plan
from runner.runs import Runs
from runner.sandbox.base import Image
from runner.sandbox.fake import FakeDriver
from runner.settings import Settings
from runner.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recorded(FakeDriver):
    """Writes down when it was asked to reap."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        self.told.append("reap")
        return super().reap(is_live)


class RecordedJournal(Journal):
    """Writes down when a run was opened."""

    told: list[str]

    def open_run(self, run: str) -> Any:
        self.told.append("fence")
        return super().open_run(run)


class RecordedApp(App):
    """Runner over a fake engine, with what it does first written down."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Settings(folder / "home", folder / "cache", folder / "config", folder / "policy"))
        self.told: list[str] = []

    def journal(self) -> Journal:
        journal = RecordedJournal(self.layout.journal, self.clock)
        journal.told = self.told
        return journal

    def make_driver(self, engine: str) -> Any:
        assert engine == "fake"
        return Recorded(self.told)

    def same_images(self, plan: Plan, *_: Any) -> Any:
        return {one.image: Image("i", "sha256:1") for one in plan.steps.values()}


def test_a_run_is_fenced_before_what_its_old_runner_left_is_removed(tmp_path: Path) -> None:
    app = RecordedApp(tmp_path)
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": step("a")}, project=str(tmp_path))
    with app.journal() as journal:
        journal.create_run("r1", json.dumps(plan_json(plan)), RunCreated("w", "staging", "fake", "d", "p"))
    watching = Watching(Seen(), Cancellation(), Cancellation(), lambda _: None)
    report, code = Runs(app).resume("r1", watching)
    assert (report["status"], code) == ("succeeded", 0)
    assert app.told[:2] == ["fence", "reap"]
