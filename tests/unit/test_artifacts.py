"""Results by content: moved in, kept once, given out all at once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from runner.errors import StoreError, UsageError
from runner.store.artifacts import Artifacts


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_kept_file_moves_in_read_only_under_its_digest(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    source = _file(tmp_path / "rows.csv", b"a,b\n" * 1000)
    inode = source.stat().st_ino
    digest, size = artifacts.keep(source)
    assert (digest, size) == (hashlib.sha256(b"a,b\n" * 1000).hexdigest(), 4000)
    kept = artifacts.path(digest)
    assert not source.exists()
    assert kept.stat().st_ino == inode
    assert kept.stat().st_mode & 0o7777 == 0o444
    assert kept.read_bytes() == b"a,b\n" * 1000


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    first, _ = artifacts.keep(_file(tmp_path / "a", b"same"))
    second, _ = artifacts.keep(_file(tmp_path / "b", b"same"))
    assert first == second
    assert [path for path in (tmp_path / "home" / "objects").rglob("*") if path.is_file()] == [
        artifacts.path(first)
    ]


def test_a_file_from_another_file_system_is_copied(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system to write to")
    source = _file(memory / f"runner-test-{os.getpid()}", b"x" * 3_000_000)
    digest, size = Artifacts(tmp_path / "home").keep(source)
    assert size == 3_000_000
    assert not source.exists()
    assert hashlib.sha256(Artifacts(tmp_path / "home").path(digest).read_bytes()).hexdigest() == digest


def test_a_torn_object_is_replaced_by_a_whole_one(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    digest, _ = artifacts.keep(_file(tmp_path / "a", b"content"))
    artifacts.path(digest).chmod(0o644)
    artifacts.path(digest).write_bytes(b"con")
    artifacts.keep(_file(tmp_path / "b", b"content"))
    assert artifacts.path(digest).read_bytes() == b"content"


def test_an_empty_file_is_a_result_too(tmp_path: Path) -> None:
    digest, size = Artifacts(tmp_path / "home").keep(_file(tmp_path / "a", b""))
    assert (digest, size) == (hashlib.sha256().hexdigest(), 0)


def test_an_unknown_digest_is_a_store_error(tmp_path: Path) -> None:
    for wrong in ("00" * 32, "../../etc/passwd", "", "zz" * 32):
        with pytest.raises(StoreError):
            Artifacts(tmp_path / "home").path(wrong)


def test_an_export_gives_copies_in_folders(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    one, _ = artifacts.keep(_file(tmp_path / "1", b"one"))
    two, _ = artifacts.keep(_file(tmp_path / "2", b"two"))
    dest = tmp_path / "new" / "results"
    artifacts.export([("clean/rows.csv", one), ("load/receipt.json", two)], dest)
    assert (dest / "clean" / "rows.csv").read_bytes() == b"one"
    (dest / "load" / "receipt.json").write_bytes(b"changed")
    assert artifacts.path(two).read_bytes() == b"two"
    assert [path.name for path in dest.parent.iterdir()] == ["results"]


def test_an_export_fills_an_empty_folder_and_refuses_anything_else(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    one, _ = artifacts.keep(_file(tmp_path / "1", b"one"))
    empty = tmp_path / "empty"
    empty.mkdir()
    artifacts.export([("f", one)], empty)
    assert (empty / "f").read_bytes() == b"one"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for taken in (empty, _file(tmp_path / "file", b""), link):
        with pytest.raises(UsageError, match="not an empty folder"):
            artifacts.export([("f", one)], taken)
    assert not (tmp_path / "elsewhere").exists()


def test_a_failing_export_leaves_nothing(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    one, _ = artifacts.keep(_file(tmp_path / "1", b"one"))
    artifacts.path(one).chmod(0o644)
    artifacts.path(one).write_bytes(b"0ne")
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="damaged"):
        artifacts.export([("f", one)], tmp_path / "out" / "dest")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../f", "/f", "a//b", "", ".", "a/../../f", "a\0b"])
def test_an_export_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    artifacts = Artifacts(tmp_path / "home")
    one, _ = artifacts.keep(_file(tmp_path / "1", b"one"))
    with pytest.raises(UsageError, match="not the name"):
        artifacts.export([(name, one)], tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


def test_an_export_refuses_two_results_of_one_name(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    one, _ = artifacts.keep(_file(tmp_path / "1", b"one"))
    with pytest.raises(UsageError, match="same name"):
        artifacts.export([("f", one), ("f", one)], tmp_path / "dest")
