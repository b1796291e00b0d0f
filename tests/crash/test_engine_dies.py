"""An engine that is killed under a run, stays away, hangs, or has lost the image: a clean way on each time."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from bank import leftovers
from conftest import Command, make_command
from engine_of_ours import PROFILE, Engine, HangingSocket, own_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PURE = """
name: pure
steps:
  first: {run: "true"}
  long: {needs: [first], run: sleep 3}
  last: {needs: [long], run: "true"}
"""
WRITE = """
name: write
metadata: {owner: tests}
steps:
  long: {effects: write, staging: {run: &long sleep 3}, run: *long}
"""
BOUND = 200  # seconds: far below forever, for an engine that never answers


@pytest.fixture(scope="module")
def own() -> Iterator[Engine]:
    with own_engine() as engine:
        yield engine


@dataclass(frozen=True)
class Elsewhere(Command):
    """The command, with an engine of its own."""

    host: str = ""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DOCKER_HOST": self.host}


@pytest.fixture
def runner(tmp_path: Path, own: Engine) -> Elsewhere:
    made = make_command(tmp_path)
    return Elsewhere(made.home, made.project, own.host)


def begin(runner: Command, text: str) -> subprocess.Popen[bytes]:
    """Start a run and return once its step ``long`` is under way."""
    argv = runner.argv("run", runner.workflow(text), "--engine", "docker", "--json")
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, cwd=runner.project, env=runner.environment(), stdout=pipe, stderr=pipe)
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        shown = runner("show", "latest", "--json")
        if shown.code == 0 and shown.report["steps"]["long"]["status"] == "running":
            time.sleep(0.7)  # its sandbox comes to life
            return process
        time.sleep(0.1)
    raise AssertionError(process.communicate(timeout=10))


def end(process: subprocess.Popen[bytes], code: int) -> None:
    out, told = process.communicate(timeout=BOUND)
    assert process.returncode == code, (out + told).decode()


def show(runner: Command) -> dict[str, Any]:
    return runner("show", "latest", "--json").report


def left(runner: Command, engine: Engine) -> list[str]:
    state = (runner.home / "id").read_text().strip()
    return [
        *engine.docker("ps", "-aq", "--filter", f"label=runner.state={state}").split(),
        *leftovers(runner.home),
    ]


def test_a_pure_step_under_an_engine_that_was_killed_and_came_back_is_tried_again(
    runner: Elsewhere, own: Engine
) -> None:
    process = begin(runner, PURE)
    own.kill()
    own.start()
    end(process, 0)
    report = show(runner)
    assert report["status"] == "succeeded"
    assert report["steps"]["first"]["attempts"] == 1
    assert report["steps"]["long"]["attempts"] > 1
    assert left(runner, own) == []


@pytest.mark.soak
def test_a_write_under_an_engine_that_was_killed_is_held(runner: Elsewhere, own: Engine) -> None:
    process = begin(runner, WRITE)
    own.kill()
    own.start()
    end(process, 6)
    report = show(runner)
    assert report["status"] == "held"
    assert report["steps"]["long"]["attempts"] == 1
    assert left(runner, own) == []


@pytest.mark.soak
def test_an_engine_that_stays_away_ends_the_run_with_its_journal_whole(
    runner: Elsewhere, own: Engine
) -> None:
    process = begin(runner, PURE)
    own.kill()
    end(process, 4)
    report = show(runner)
    own.start()
    assert report["status"] == "interrupted"
    assert report["steps"]["last"]["status"] == "pending"
    assert runner("resume", report["run"], "--json").code == 0
    assert left(runner, own) == []


@pytest.mark.soak
def test_a_run_whose_engine_is_away_is_resumed_once_it_is_back(runner: Elsewhere, own: Engine) -> None:
    process = begin(runner, PURE)
    process.kill()
    process.communicate(timeout=20)
    own.kill()
    run = show(runner)["run"]
    away = runner("resume", run, "--json")
    assert away.code == 4, away.err
    assert "no Docker Engine answers" in away.err
    assert show(runner)["status"] == "interrupted"
    own.start()
    back = runner("resume", run, "--json")
    assert back.code == 0, back.err
    assert left(runner, own) == []


@pytest.mark.soak
def test_an_engine_that_accepts_and_never_answers_is_given_up(runner: Elsewhere, own: Engine) -> None:
    proxy = HangingSocket(own.folder / "hangs", str(own.socket))
    proxy.hang()
    began = time.monotonic()
    behind = replace(runner, host=f"unix://{proxy.path}")
    done = behind.run(PURE, "docker", seconds=BOUND)
    print(f"an engine that never answers was given up after {time.monotonic() - began:.0f} s")
    proxy.close()
    proxy.path.unlink()
    assert done.code == 4, done.err
    assert "did not answer in time" in done.err


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_engine_that_stops_to_answer_under_a_run_is_given_up(runner: Elsewhere, own: Engine) -> None:
    proxy = HangingSocket(own.folder / "hangs", str(own.socket))
    behind = replace(runner, host=f"unix://{proxy.path}")
    process = begin(behind, PURE.replace("steps:", "defaults: {timeout: 5s}\nsteps:"))
    proxy.hang()
    began = time.monotonic()
    out, told = process.communicate(timeout=500)
    print(f"an engine that stopped to answer was given up after {time.monotonic() - began:.0f} s")
    proxy.close()
    proxy.path.unlink()
    assert process.returncode == 4, (out + told).decode()
    assert show(runner)["status"] in {"failed", "interrupted"}
    assert runner("gc").code == 0
    assert left(runner, own) == []


@pytest.mark.soak
def test_an_image_that_vanished_is_named_and_the_run_resumed_once_it_is_back(
    runner: Elsewhere, own: Engine
) -> None:
    kept = own.make_image("lost:1")
    run = interrupted(runner, PURE.replace("run: sleep 3", "image: 'lost:1', run: sleep 3"))
    own.docker("rmi", "-f", "lost:1")
    gone = runner("resume", run, "--json")
    own.docker("load", "-i", str(kept))
    assert gone.code == 4, gone.err
    assert "lost:1" in gone.err
    assert show(runner)["status"] == "interrupted"
    back = runner("resume", run, "--json")
    assert back.code == 0, back.err
    assert left(runner, own) == []


@pytest.mark.soak
def test_a_profile_that_vanished_is_built_again_to_the_byte(runner: Elsewhere, own: Engine) -> None:
    run = interrupted(runner, PURE)
    own.docker("rmi", "-f", *own.docker("images", PROFILE, "-q").split())
    back = runner("resume", run, "--json")
    assert back.code == 0, back.err
    assert left(runner, own) == []


def interrupted(runner: Command, text: str) -> str:
    """Return a run that was left without its runner, and with nothing of it on the engine."""
    process = begin(runner, text)
    process.kill()
    process.communicate(timeout=20)
    assert runner("gc").code == 0
    return str(show(runner)["run"])
