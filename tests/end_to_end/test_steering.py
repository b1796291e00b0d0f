"""Runs that are cancelled, resumed, retried, rolled back and taken over by other processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import finished, until

if TYPE_CHECKING:
    from conftest import Command

NAP = """
name: nap
steps:
  a: {run: "true", compensate: {run: "true"}}
  b: {needs: [a], run: "trap 'sleep 0.6; exit 1' TERM; echo napping; sleep 60 & wait", grace: 3s}
finally:
  z: {run: "true"}
"""
HELD = "name: held\nsteps:\n  pay: {effects: write, run: &w 'exit 75', staging: {run: *w}, retry: {max_attempts: 2}}\n"


def begin(runner: Command, text: str, engine: str = "bubblewrap", words: str = "| napping") -> Any:
    child = runner.begin("run", runner.workflow(text), "--engine", engine, "--json")
    until(child, words)
    return child


def killed(runner: Command, text: str = NAP) -> str:
    child = begin(runner, text)
    child.kill()
    child.communicate()
    shown: dict[str, Any] = runner("show", "latest", "--json").report
    assert shown["status"] == "interrupted"
    return str(shown["run"])


def status_of(runner: Command, run: str) -> str:
    return str(next(row["status"] for row in runner("ps", "--json").report if row["run"] == run))  # type: ignore[index]


@pytest.mark.parametrize(("more", "undone"), [((), {}), (("--rollback",), {"a": "compensated"})])
def test_a_live_run_is_cancelled_from_another_process(
    runner: Command, engine: str, more: tuple[str, ...], undone: dict[str, str]
) -> None:
    child = begin(runner, NAP, engine)
    asked = runner("cancel", "latest", *more, "--json")
    assert (asked.code, asked.out.count("\n")) == (0, 1), asked.err
    ended = finished(child)
    assert (ended.code, ended.out.count("\n")) == (130, 1), ended.err
    assert asked.report["run"] == ended.report["run"]
    assert ended.report["status"] == "cancelled"
    assert {name: step["status"] for name, step in ended.report["steps"].items()} == {
        "a": "succeeded", "b": "cancelled", "z": "succeeded",
    }  # fmt: skip
    assert {name: each["status"] for name, each in ended.report["rollback"].items()} == undone
    again = runner("cancel", "latest", "--json")
    assert (again.code, again.report["error"]) == (2, f"run {ended.report['run']} has ended")
    later = runner("rollback", "latest", "--json")
    assert (later.code, later.report.get("status")) == ((2, None) if undone else (0, "rolled-back"))


def test_asking_for_the_rollback_after_the_end_was_asked_for_does_not_give_it_up(runner: Command) -> None:
    child = begin(runner, NAP)
    assert runner("cancel", "latest").code == 0
    assert runner("cancel", "latest", "--rollback").code == 0
    ended = finished(child)
    assert (ended.code, ended.report["rollback"]["a"]["status"]) == (130, "compensated"), ended.err


def test_asking_twice_for_the_end_ends_no_finally_but_asking_for_it_now_does(runner: Command) -> None:
    text = NAP.replace('z: {run: "true"}', "z: {run: 'echo cleaning; sleep 1.5'}")
    child = begin(runner, text)
    assert [runner("cancel", "latest").code for _ in range(3)] == [0, 0, 0]
    ended = finished(child)
    assert (ended.code, ended.report["steps"]["z"]["status"]) == (130, "succeeded"), ended.err
    child = begin(runner, text)
    assert runner("cancel", "latest").code == 0
    until(child, "z | cleaning")
    assert runner("cancel", "latest", "--now").code == 0
    ended = finished(child)
    assert (ended.code, ended.report["steps"]["z"]["status"]) == (130, "cancelled"), ended.err
    assert runner("cancel", "latest", "--now", "--rollback").code == 2


def test_a_rollback_that_is_asked_for_while_the_finals_run_follows_them(runner: Command, engine: str) -> None:
    child = begin(runner, NAP.replace('z: {run: "true"}', "z: {run: 'echo cleaning; sleep 1.5'}"), engine)
    assert runner("cancel", "latest").code == 0
    until(child, "z | cleaning")
    assert runner("cancel", "latest", "--rollback").code == 0
    ended = finished(child)
    assert (ended.code, ended.report["status"]) == (130, "cancelled"), ended.err
    undone, last = ended.report["rollback"]["a"], ended.report["steps"]["z"]
    assert (undone["status"], last["status"]) == ("compensated", "succeeded")
    assert last["ended"] <= undone["started"]


def test_runs_that_nobody_drives_are_ended_where_it_is_asked(runner: Command) -> None:
    run = killed(runner)
    ended = runner("cancel", run, "--rollback", "--json")
    assert (ended.code, ended.report["status"]) == (130, "cancelled"), ended.err
    assert ended.report["rollback"]["a"]["status"] == "compensated"
    assert runner.run(HELD, "bubblewrap").code == 6
    held = runner("cancel", "latest", "--json")
    assert (held.code, held.report["steps"]["pay"]["status"]) == (130, "cancelled"), held.err


def test_of_two_that_resume_a_run_one_wins_and_the_other_is_told(runner: Command, engine: str) -> None:
    child = begin(runner, NAP.replace("sleep 60", "sleep 1.5"), engine)
    child.kill()
    child.communicate()
    both = [runner.begin("resume", "latest", "--json") for _ in range(2)]
    ends = sorted((finished(each) for each in both), key=lambda done: done.code)
    assert [done.code for done in ends] == [0, 4], [done.err for done in ends]
    assert "is being driven by another runner" in ends[1].report["error"]
    assert ends[0].report["steps"]["b"]["attempts"] == 2


def test_a_run_that_took_too_long_is_ended_and_undone(runner: Command, engine: str) -> None:
    done = runner.run(NAP.replace("name: nap", "name: nap\ntimeout: 1s"), engine)
    assert (done.code, done.report["status"]) == (1, "rolled-back"), done.err
    assert {name: step["status"] for name, step in done.report["steps"].items()} == {
        "a": "succeeded", "b": "failed", "z": "succeeded",
    }  # fmt: skip
    assert done.report["steps"]["b"]["reason"] == "timeout"


def test_a_run_waits_for_its_turn_and_a_killed_one_holds_no_place(runner: Command) -> None:
    text = NAP.replace("name: nap", "name: nap\nconcurrency: {group: g}")
    first = begin(runner, text)
    run = runner("show", "latest", "--json").report["run"]
    second = begin(runner, text, words=f"waiting for {run}")
    waiting = runner("show", "latest", "--json").report
    assert (waiting["status"], status_of(runner, waiting["run"])) == ("waiting", "waiting")
    first.kill()
    first.communicate()
    until(second, "| napping")
    assert status_of(runner, waiting["run"]) == "running"
    assert runner("cancel", waiting["run"]).code == 0
    assert finished(second).code == 130
    assert runner("gc").code == 0


def test_a_run_that_two_newer_ones_ask_for_its_place_still_ends_as_it_should(runner: Command) -> None:
    text = NAP.replace("name: nap", "name: nap\nconcurrency: {group: g, cancel-in-progress: true}")
    first = begin(runner, text.replace('run: "true"}\n', "run: sleep 1.5}\n"))
    newer = [begin(runner, text.replace("sleep 60", "sleep 0.1"), words="waiting for") for _ in range(2)]
    oldest = finished(first)
    assert (oldest.code, oldest.report["steps"]["z"]["status"]) == (130, "succeeded"), oldest.err
    codes = [finished(each).code for each in newer]
    assert 0 in codes, "one of the newer runs goes on"


def test_a_runner_that_was_taken_over_commits_nothing_and_destroys_nothing(
    runner: Command, engine: str
) -> None:
    text = NAP.replace("sleep 60", "sleep 2.5").replace(
        "finally:", "  c: {needs: [b], run: echo c}\nfinally:"
    )
    stopped = begin(runner, text, engine)
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        assert runner("resume", "latest", "--json").code == 4, "it is being driven"
        new = runner.begin("resume", "latest", "--take-over", "--json")
        until(new, "| napping")
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    old = finished(stopped)
    assert old.code == 4, old.err
    assert "has taken run" in old.report["error"], old.err
    assert "attempt 2" not in old.err, "the new owner's attempts are not its own"
    ended = finished(new)
    assert (ended.code, ended.report["status"]) == (0, "succeeded"), ended.err
    assert [ended.report["steps"][name]["attempts"] for name in "abcz"] == [1, 2, 1, 1]
    assert list(runner.home.glob("runs/*/attempts.*")) == []
    assert [line for line in Path("/proc/mounts").read_text().splitlines() if str(runner.home) in line] == []


def test_a_broken_runner_yaml_hides_no_run_that_was_made_before(runner: Command) -> None:
    (runner.project / "runner.yaml").write_text("{}\n")
    assert runner.run("name: w\nsteps:\n  a: {run: 'true'}\n", "bubblewrap").code == 0
    (runner.project / "runner.yaml").write_text("breakers: [\n")
    assert runner("show", "latest").code == 0
    assert runner("logs", "latest").code == 0
