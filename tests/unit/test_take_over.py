"""A run that is taken over: the old owner is fenced off before anything of its is removed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scripted_engine import Seen, step

from runner.app import App, Watching
from runner.clock import Cancellation
from runner.errors import PolicyDenied
from runner.events import CancelRequested, RunCreated
from runner.planning.codec import plan_json
from runner.planning.plan import Plan
from runner.runs import Runs
from runner.sandbox.base import Image
from runner.sandbox.fake import FakeDriver
from runner.settings import Settings
from runner.store.journal import Journal
from runner.workflow.hosts import parse_rule

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


class AskedApp(RecordedApp):
    """One whose run is asked to end after its journal was read, and before anything is driven."""

    def work(self, stage: Any, journal: Journal, *more: Any) -> Any:
        journal.note("r1", CancelRequested("in between"))
        return super().work(stage, journal, *more)


def test_what_is_noted_while_a_run_is_put_together_is_heard_once(tmp_path: Path) -> None:
    app = AskedApp(tmp_path)
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": step("a")}, project=str(tmp_path))
    with app.journal() as journal:
        journal.create_run("r1", json.dumps(plan_json(plan)), RunCreated("w", "staging", "fake", "d", "p"))
    watching = Watching(Seen(), Cancellation(), Cancellation(), lambda _: None)
    report, _ = Runs(app).resume("r1", watching)
    assert report["status"] == "cancelled"


def test_a_private_address_that_the_policy_no_longer_names_is_no_plans_to_reach(tmp_path: Path) -> None:
    app = RecordedApp(tmp_path)
    reaches = step("a", egress=(replace(parse_rule("https://db.internal"), private=True),))
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {"a": reaches}, project=str(tmp_path))
    watching = Watching(Seen(), Cancellation(), Cancellation(), lambda _: None)
    with pytest.raises(PolicyDenied, match=r"db\.internal:443 on a private address"):
        Runs(app).start(plan, "fake", watching)
    assert app.told == []
