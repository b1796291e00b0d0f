"""What an attempt left under ``/out`` when its runner was killed: whoever goes on with the run finds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bank import leftovers
from conftest import need, until

if TYPE_CHECKING:
    from conftest import Command, Done

PAY = """
name: pay
{top}
defaults: {{resources: {{memory: 64MiB, output: {output}, work: 1MiB, tmp: 1MiB}}}}
steps:
  pay:
    effects: write
    env: {{N: "${{{{ run.attempt }}}}"}}
    staging: {{run: &pay "test $N = 1 || exit 3; {line}; echo all left; sleep 60"}}
    run: *pay
    out: {out}
    {secrets}
    compensate: {{run: "for f in $(cd /done; find . -type f | sort); do echo undo $f $(head -c 20 /done/$f); done"}}
"""
LINE = "echo paid-7 > /out/receipt; mkdir /out/sub; echo part > /out/sub/more; echo k=v >> $RUNNER_OUTPUT"
FOUND = ["undo ./receipt paid-7", "undo ./sub/more part"]
SECRET = "canary-4711-0815"


def workflow(line: str = LINE, out: str = "[receipt, '**']", output: str = "1MiB", secrets: str = "") -> str:
    top = "secrets: [pin]" if secrets else ""
    return PAY.format(line=line, out=out, output=output, secrets=secrets, top=top)


def kill_at_work(runner: Command, text: str, engine: str) -> str:
    """Kill a runner once its step has left all that it will; return the run."""
    child = runner.begin("run", runner.workflow(text), "--engine", engine, "--json")
    until(child, "| all left")
    child.kill()
    child.communicate()
    return str(runner("show", "latest", "--json").report["run"])


def undone(runner: Command, run: str) -> list[str]:
    """Return what the compensations of a run found."""
    return [line for line in runner("logs", run).out.splitlines() if line.startswith("undo ")]


def resumed(runner: Command, run: str) -> Done:
    done = runner("resume", run, "--json")
    assert (done.code, done.report["status"]) == (1, "rolled-back"), done.err
    assert leftovers(runner.home) == []
    return done


@pytest.mark.parametrize("output", ["1MiB", "257MiB"], ids=["in-memory", "on-disk"])
def test_the_compensation_finds_what_the_lost_attempt_left(
    runner: Command, any_engine: str, output: str
) -> None:
    run = kill_at_work(runner, workflow(output=output), any_engine)
    resumed(runner, run)
    assert undone(runner, run) == FOUND


@pytest.mark.parametrize("cleaner", ["gc", "exec"])
def test_it_is_kept_by_another_command_that_clears_away_what_the_dead_run_left(
    runner: Command, engine: str, cleaner: str
) -> None:
    run = kill_at_work(runner, workflow(), engine)
    done = runner(cleaner, *(("--engine", "bubblewrap", "--", "true") if cleaner == "exec" else ()))
    assert done.code == 0, done.err
    assert not list(runner.home.glob("runs/*/attempts.*"))
    assert runner("show", run, "--json").report["status"] == "interrupted"
    resumed(runner, run)
    assert undone(runner, run) == FOUND


def test_a_run_that_is_cancelled_where_nobody_drives_it_can_be_rolled_back_with_it_later(
    runner: Command, engine: str
) -> None:
    run = kill_at_work(runner, workflow(), engine)
    assert runner("cancel", run, "--json").report["status"] == "cancelled"
    assert undone(runner, run) == []
    assert runner("outputs", run, "--partial", "-o", "parts").code == 0
    assert (runner.project / "parts" / "pay" / "receipt").read_text() == "paid-7\n"
    later = runner("rollback", run, "--json")
    assert (later.code, later.report["status"]) == (0, "rolled-back"), later.err
    assert undone(runner, run) == FOUND


def test_a_runner_that_is_taken_over_leaves_what_its_step_left(runner: Command, engine: str) -> None:
    child = runner.begin("run", runner.workflow(workflow()), "--engine", engine, "--json")
    until(child, "| all left")
    child.send_signal(19)
    try:
        done = runner("resume", "latest", "--take-over", "--json")
    finally:
        child.kill()
        child.communicate()
    assert (done.code, done.report["status"]) == (1, "rolled-back"), done.err
    assert undone(runner, "latest") == FOUND


def test_a_step_that_leaves_links_pipes_and_devices_gives_away_nothing_of_the_host(
    runner: Command, engine: str
) -> None:
    line = (
        "ln -s /etc/shadow /out/link; ln -s / /out/root; mkfifo /out/pipe; echo 1 > /out/one; ln /out/one /out/two;"
        " mkdir /out/receipt; echo x > /out/plain"
    )
    run = kill_at_work(runner, workflow(line, out="[receipt, '**', root/etc/shadow]"), engine)
    done = resumed(runner, run)
    assert undone(runner, run) == ["undo ./plain x"]
    for words in ("link: is a symbolic link", "pipe: is a named pipe", "one: has 2 hard links"):
        assert f"run {run}, pay: not taken: {words}" in done.err


def test_a_name_that_holds_a_secret_is_neither_kept_nor_told(runner: Command, engine: str) -> None:
    assert runner("secrets", "set", "pin", stdin=SECRET.encode()).code == 0
    assert runner("secrets", "bind", "pin", "--from", "store:pin").code == 0
    name = "/out/a-$(cat /run/secrets/PIN)"
    line = f"{LINE}; echo x > {name}; mkdir {name}-d; ln -s x {name}-d/l; chmod 0 {name}-d"
    text = workflow(line, out="[receipt, '**', gone]", secrets="secrets: {PIN: pin}")
    run = kill_at_work(runner, text, engine)
    done = resumed(runner, run)
    assert undone(runner, run) == FOUND[:1]
    assert f"run {run}, pay: not taken: **: not looked for after a crash" in done.err
    assert SECRET not in done.err
    for path in runner.home.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("harm", ["folder-gone", "out-gone", "unmounted"])
def test_a_folder_that_is_gone_stops_no_resume(runner: Command, harm: str) -> None:
    need("bubblewrap")
    run = kill_at_work(runner, workflow(), "bubblewrap")
    (out,) = runner.home.glob("runs/*/attempts.*/0-r1/out")
    subprocess.run(["umount", "-l", str(out)], check=os.geteuid() == 0, timeout=20)
    if harm != "unmounted":
        shutil.rmtree(out if harm == "out-gone" else out.parent.parent)
    resumed(runner, run)
    assert undone(runner, run) == []


def test_a_full_disk_stops_no_resume_and_says_what_is_lost(runner: Command) -> None:
    need("bubblewrap")
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    run = kill_at_work(runner, workflow("head -c 900000 /dev/zero > /out/receipt"), "bubblewrap")
    objects = runner.home / "objects"
    objects.mkdir(mode=0o700)
    options = "size=64k,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "full", str(objects)], check=True, timeout=20)
    try:
        other = runner("exec", "--engine", "bubblewrap", "--", "true")
        assert other.code == 0, other.err
        assert f"what run {run} left stays where it is" in other.err
        assert list(runner.home.glob("runs/*/attempts.*/0-r1/out/receipt")), "a resume may have more luck"
        done = runner("resume", run, "--json")
    finally:
        subprocess.run(["umount", "-l", str(objects)], check=True, timeout=20)
    assert (done.code, done.report["status"]) == (1, "rolled-back"), done.err
    assert "what was left cannot be kept" in done.err
    assert undone(runner, run) == []
    assert list(Path(runner.home).glob("runs/*/attempts.*")) == []
