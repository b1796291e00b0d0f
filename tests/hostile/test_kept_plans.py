"""A kept plan is used only where planning anew would give the same; no file in its place can say otherwise."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from runner.errors import NotBuilt, WorkflowError
from runner.planning.kept import LARGEST, MOST
from runner.plans import plan_file, plan_to_run
from runner.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from runner.planning.plan import Plan

WORKFLOW = """
name: kept
metadata: {runbook: runbook.md}
inputs: {who: {type: string, default: world}}
defaults: {mounts: ["./scripts:/app"]}
steps:
  greet:
    run: [echo, hello]
    breaker: hub
    env: {WHO: "${{ inputs.who }}"}
  pack:
    run: [echo]
    sandbox: python
    requirements: lock.txt
"""
LOCK = "six==1.17.0 --hash=sha256:" + "ab" * 32 + "\n"


@dataclass
class Place:
    folder: Path
    settings: Settings

    @property
    def file(self) -> Path:
        return self.folder / "project" / "workflow.yaml"

    @property
    def kept(self) -> Path:
        return self.settings.cache / "plans"

    def entry(self) -> Path:
        (path,) = self.kept.iterdir()
        return path

    def plan(self, **given: str) -> Plan:
        return plan_to_run(self.settings, self.file, "staging", given)

    def anew(self, **given: str) -> Plan:
        return plan_file(self.settings, self.file, "staging", given)[1]

    def written(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.kept.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "project" / "scripts").mkdir(parents=True)
    (tmp_path / "project" / "scripts" / "a.py").write_text("print(1)\n")
    (tmp_path / "project" / "lock.txt").write_text(LOCK)
    (tmp_path / "project" / "runbook.md").write_text("Call somebody.\n")
    (tmp_path / "project" / "runner.yaml").write_text("breakers: {hub: {failures: 3}}\n")
    policy = tmp_path / "policy.yaml"
    made = Place(
        tmp_path, Settings(tmp_path / "home", tmp_path / "cache" / "runner", tmp_path / "config", policy)
    )
    made.file.write_text(WORKFLOW)
    return made


def test_the_same_workflow_is_planned_once_and_gets_the_same_plan(place: Place) -> None:
    first = place.plan()
    before = place.written()
    assert place.plan() == first == place.anew()
    assert place.written() == before
    assert place.entry().stat().st_mode & 0o777 == 0o600
    assert place.kept.stat().st_mode & 0o777 == 0o700


def _edit(place: Place) -> None:
    place.file.write_text(WORKFLOW.replace("hello", "hallo"))


def _edit_mount(place: Place) -> None:
    (place.folder / "project" / "scripts" / "a.py").write_text("print(2)\n")


def _swap_mount(place: Place) -> None:
    scripts = place.folder / "project" / "scripts"
    scripts.rename(scripts.with_name("old"))
    scripts.with_name("new").mkdir()
    scripts.symlink_to("new")


def _policy(place: Place) -> None:
    place.settings.policy.write_text("max_parallel: 2\n")


def _breaker(place: Place) -> None:
    (place.folder / "project" / "runner.yaml").write_text("breakers: {hub: {failures: 2}}\n")


def _recipe(place: Place) -> None:
    profile = place.folder / "project" / "sandboxes" / "minimal"
    profile.mkdir(parents=True)
    (profile / "profile.yaml").write_text("base: busybox\npackages: [busybox-static]\npath: /bin\n")


def _runbook(place: Place) -> None:
    (place.folder / "project" / "runbook.md").unlink()


def _lock(place: Place) -> None:
    (place.folder / "project" / "lock.txt").write_text(LOCK.replace("1.17.0", "1.16.0"))


@pytest.mark.parametrize(
    "change", [_edit, _edit_mount, _swap_mount, _policy, _breaker, _recipe, _runbook, _lock]
)
def test_whatever_a_plan_is_made_of_changes_it_is_planned_anew(place: Place, change: object) -> None:
    before = place.plan()
    assert callable(change)
    change(place)
    after = place.plan()
    assert after == place.anew()
    assert after != before


def test_another_input_is_another_plan(place: Place) -> None:
    assert place.plan(who="a").steps["greet"].env == {"WHO": "a"}
    assert place.plan(who="b").steps["greet"].env == {"WHO": "b"}
    assert len(place.written()) == 2


def test_a_project_that_grows_around_the_file_is_seen(place: Place) -> None:
    runner_yaml = place.folder / "project" / "runner.yaml"
    place.plan()
    runner_yaml.rename(place.folder / "runner.yaml")
    assert place.plan().project == str(place.folder)


def test_a_mount_that_now_leads_outside_is_refused_though_its_plan_was_kept(place: Place) -> None:
    place.plan()
    scripts = place.folder / "project" / "scripts"
    scripts.rename(place.folder / "outside")
    scripts.symlink_to(place.folder / "outside")
    with pytest.raises(WorkflowError, match="leaves the project"):
        place.plan()


def test_a_snapshot_that_was_spoiled_is_taken_again(place: Place) -> None:
    mount = place.plan().steps["greet"].mounts[0]
    (mount.source / "a.py").write_text("print('evil')\n")
    place.plan()
    assert (mount.source / "a.py").read_text() == "print(1)\n"


def test_what_may_not_run_is_never_kept(place: Place) -> None:
    place.file.write_text(WORKFLOW + '    probe: {run: "true"}\n')
    for _ in range(2):
        with pytest.raises(NotBuilt):
            place.plan()
    assert not place.kept.exists() or not place.written()


@pytest.mark.parametrize("size", [0, 1, 64, 65, 66, 200, -1])
def test_a_torn_entry_is_ignored_and_replaced(place: Place, size: int) -> None:
    right = place.plan()
    whole = place.entry().read_bytes()
    place.entry().write_bytes(whole[:size])
    assert place.plan() == right
    assert place.entry().read_bytes() == whole


def test_garbage_and_a_changed_byte_are_ignored(place: Place) -> None:
    right = place.plan()
    whole = place.entry().read_bytes()
    for hostile in (os.urandom(4096), whole.replace(b'"hello"', b'"evil!"'), b"[]", b"\n" * 99):
        place.entry().write_bytes(hostile)
        assert place.plan() == right


def test_a_plan_under_the_key_of_another_is_ignored(place: Place) -> None:
    place.plan(who="a")
    entry = place.entry()
    place.plan(who="b")
    (other,) = set(place.kept.iterdir()) - {entry}
    entry.replace(other)
    assert place.plan(who="b").steps["greet"].env == {"WHO": "b"}


def _link(entry: Path) -> None:
    entry.rename(entry.parent.parent / "elsewhere")
    entry.symlink_to(entry.parent.parent / "elsewhere")


def _pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def _folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


def _readable(entry: Path) -> None:
    entry.chmod(0o666)


def _foreign(entry: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(entry, 65534, 65534)


@pytest.mark.parametrize("spoil", [_link, _pipe, _folder, _readable, _foreign])
def test_what_is_no_private_file_of_ours_is_not_believed(place: Place, spoil: object) -> None:
    right = place.plan()
    entry = place.entry()
    assert callable(spoil)
    spoil(entry)
    assert place.plan() == right
    state = entry.lstat()
    assert entry.is_dir() or (state.st_mode, state.st_uid) == (stat.S_IFREG | 0o600, os.geteuid())


def test_a_strangers_folder_in_place_of_ours_is_left_alone(place: Place) -> None:
    place.settings.cache.mkdir(parents=True)
    (place.folder / "theirs").mkdir()
    place.kept.symlink_to(place.folder / "theirs")
    assert place.plan() == place.anew()
    assert not list((place.folder / "theirs").iterdir())


def test_a_cache_that_cannot_be_written_costs_time_only(place: Place) -> None:
    place.settings.cache.parent.mkdir()
    place.settings.cache.write_text("a file where a folder should be")
    assert place.plan() == place.anew()


def test_the_folder_stays_bounded_with_what_a_killed_runner_left(place: Place) -> None:
    place.kept.mkdir(parents=True, mode=0o700)
    for number in range(MOST + 20):
        (place.kept / f".left.{number}").write_text("torn")
    place.plan()
    assert len(place.written()) <= MOST
    place.file.write_text(WORKFLOW + "# " + "x" * 64)
    place.plan(who="x" * 60_000)
    assert all(path.stat().st_size <= LARGEST + 65 for path in place.kept.iterdir())


def test_many_runners_at_once_all_get_the_plan(place: Place) -> None:
    right = place.anew()
    with ThreadPoolExecutor(8) as pool:
        plans = [one.result() for one in [pool.submit(place.plan) for _ in range(32)]]
    assert all(plan == right for plan in plans)
    assert len(place.written()) == 1


def test_a_file_that_changes_while_it_is_read_leaves_no_plan_of_other_bytes(place: Place) -> None:
    texts = [WORKFLOW, WORKFLOW.replace("hello", "evil!")]
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            for text in texts:
                draft = place.file.with_name("draft")
                draft.write_text(text)
                draft.replace(place.file)

    with ThreadPoolExecutor(1) as pool:
        flipping = pool.submit(flip)
        for _ in range(30):
            place.plan()
        over.set()
        flipping.result()
    for text, word in zip(texts, ("hello", "evil!"), strict=True):
        place.file.write_text(text)
        assert place.plan().steps["greet"].argv == ("echo", word)
