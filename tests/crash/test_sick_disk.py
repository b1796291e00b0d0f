"""A state folder that fills up under a run, or cannot be written: nothing is torn, and the run goes on later."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from bank import leftovers
from conftest import Command, make_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILLS = """
name: fills
defaults: {resources: {memory: 64MiB, output: 8MiB}}
steps:
  first: {run: echo 1 > /out/one, out: [one]}
  big: {needs: [first], run: dd if=/dev/urandom of=/out/big bs=1k count=%s 2>/dev/null, out: [big]}
  last: {in: {big: big/big, one: first/one}, run: cat /in/one && test $(stat -c %%s /in/big) = $((%s * 1024))}
"""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=20)


@contextmanager
def small_home(folder: Path) -> Iterator[Command]:
    """Give a command whose state folder is a file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    made = make_command(folder)
    made.home.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "runner-test", str(made.home))
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.home)], check=True, timeout=20)


def make_room(home: Path) -> None:
    mount("-o", "remount,size=64m", str(home))


def is_whole(home: Path, copy: Path) -> bool:
    """Whether the journal, copied as it lies on the full disk, is sound."""
    copy.mkdir()
    for path in home.glob("journal.db*"):
        shutil.copy(path, copy / path.name)
    with closing(sqlite3.connect(copy / "journal.db")) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def finish(command: Command) -> None:
    """Resume the run where it has not ended, and look at its end."""
    done = command("resume", "latest", "--json")
    assert done.code == 0, done.err
    report = command("show", "latest", "--json").report
    assert report["status"] == "succeeded"
    assert report["steps"]["first"]["attempts"] == 1, "what had succeeded was done again"


def test_a_disk_that_a_result_fills_stops_the_run_and_a_resume_ends_it_once_there_is_room(
    tmp_path: Path, engine: str
) -> None:
    with small_home(tmp_path) as command:
        done = command.run(FILLS % (2000, 2000), engine)
        assert done.code == 4, done.out + done.err
        assert "space" in done.err
        assert is_whole(command.home, tmp_path / "copy")
        make_room(command.home)
        finish(command)
        assert leftovers(command.home)[1:] == []  # the first is the mount that holds the state folder


def test_a_disk_that_somebody_else_fills_between_two_writes_tears_nothing(
    tmp_path: Path, engine: str
) -> None:
    with small_home(tmp_path) as command:
        slow = FILLS.replace("echo 1", "sleep 2; echo 1") % (10, 10)
        process = subprocess.Popen(
            command.argv("run", command.workflow(slow), "--engine", engine, "--json"),
            cwd=command.project,
            env=command.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await_start(command)
        fill(command.home / "ballast")
        _, told = process.communicate(timeout=60)
        assert process.returncode == 4, told.decode()
        assert b"space" in told
        assert is_whole(command.home, tmp_path / "copy")
        make_room(command.home)
        assert command("resume", "latest", "--json").code == 0
        assert command("show", "latest", "--json").report["status"] == "succeeded"
        assert leftovers(command.home)[1:] == []


def await_start(command: Command) -> None:
    for _ in range(200):
        shown = command("show", "latest", "--json")
        if shown.code == 0 and shown.report["steps"]["first"]["status"] == "running":
            return
    raise AssertionError("the run does not start")


def fill(path: Path) -> None:
    """Take all room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_a_state_folder_that_cannot_be_written_is_named_before_anything_runs(
    tmp_path: Path, engine: str
) -> None:
    with small_home(tmp_path) as command:
        assert command.run(FILLS % (1, 1), engine).code == 0
        mount("-o", "remount,ro", str(command.home))
        done = command.run(FILLS % (1, 1), engine)
        shown = command("show", "latest", "--json")
        mount("-o", "remount,rw", str(command.home))
        assert done.code == 4, done.err
        assert str(command.home) in done.err
        assert "Traceback" not in done.err
        assert shown.code in {0, 4}
        assert is_whole(command.home, tmp_path / "copy")
        assert leftovers(command.home)[1:] == []
