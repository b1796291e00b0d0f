"""Whatever kills a runner that holds leases, the next one takes every one of them back."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from conftest import finished, need, until
from leasing import LeasedProject

from runner.events import AttemptEnded, LeaseReturned, LeaseTaken, SecretRevoked
from runner.vault.binding import Binding

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> LeasedProject:
    need("bubblewrap")
    return LeasedProject.new(tmp_path)


def test_a_lease_ends_before_its_attempt_does(project: LeasedProject) -> None:
    done = project.act("start", project.workflow("wc -c < /run/secrets/DB"))
    assert done.code == 0, done.err
    kinds = [type(event) for event in project.events()]
    assert kinds.index(LeaseTaken) < kinds.index(LeaseReturned) < kinds.index(AttemptEnded)
    assert (len(project.server.minted), project.server.names("live")) == (1, [])


@pytest.mark.parametrize("run", ["exit 3", "sleep 50", "kill -9 $$"])
def test_a_lease_ends_however_its_attempt_does(project: LeasedProject, run: str) -> None:
    text = project.workflow(run)
    (project.command.project / "digest.yaml").write_text(
        (project.command.project / "digest.yaml").read_text().replace("timeout: 60s", "timeout: 1s")
    )
    assert project.act("start", text).code == 1
    assert (len(project.server.minted), project.server.names("live")) == (1, [])


def test_a_run_that_is_cancelled_leaves_no_lease(project: LeasedProject) -> None:
    child = project.running()
    run = project.leases()[0]["run"]
    assert project.command("cancel", run).code == 0
    assert finished(child).code == 130
    assert (len(project.server.minted), project.server.names("live")) == (1, [])


@pytest.mark.parametrize("moment", ["minted", "journaled", "started", "ended"])
@pytest.mark.parametrize("next_act", ["sweep", "start", "resume"])
def test_a_runner_that_is_killed_leaks_no_lease(project: LeasedProject, moment: str, next_act: str) -> None:
    text = project.workflow("wc -c < /run/secrets/DB")
    assert project.act("start", text, kill=moment).code == -signal.SIGKILL
    assert len(project.server.names("live")) == 1
    assert [lease["live"] for lease in project.leases()] == [False]
    rest = {"sweep": (), "start": (text,), "resume": ("latest",)}[next_act]
    done = project.act(next_act, *rest)
    assert done.code == 0, done.err
    minted = 1 if next_act == "sweep" else 2
    assert (len(project.server.minted), project.server.names("live"), project.leases()) == (minted, [], [])


def test_the_lease_of_a_run_that_somebody_drives_is_left_alone(project: LeasedProject) -> None:
    child = project.running()
    assert project.act("sweep").code == 0
    assert project.act("start", project.workflow("true", "other")).code == 0
    assert len(project.server.names("live")) == 1
    assert [lease["live"] for lease in project.leases()] == [True]
    child.terminate()
    finished(child)
    assert project.server.names("live") == []


def test_a_source_that_is_down_at_the_end_costs_no_result_and_is_asked_again(project: LeasedProject) -> None:
    child = project.begin("start", project.workflow("echo ready; sleep 1"))
    while not project.server.names("live"):
        time.sleep(0.02)
    project.server.down = True
    assert finished(child).code == 0
    assert len(project.server.names("live")) == len(project.leases()) == 1
    assert project.act("sweep").code == 1
    project.server.down = False
    assert project.act("sweep").code == 0
    assert (project.server.names("live"), project.leases()) == ([], [])


def test_a_source_that_is_down_at_the_start_is_tried_again(project: LeasedProject) -> None:
    project.server.down = True
    child = project.begin("start", project.workflow("true"))
    until(child, "AttemptEnded")
    project.server.down = False
    assert finished(child).code == 0
    ends = [event for event in project.events() if isinstance(event, AttemptEnded)]
    assert [event.reason for event in ends][-1] is None
    assert ends[0].reason == "infra"
    assert not ends[0].began
    assert project.server.names("live") == []


def test_what_is_revoked_ends_in_running_steps_of_other_processes_and_at_its_source(
    project: LeasedProject,
) -> None:
    children = [project.running(name) for name in ("one", "two")]
    began = time.monotonic()
    done = project.act("revoke", "db", "")
    assert time.monotonic() - began < 5
    assert done.code == 0, done.out + done.err
    assert done.report["workflows"] == ["one", "two"]
    assert len(done.report["ended"]) == len(done.report["leases"]) == 2
    assert done.report["left"] == done.report["elsewhere"] == []
    assert project.server.names("live") == []
    for child in children:
        ended = finished(child)
        assert ended.code == 3
        assert ended.report["steps"]["load"]["reason"] == "denied"
    assert [event for event in project.events() if isinstance(event, SecretRevoked)]
    refused = project.act("start", project.workflow("true"))
    assert refused.code == 1  # the script's traceback: the command itself says 3
    assert "revoked by anna at" in refused.err
    assert "runner secrets bind db --from lease:ro#password" in refused.err
    time.sleep(0.01)
    project.bind(Binding("db", "lease:ro#password"))
    assert project.act("start", project.workflow("true")).code == 0


def test_a_workflow_that_is_revoked_takes_no_other_with_it(project: LeasedProject) -> None:
    bad, good = project.running("bad"), project.running("good")
    done = project.act("revoke", "", "bad")
    assert done.report["workflows"] == ["bad"]
    assert finished(bad).code == 3
    assert len(project.server.names("live")) == 1
    assert good.poll() is None
    good.terminate()
    finished(good)
    assert "secrets of workflow bad were revoked" in project.act("start", project.workflow("true", "bad")).err
    assert project.act("start", project.workflow("true", "good")).code == 0


def test_a_runner_that_does_not_hear_is_named_and_its_lease_is_worth_nothing(project: LeasedProject) -> None:
    child = project.running()
    child.send_signal(signal.SIGSTOP)
    done = project.act("revoke", "db", "")
    assert done.code == 4
    assert "still runs load.1" in done.report["left"][0]
    assert "--take-over" in done.report["left"][0]
    assert project.server.names("live") == []
    child.send_signal(signal.SIGCONT)
    assert finished(child).code == 3


def test_a_source_that_is_down_leaves_the_lease_and_says_so(project: LeasedProject) -> None:
    child = project.running()
    project.server.down = True
    done = project.act("revoke", "db", "")
    assert done.code == 4
    assert "does not answer" in done.report["left"][0]
    assert finished(child).code == 3
    project.server.down = False
    assert project.act("revoke", "db", "").code == 0
    assert (project.server.names("live"), project.leases()) == ([], [])
