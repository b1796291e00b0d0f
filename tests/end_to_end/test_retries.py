"""A run that has ended is retried or undone later, by as many people as like to, and nothing is done twice."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import finished

if TYPE_CHECKING:
    from conftest import Command, Done

CHAIN = """
name: chain
steps:
  load:
    run: "cat /proc/sys/kernel/random/uuid > /out/id; echo loaded $(cat /out/id) key $RUNNER_IDEMPOTENCY_KEY"
    out: [id]
    compensate: {run: "echo undid $(cat /done/id)"}
  read: {in: {id: load/id}, run: "echo read $(cat /in/id)"}
  last: {needs: [read], run: "exit 3"}
finally:
  z: {run: "echo bye"}
"""
WRITE = """
name: write
steps:
  one: {run: "cat /proc/sys/kernel/random/uuid > /out/id", out: [id]}
  pay: {in: {id: one/id}, effects: write, run: &w "exit 3", staging: {run: *w}}
"""
GOOD = "name: good\nsteps:\n  a: {run: 'echo x > /out/x', out: [x], compensate: {run: 'true'}}\n"


def words(done: Done, pattern: str) -> list[str]:
    return re.findall(pattern, done.err)


def statuses(done: Done, table: str = "steps") -> dict[str, Any]:
    return {name: each["status"] for name, each in done.report[table].items()}


def test_a_retry_makes_anew_what_builds_on_what_was_undone(runner: Command, engine: str) -> None:
    first = runner.run(CHAIN, engine)
    second = runner("retry", "latest", "--json")
    for done in (first, second):
        assert (done.code, done.report["status"]) == (1, "rolled-back"), done.err
        ids = words(done, "\\b(?:loaded|read|undid) ([-0-9a-f]{36})")
        assert len(ids) == 3, done.err
        assert len(set(ids)) == 1, "a step read what another run's step left"
        assert "z | bye" in done.err, "every run has its finally steps"
    assert words(first, "loaded ([-0-9a-f]+)") != words(second, "loaded ([-0-9a-f]+)")
    assert words(first, "key ([0-9a-f]+)") == words(second, "key ([0-9a-f]+)")


def test_a_write_in_doubt_is_retried_only_when_somebody_says_so(runner: Command) -> None:
    first = runner.run(WRITE, "bubblewrap")
    assert (first.code, first.report["status"]) == (1, "failed")
    refused = runner("retry", "latest", "--json")
    assert refused.code == 2
    assert "pay may have written" in refused.report["error"]
    assert "--again" in refused.report["cure"]
    again = runner("retry", "latest", "--again", "--json")
    assert again.code == 1
    assert "carried over" in again.err
    assert again.report["steps"]["one"]["attempts"] == 0
    assert runner("retry", first.report["run"], "--again").code == 2, "another went on from it"
    whole = runner("retry", "latest", "--from", "one", "--again", "--json")
    assert whole.report["steps"]["one"]["attempts"] == 1
    assert runner("retry", "latest", "--from", "nope", "--json").code == 2


def test_of_two_that_retry_a_run_at_once_one_goes_on(runner: Command) -> None:
    assert runner.run(WRITE, "bubblewrap").code == 1
    first = runner("show", "latest", "--json").report["run"]
    both = [runner.begin("retry", first, "--again", "--json") for _ in range(4)]
    codes = sorted(finished(each).code for each in both)
    assert codes == [1, 2, 2, 2]
    assert len(runner("ps").out.splitlines()) == 3


def test_what_an_earlier_run_did_is_undone_by_the_one_that_went_on_from_it(runner: Command) -> None:
    text = CHAIN.replace("exit 3", "sleep 60")
    path = runner.workflow(text)
    child = runner.begin("run", path, "--engine", "bubblewrap", "--json")
    while b"last" not in (child.stderr.readline() if child.stderr else b""):
        assert child.poll() is None
    assert runner("cancel", "latest").code == 0
    cancelled = finished(child)
    assert statuses(cancelled, "rollback") == {}
    run = cancelled.report["run"]
    again = runner.begin("retry", run, "--json")
    while b"last" not in (again.stderr.readline() if again.stderr else b""):
        assert again.poll() is None
    refused = runner("rollback", run, "--json")
    assert refused.code == 2
    assert "undoes both" in refused.report["cure"]
    assert runner("cancel", "latest", "--rollback").code == 0
    ended = finished(again)
    assert statuses(ended, "rollback") == {"load": "compensated"}
    assert ended.report["steps"]["load"]["attempts"] == 0, "it was carried over"


def test_what_is_made_anew_but_not_reached_is_still_undone(runner: Command) -> None:
    text = """
name: reach
secrets: [pin]
steps:
  gate: {run: "grep -q open /run/secrets/PIN", secrets: {PIN: pin}}
  put: {needs: [gate], run: "echo was-put > /out/x", out: [x], compensate: {run: "cat /done/x"}}
"""
    assert runner("secrets", "set", "pin", stdin=b"gate-is-open").code == 0
    assert runner("secrets", "bind", "pin", "--from", "store:pin").code == 0
    assert runner.run(text, "bubblewrap").code == 0
    assert runner("secrets", "set", "pin", stdin=b"gate-is-shut").code == 0
    again = runner("retry", "latest", "--from", "gate", "--json")
    assert (again.code, again.report["status"]) == (1, "rolled-back"), again.err
    assert statuses(again) == {"gate": "failed", "put": "skipped"}
    assert statuses(again, "rollback") == {"put": "compensated"}
    assert "put (compensate) | was-put" in again.err


def test_a_run_can_be_undone_later_but_not_for_ever(runner: Command) -> None:
    assert runner.run(GOOD, "bubblewrap").code == 0
    assert runner("show", "latest", "--json").report["rollback_until"]
    assert "can be undone until" in runner("show", "latest").out
    folder = runner.home.parent / "config" / "runner"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text("rollback_window: 1s\n")
    time.sleep(1.1)
    late = runner("rollback", "latest", "--json")
    assert late.code == 3, late.err
    assert "can no longer be undone" in late.report["error"]
    (runner.project / "runner.yaml").write_text("rollback_window: 300d\n")
    assert runner("rollback", "latest").code == 3, "a project cannot widen it"
    (folder / "policy.yaml").unlink()
    (runner.project / "runner.yaml").write_text("")
    assert runner("rollback", "latest").code == 0
    assert runner("show", "latest", "--json").report["rollback_until"] is None


@pytest.mark.parametrize("command", ["resume", "retry", "cancel", "rollback", "show"])
def test_json_is_one_value_also_when_there_is_no_such_run(runner: Command, command: str) -> None:
    done = runner(command, "nope", "--json")
    assert (done.code, done.out.count("\n")) == (2, 1)
    assert done.report == {"error": "there is no run 'nope'", "cure": "runner ps lists the runs", "exit": 2}
    wrong = runner(command, "nope", "--json", "--no-such-flag")
    assert (wrong.code, wrong.report["exit"]) == (2, 2)
    assert "--no-such-flag" in wrong.report["error"]
