"""Circuit breakers from the installed command: one state for all processes, and no more than one probe."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import finished, until

if TYPE_CHECKING:
    from conftest import Command, Done

HUB = "breakers: {hub: {failures: 2, reset: 1h}}\n"
PASSED = HUB.replace(
    "1h", "1ms"
)  # the same breaker once its reset has passed: no test has to be quicker than a clock


def workflow(run: str, more: str = "") -> str:
    return f"name: w\nsteps:\n  s: {{run: {json.dumps(run)}, breaker: hub{more}}}\n"


def declare(runner: Command, text: str = HUB) -> None:
    (runner.project / "runner.yaml").write_text(text)


def policy(runner: Command, text: str) -> None:
    folder = runner.home.parent / "config" / "runner"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(text)


def hub(runner: Command) -> dict[str, Any]:
    (row,) = json.loads(runner("breakers", "--json").out)
    assert row["name"] == "hub"
    return dict(row)


def reason(done: Done) -> str | None:
    found: str | None = done.report["steps"]["s"]["reason"]
    return found


def test_failures_open_it_and_a_probe_that_succeeds_closes_it(runner: Command, engine: str) -> None:
    declare(runner)
    for _ in range(2):
        assert reason(runner.run(workflow("exit 3"), engine)) == "exit"
    assert hub(runner)["state"] == "open"
    refused = runner.run(workflow("true"), engine)
    assert (refused.code, reason(refused)) == (1, "breaker-open"), refused.err
    assert refused.report["steps"]["s"]["attempts"] == 0
    assert "the next probe may run at 20" in refused.err
    declare(runner, PASSED)
    assert reason(runner.run(workflow("exit 3"), engine)) == "exit", "the probe"
    assert hub(runner)["state"] == "open", "and it failed"
    assert runner.run(workflow("true"), engine).code == 0
    assert (hub(runner)["state"], hub(runner)["failures"]) == ("closed", 0)


def test_of_twenty_processes_that_ask_at_once_one_probes(runner: Command) -> None:
    declare(runner, "breakers: {hub: {failures: 1, reset: 50ms}}\n")
    assert runner.run(workflow("exit 3"), "bubblewrap").code == 1
    path = runner.workflow(workflow("sleep 60"), "probe.yaml")
    asked = [runner.begin("run", path, "--engine", "bubblewrap", "--json") for _ in range(20)]
    deadline = time.monotonic() + 60
    while sum(each.poll() is None for each in asked) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (probing,) = [each for each in asked if each.poll() is None]
    refused = [finished(each) for each in asked if each is not probing]
    assert {(done.code, reason(done)) for done in refused} == {(1, "breaker-open")}
    row = hub(runner)
    assert row["state"] == "half-open"
    probing.terminate()
    probe = finished(probing)
    assert (probe.code, row["probe"]) == (130, f"{probe.report['run']}/s/1")
    assert runner.run(workflow("true"), "bubblewrap").code == 0, "a probe that was ended says nothing"
    assert hub(runner)["state"] == "closed"


def test_the_probe_of_a_killed_runner_is_given_away(runner: Command) -> None:
    declare(runner, "breakers: {hub: {failures: 1, reset: 50ms}}\n")
    assert runner.run(workflow("exit 3"), "bubblewrap").code == 1
    child = runner.begin(
        "run", runner.workflow(workflow("echo probing; sleep 60")), "--engine", "bubblewrap", "--json"
    )
    until(child, "s | probing")
    child.kill()
    child.communicate()
    assert hub(runner)["state"] == "half-open"
    assert runner.run(workflow("true"), "bubblewrap").code == 0
    assert hub(runner)["state"] == "closed"


def test_steps_that_run_side_by_side_still_do_with_one_breaker(runner: Command, engine: str) -> None:
    declare(runner)
    nap = "{run: sleep 0.8, breaker: hub}"
    done = runner.run(f"name: w\nsteps:\n  a: {nap}\n  b: {nap}\n", engine)
    assert done.code == 0, done.err
    steps = done.report["steps"]
    assert max(step["started"] for step in steps.values()) < min(step["ended"] for step in steps.values())


def test_a_breaker_that_waits_lets_its_step_go_on_after_the_reset(runner: Command) -> None:
    declare(runner, "breakers: {hub: {failures: 1, reset: 1s, on_open: wait}}\n")
    assert runner("breakers", "trip", "hub").code == 0
    tripped = hub(runner)
    assert (tripped["state"], tripped["limit"]) == ("open", 1)
    done = runner.run(workflow("true"), "bubblewrap")
    assert done.code == 0, done.err
    assert done.report["steps"]["s"]["started"] >= tripped["probe_at"]


def test_a_person_trips_and_resets_only_what_there_is(runner: Command) -> None:
    declare(runner)
    assert runner("breakers", "trip", "hub").code == 0
    assert reason(runner.run(workflow("true"), "bubblewrap")) == "breaker-open"
    assert runner("breakers", "reset", "hub").code == 0
    assert runner.run(workflow("true"), "bubblewrap").code == 0
    unknown = runner("breakers", "--json", "trip", "nope")
    assert (unknown.code, unknown.report["cure"]) == (2, "known: hub")


@pytest.mark.parametrize(("run", "more"), [("no-such-command", ""), ("true", ", secrets: {T: tok}")])
def test_what_is_not_the_services_fault_does_not_count(runner: Command, run: str, more: str) -> None:
    declare(runner, "breakers: {hub: {failures: 1, reset: 60s}}\n")
    assert runner("secrets", "bind", "tok", "--from", "env:NOT_SET_ANYWHERE").code == 0
    done = runner.run("secrets: [tok]\n" + workflow(run, more), "bubblewrap")
    assert done.code in {1, 3}, done.err
    assert reason(done) == ("denied" if more else "exit")
    assert (hub(runner)["state"], hub(runner)["failures"]) == ("closed", 0)


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_breaker_that_nobody_declared_is_an_error_with_its_place(runner: Command, command: str) -> None:
    path = runner.workflow(workflow("true"))
    done = runner(command, path)
    assert done.code == 2
    assert f"{path}:3:29: error: s: the breaker hub is not declared (known: none)" in done.err
    declare(runner)
    assert runner("validate", path).code == 0
    declare(runner, "breakers: {hub: {failures: many}}\n")
    broken = runner(command, path, "--json") if command != "plan" else runner(command, path)
    assert broken.code == 2
    assert "failures is a whole number" in broken.out + broken.err


def test_a_project_only_narrows_the_policys_breaker(runner: Command) -> None:
    policy(runner, "breakers: {hub: {failures: 2, reset: 30s}}\n")
    declare(runner, "breakers: {hub: {failures: 9, reset: 1ms, on_open: wait}}\n")
    assert hub(runner)["limit"] == 2
    for _ in range(2):
        assert reason(runner.run(workflow("exit 3"), "bubblewrap")) == "exit"
    assert reason(runner.run(workflow("true"), "bubblewrap")) == "breaker-open"


def test_a_workflow_that_keeps_failing_is_held_until_it_is_released(runner: Command) -> None:
    policy(runner, "hold_after: 2\n")
    declare(runner, "hold_after: 900\nbreakers: {hub: {failures: 100}}\n")
    for _ in range(2):
        assert runner.run(workflow("exit 3"), "bubblewrap").code == 1
    held = runner.run(workflow("true"), "bubblewrap")
    assert held.code == 3
    assert "failed 2 times in a row and is held" in held.report["error"]
    assert "runner breakers reset workflow/w" in held.report["cure"]
    assert runner("breakers", "reset", "workflow/w").code == 0
    assert runner.run(workflow("true"), "bubblewrap").code == 0
