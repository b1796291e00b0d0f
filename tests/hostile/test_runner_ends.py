"""The command itself under attack: killed, unread, signalled, on a sick disk; nothing may be left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command

NAP = "name: nap\nsteps:\n  nap: {run: sleep 300, out: ['*']}\n"
STUBBORN = (
    "name: nap\nsteps:\n  nap: {run: \"trap '' TERM INT HUP; sleep 300; sleep 300\"}\n"
    "finally:\n  late: {run: sleep 300}\n"
)


def start(runner: Command, text: str, engine: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        runner.argv("run", runner.workflow(text), "--engine", engine),
        env=runner.environment(),
        cwd=runner.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout
    while b"nap" not in child.stdout.readline():
        assert child.poll() is None
    return child


def left_behind(home: Path) -> list[str]:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    return mounts + [str(path) for path in home.glob("runs/*/attempts.*")]


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("cleaner", ["gc", "exec"])
def test_what_a_killed_runner_left_is_unmounted_and_removed(
    runner: Command, engine: str, delay: float, cleaner: str
) -> None:
    child = start(runner, NAP, engine)
    time.sleep(delay)
    child.kill()
    child.communicate()
    assert left_behind(runner.home)
    more = ("--engine", engine, "--", "true") if cleaner == "exec" else ()
    done = runner(cleaner, *more)
    assert done.code == 0, done.err
    assert left_behind(runner.home) == []


def test_gc_leaves_a_live_run_alone(runner: Command, engine: str) -> None:
    child = start(runner, NAP.replace("sleep 300", "sleep 2; echo x > /out/x"), engine)
    assert runner("gc").code == 0
    child.communicate(timeout=60)
    assert child.returncode == 0


def test_a_reader_that_goes_away_ends_a_silent_step(runner: Command, engine: str) -> None:
    child = start(runner, NAP, engine)
    assert child.stdout
    child.stdout.close()
    started = time.monotonic()
    assert child.wait(30) == 130
    assert time.monotonic() - started < 5
    assert left_behind(runner.home) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_even_what_ignores_the_first(
    runner: Command, engine: str, number: signal.Signals
) -> None:
    child = start(runner, STUBBORN, engine)
    time.sleep(0.5)
    child.send_signal(number)
    time.sleep(0.5)
    child.send_signal(number)
    started = time.monotonic()
    child.communicate(timeout=30)
    assert child.returncode == 130
    assert time.monotonic() - started < 8
    assert left_behind(runner.home) == []


@pytest.mark.parametrize("words", ["ps", "--version", "no-such-command", "run nofile"])
@pytest.mark.parametrize("where", [">&-", "2>&-", ">/dev/full", "2>&1 | true", "<&- >&- 2>&-"])
def test_output_that_goes_nowhere_gives_no_traceback(runner: Command, words: str, where: str) -> None:
    line = f'exec 3>&2; "$@" {words} {where}; echo "status ${{PIPESTATUS[0]}}" >&3'
    argv = ["bash", "-c", line, "bash", *runner.argv()]
    environment = {name: value for name, value in runner.environment().items() if name != "RUNNER_DEBUG"}
    done = subprocess.run(
        argv, env=environment, cwd=runner.project, capture_output=True, text=True, timeout=30, check=False
    )
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert "defect" not in told
    assert told.splitlines()[-1] in {f"status {code}" for code in (0, 2, 4, 130)}


def test_a_follower_whose_reader_went_away_ends_though_the_step_is_silent(runner: Command) -> None:
    child = start(runner, NAP, "bubblewrap")
    follower = subprocess.Popen(
        runner.argv("logs", "latest", "-f"),
        env=runner.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert follower.stdout
    time.sleep(0.5)
    assert follower.poll() is None, "it follows"
    follower.stdout.close()
    assert follower.wait(10) in {0, 130}
    child.terminate()
    child.communicate(timeout=30)
