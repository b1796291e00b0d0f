"""What is taken out of a dead sandbox, and what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runner.errors import SandboxError
from runner.sandbox.attempt_folder import AttemptFolder
from runner.sandbox.base import Limits
from runner.sandbox.collect import Caps, collect_directory, matcher

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def limits(output: int = MIB) -> Limits:
    return Limits(64 * MIB, 1, 32, 64, MIB, MIB, MIB, output, MIB)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "sub/a.csv", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "x/y/a.csv", True),
        ("sub/**", "sub/x/y", True),
        ("sub/", "sub/x", True),
        ("a.csv", "aXcsv", False),
        ("[ab].txt", "a.txt", True),
        ("[!ab].txt", "a.txt", False),
        ("[z-a].txt", "z.txt", False),
        ("?.txt", "/.txt", False),
        ("./a.txt", "a.txt", True),
    ],
)
def test_patterns_match_as_globs_do(pattern: str, name: str, *, expected: bool) -> None:
    assert bool(matcher(pattern).fullmatch(name)) is expected


def test_files_that_match_are_moved_into_a_private_folder(out: Path, tmp_path: Path) -> None:
    (out / "sub").mkdir()
    (out / "sub" / "a.txt").write_bytes(b"hello")
    (out / "left.bin").write_bytes(b"x")
    found = collect_directory(out, ["sub/*.txt"], Caps(), tmp_path / "into")
    assert [(file.name, file.size, file.path.read_bytes()) for file in found.files] == [
        ("sub/a.txt", 5, b"hello")
    ]
    assert found.files[0].path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "into").stat().st_mode & 0o777 == 0o700
    assert found.refused == ()


def test_what_is_not_a_plain_file_is_refused_and_named(out: Path, tmp_path: Path) -> None:
    (out / "link").symlink_to("/etc/passwd")
    os.mkfifo(out / "pipe")
    (out / "one").write_bytes(b"1")
    os.link(out / "one", out / "two")
    (out / "folder").symlink_to("/etc")
    found = collect_directory(out, ["*", "folder/passwd"], Caps(), tmp_path / "into")
    assert found.files == ()
    words = "\n".join(found.refused)
    assert "link: is a symbolic link" in words
    assert "pipe: is a named pipe" in words
    assert "one: has 2 hard links" in words
    assert "folder: is a symbolic link" in words
    assert "folder/passwd: was not written" in words


def test_a_named_file_that_is_missing_is_said(out: Path, tmp_path: Path) -> None:
    found = collect_directory(out, ["rows.csv", "*.txt"], Caps(), tmp_path / "into")
    assert found.refused == ("rows.csv: was not written",)


def test_caps_on_count_bytes_depth_and_names_hold(out: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (out / name).write_bytes(b"12345")
    (out / "d" / "e").mkdir(parents=True)
    (out / "d" / "e" / "deep").write_bytes(b"")
    (out / "bad\nname").write_bytes(b"")
    (out / os.fsdecode(b"odd\xff")).write_bytes(b"")
    found = collect_directory(out, ["**"], Caps(files=2, size=9, depth=1), tmp_path / "into")
    words = "\n".join(found.refused)
    assert [file.name for file in found.files] == ["a"]
    assert "b: is too much" in words
    assert "d/e: lies deeper than 1 folders" in words
    assert "bad\\nname: has a name with unprintable characters" in words
    assert "odd\\xff: has a name with unprintable characters" in words


def test_too_many_entries_end_the_walk(out: Path, tmp_path: Path) -> None:
    for number in range(12):
        (out / str(number)).touch()
    found = collect_directory(out, ["*"], Caps(entries=10), tmp_path / "into")
    assert found.files == ()
    assert "more than 10 entries" in found.refused[0]


def test_inputs_are_placed_readable_and_only_inside(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    source.chmod(0o600)
    folder = AttemptFolder(tmp_path / "attempt", limits(), os.geteuid(), os.getegid())
    folder.prepare()
    try:
        folder.place_inputs({"x/y/rows.csv": source})
        placed = folder.inputs / "x" / "y" / "rows.csv"
        assert placed.read_bytes() == b"data"
        assert placed.stat().st_mode & 0o444 == 0o444
        for name in ("../x", "/x", "", "a/../../b", "a\0b", "."):
            with pytest.raises(SandboxError):
                folder.place_inputs({name: source})
    finally:
        folder.release()
    assert not folder.inputs.exists()
    assert not folder.out.exists()
    folder.release()


@pytest.mark.parametrize("limit", [MIB, 300 * MIB])
def test_output_beyond_the_limit_shows(tmp_path: Path, limit: int) -> None:
    folder = AttemptFolder(tmp_path / "attempt", limits(limit), os.geteuid(), os.getegid())
    folder.prepare()
    try:
        assert not folder.over_limit
        with (folder.out / "file").open("wb", buffering=0) as file:
            file.write(b"x" * MIB)
            assert not folder.over_limit
            if folder.in_memory:
                written = file.write(b"x" * MIB)
                assert written == 4096
                assert folder.over_limit
        assert folder.used() >= MIB
    finally:
        folder.release()


def test_empty_files_count_since_inodes_run_out_too(tmp_path: Path) -> None:
    folder = AttemptFolder(tmp_path / "attempt", limits(300 * MIB), os.geteuid(), os.getegid())
    folder.prepare()
    try:
        for number in range(100):
            (folder.out / f"{number}").touch()
        assert folder.used() >= 100 * 4096
    finally:
        folder.release()


def test_a_tree_that_denies_its_owner_is_removed(tmp_path: Path) -> None:
    folder = AttemptFolder(tmp_path / "attempt", limits(300 * MIB), os.geteuid(), os.getegid())
    folder.prepare()
    (folder.out / "shut" / "inner").mkdir(parents=True)
    (folder.out / "shut").chmod(0)
    folder.release()
    assert not folder.out.exists()
