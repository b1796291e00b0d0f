"""What a lost attempt left is handed out like other results, but for a run that has secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scripted_engine import step

from runner.clock import SystemClock
from runner.errors import UsageError
from runner.events import ArtifactKept, AttemptEnded, AttemptStarted, RunCreated, RunStarted
from runner.history import History
from runner.planning.codec import plan_json
from runner.planning.plan import Plan, SecretUse
from runner.settings import Settings
from runner.store.artifacts import Artifacts
from runner.store.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def lost(folder: Path, *secrets: SecretUse) -> History:
    """Return the history of a run whose only attempt was lost, with one result."""
    settings = Settings(folder / "home", folder, folder, folder / "policy")
    steps = {"a": step("a", outputs=("f",), secrets=secrets)}
    plan = Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, steps)
    with Journal(folder / "home" / "journal.db", SystemClock()) as journal:
        (folder / "f").write_text("half")
        kept = ArtifactKept("f", *Artifacts(folder / "home").keep(folder / "f"))
        ended = AttemptEnded("a", 1, reason="infra", artifacts=(kept,), lost=True)
        created = RunCreated("w", "staging", "fake", "d", "p")
        ownership = journal.create_run("r1", json.dumps(plan_json(plan)), created)
        journal.append(ownership, [RunStarted(), AttemptStarted("a", 1), ended])
    return History(settings)


def test_what_a_lost_attempt_left_can_be_taken(tmp_path: Path) -> None:
    lost(tmp_path).export("r1", tmp_path / "got", partial=True)
    assert (tmp_path / "got" / "a" / "f").read_text() == "half"


def test_what_a_lost_attempt_left_was_not_searched_for_secrets_and_stays(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="left no result files"):
        lost(tmp_path, SecretUse("PIN", "pin")).export("r1", tmp_path / "got", partial=True)
    assert not (tmp_path / "got").exists()
