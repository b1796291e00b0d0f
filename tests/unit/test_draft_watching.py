"""Watching: which files are opened, and what a copy of a folder holds."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from runner.draft.folder import CAPS, copied, sweep
from runner.draft.reads import Reads
from runner.draft.seen import what_was_seen
from runner.draft.witness import Witness
from runner.errors import UsageError
from runner.events import AttemptEnded, AttemptStarted, ConnectionEnded, Record, RunCreated
from runner.sandbox.base import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from runner.events import Event


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    for name in ("a", "b", "deep/c", "deep/er/d", "empty"):
        (root / name).write_text("" if name == "empty" else name)
    return root


def test_what_is_opened_is_seen_and_what_is_looked_at_is_not(tree: Path) -> None:
    reads = Reads(tree)
    (tree / "a").read_bytes()
    (tree / "deep/er/d").read_bytes()
    (tree / "b").stat()
    assert list((tree / "deep").iterdir())
    assert reads.read() == {"a", "deep/er/d"}
    reads.forget()
    assert reads.read() == frozenset()
    reads.close()
    reads.close()


def test_by_bytes_only_what_is_read_counts_and_what_is_empty(tree: Path) -> None:
    reads = Reads(tree, by_bytes=True)
    for name in ("a", "empty"):
        (tree / name).read_bytes()
    os.close(os.open(tree / "b", os.O_RDONLY))
    assert reads.read() == {"a", "empty"}
    reads.close()


def test_more_than_the_kernel_can_tell_is_told(tree: Path) -> None:
    reads = Reads(tree)
    with reads._lock:
        for _ in range(9000):
            for name in ("a", "b"):
                os.close(os.open(tree / name, os.O_RDONLY))
    reads.read()
    assert reads.lost
    reads.close()


def test_a_copy_lacks_what_no_sandbox_may_see_and_says_so(tree: Path, tmp_path: Path) -> None:
    for name in (".git", ".venv", ".ssh", "venv", "state"):
        (tree / name).mkdir()
        (tree / name / "x").write_text("x")
    for name in (".env", ".env.local", "own.yaml"):
        (tree / name).write_text("x")
    (tree / "inside").symlink_to("deep/c")
    (tree / "outside").symlink_to("/etc/passwd")
    (tree / "up").symlink_to("deep/../../x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    os.mkfifo(tree / "pipe")
    folder = copied(tree, tmp_path, (tree / "state", tree / "own.yaml"))
    assert folder.files == ("a", "b", "deep/c", "deep/er/d", "empty")
    assert folder.links == {"inside": "deep/c"}
    assert sorted(folder.without) == [
        ".env", ".env.local", ".ssh", ".venv", "outside", "pipe", "socket", "up", "venv"
    ]  # fmt: skip
    assert (folder.root / "deep/er/d").read_text() == "deep/er/d"
    assert (folder.root / "a").stat().st_ino != (tree / "a").stat().st_ino
    folder.remove()
    folder.remove()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tree"]


def test_a_folder_that_is_too_large_is_refused_and_nothing_of_it_stays(tree: Path, tmp_path: Path) -> None:
    with (tree / "huge").open("wb") as file:
        file.truncate(CAPS.size + 1)
    with pytest.raises(UsageError, match="folder of their own"):
        copied(tree, tmp_path, ())
    assert [each.name for each in tmp_path.iterdir()] == ["tree"]


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(
    tree: Path, tmp_path: Path
) -> None:
    living, dead = copied(tree, tmp_path, ()), tmp_path / ".watched-dead"
    dead.mkdir()
    for path in (dead, living.root.parent):
        os.utime(path, (1, 1))
    (tmp_path / ".watched-new").mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.glob(".watched-*")) == sorted(
        [living.root.parent.name, ".watched-new"]
    )


def test_the_most_that_was_used_is_kept() -> None:
    from pathlib import Path

    witness = Witness(Path())
    for used in (Usage(5, None), Usage(3, 2), Usage(), Usage(4, 1)):
        witness.note(used)
    assert witness.used == Usage(5, 2)


def records(*events: Event) -> list[Record]:
    first = RunCreated("w", "staging", "docker", "", "")
    return [Record(number, 10.0 + number, "", 0, event) for number, event in enumerate((first, *events))]


def asked(host: str, method: str, **more: object) -> ConnectionEnded:
    return ConnectionEnded("a", 1, "run", host, 443, method=method, **more)  # type: ignore[arg-type]


def test_what_was_asked_is_one_row_a_host() -> None:
    seen = what_was_seen(
        "r",
        records(
            AttemptStarted("a", 1),
            asked("b.example", "CONNECT", denied="no"),
            asked("a.example", "GET", rule='"x"', count=3),
            asked("b.example", "CONNECT", rule='"y"'),
            asked("", "", denied="no head"),
            AttemptEnded("a", 1, exit_code=1, reason="exit", outputs={"left": "./a\n./b c\n"}),
        ),
        ["ModuleNotFoundError: No module named 'x.y'", "socket.gaierror: -3"],
    )
    assert [(each.host, each.count, each.rule, each.is_plain) for each in seen.asked] == [
        ("a.example", 3, '"x"', True),
        ("b.example", 2, '"y"', False),
    ]
    assert (seen.unnamed, seen.missing, seen.looked_up, seen.left) == (1, ("x.y",), True, ("a", "b c"))
    assert (seen.seconds, seen.is_the_scripts) == (5.0, True)


def test_the_last_attempt_counts_where_the_engine_had_to_try_again() -> None:
    seen = what_was_seen(
        "r",
        records(
            AttemptStarted("a", 1),
            AttemptEnded("a", 1, reason="infra"),
            AttemptStarted("a", 2),
            AttemptEnded("a", 2, exit_code=0),
        ),
        [],
    )
    assert (seen.reason, seen.seconds) == (None, 1.0)


def test_a_run_that_says_nothing_of_the_script_is_told_apart() -> None:
    assert not what_was_seen("r", records(), []).is_the_scripts
    ended = AttemptEnded("a", 1, reason="infra")
    assert not what_was_seen("r", records(AttemptStarted("a", 1), ended), []).is_the_scripts
