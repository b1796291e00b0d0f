"""What is typed after ``runner init``, where the workflow may stand, and what is said beside each line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from init_bench import init, mounted, put, run

if TYPE_CHECKING:
    from conftest import Command


def test_the_copy_of_a_killed_process_is_swept_by_gc(runner: Command) -> None:
    stale = runner.home / "snapshots" / ".watched-dead"
    stale.mkdir(parents=True)
    for folder in (runner.home, stale.parent):
        folder.chmod(0o700)
    os.utime(stale, (1, 1))
    done = runner("gc")
    assert done.code == 0, done.err
    assert f"removed {stale}\n" in done.out
    assert not stale.exists()


def test_arguments_are_the_scripts_own_and_stay_words(runner: Command) -> None:
    put(runner, "say.sh", 'for each; do echo "<$each>"; done > /out/said\n')
    words = ["--force", "two words", "$(id)", "it's", "-o"]
    assert init(runner, "bubblewrap", "say.sh", *words).code == 0
    assert run(runner, "say.yaml", "bubblewrap").code == 0
    assert runner("outputs", "latest", "-o", "results").code == 0
    said = (runner.project / "results" / "say" / "said").read_text()
    assert said.splitlines() == [f"<{word}>" for word in words]


def test_nothing_is_written_over_without_force(runner: Command) -> None:
    put(runner, "a.sh", "true\n")
    mine = put(runner, "a.yaml", "mine")
    done = init(runner, "bubblewrap", "a.sh")
    assert (done.code, mine.read_text()) == (2, "mine")
    assert "--force" in done.err
    assert init(runner, "bubblewrap", "-o", "b.yaml", "a.sh").code == 0
    assert init(runner, "bubblewrap", "--force", "a.sh").code == 0
    assert "name: a\n" in mine.read_text()
    assert sorted(each.name for each in runner.project.iterdir()) == [
        "a.sh",
        "a.yaml",
        "b.yaml",
        "runner.yaml",
    ]


def test_a_workflow_may_stand_elsewhere_in_the_project_and_not_outside(runner: Command) -> None:
    put(runner, "scripts/deep/a.py", "open('b.txt').read()\n")
    put(runner, "scripts/deep/b.txt", "b")
    (runner.project / "flows").mkdir()
    assert init(runner, "bubblewrap", "-o", "flows/a.yaml", "scripts/deep/a.py").code == 0
    assert mounted(runner, "flows/a.yaml") == ["../scripts/deep/a.py", "../scripts/deep/b.txt"]
    assert run(runner, "flows/a.yaml", "bubblewrap").code == 0
    (runner.home.parent / "other").mkdir()
    done = init(runner, "bubblewrap", "-o", "../other/a.yaml", "scripts/deep/a.py")
    assert done.code == 2
    assert "outside the script's project" in done.err


@pytest.mark.parametrize(
    "words", ["", "no.py", ".", "a.js", "a.py --x ${{y}}", "--egress * a.py", "--egress http://a/b a.py",
              "--timeout 5 a.py", "--sandbox nope a.py", "--requirements no.txt a.py", "-o no/folder/a.yaml a.py", "-o a.py --force a.py"],
)  # fmt: skip
def test_wrong_words_are_two_and_nothing_is_written(runner: Command, words: str) -> None:
    put(runner, "a.py", "")
    put(runner, "a.js", "")
    done = init(runner, "bubblewrap", *words.split())
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert not list(runner.project.rglob("a.yaml"))


def test_an_engine_that_is_away_is_four_and_nothing_is_written(
    runner: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runner, "a.py", "")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert init(runner, "docker", "a.py").code == 4
    assert not (runner.project / "a.yaml").exists()
    assert not list(runner.home.glob("snapshots/.watched-*"))


def test_the_evidence_stands_beside_each_line(runner: Command) -> None:
    put(runner, "a.py", "print('x')\n")
    assert init(runner, "bubblewrap", "a.py").code == 0
    told = [line for line in (runner.project / "a.yaml").read_text().splitlines() if "  # " in line]
    keys = [re.split(r"[:#]", line.strip(" -"))[0] for line in told]
    assert keys == ["sandbox", '"./a.py', "run", "effects", "timeout", "memory", "pids"]
