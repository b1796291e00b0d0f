"""Logs: within their limit, readable while they grow, one file an attempt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from runner.errors import UsageError
from runner.store.layout import Layout, safe_name
from runner.store.logs import LogWriter, follow, read, tail

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = Layout(tmp_path).log("a1", "build", 1)
    with LogWriter(path, 1000) as log:
        assert log.write(b"one\n")
        assert log.write(b"two\n")
        assert log.size == 8
    assert b"".join(read(path)) == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_stops_at_its_limit_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with LogWriter(path, 10) as log:
        assert log.write(b"12345678")
        assert not log.write(b"9abcd")
        assert not log.write(b"e")
        assert log.over
    assert path.read_bytes() == b"123456789a"


def test_a_log_that_is_exactly_full_is_not_over(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "x.log", 4) as log:
        assert log.write(b"1234")
        assert log.write(b"")
        assert not log.over


def test_a_reopened_log_goes_on_and_counts_what_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        with LogWriter(tmp_path / "x.log", 6) as log:
            log.write(b"1234")
    assert log.over
    assert (tmp_path / "x.log").read_bytes() == b"123412"


def test_following_sees_what_comes_later_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    done = threading.Event()
    seen: list[bytes] = []
    first = threading.Event()

    def watch() -> None:
        for block in follow(path, done.is_set):
            seen.append(block)
            first.set()

    thread = threading.Thread(target=watch)
    thread.start()
    with LogWriter(path, 100) as log:
        log.write(b"early ")
        assert first.wait(5)
        log.write(b"late")
        done.set()
    thread.join(5)
    assert b"".join(seen) == b"early late"


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none.log")) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"\n".join(b"line %d" % number for number in range(300_000)) + b"\n")
    assert tail(path, 2) == [b"line 299998", b"line 299999"]
    path.write_bytes(b"one\n\nlast without end")
    assert tail(path, 2) == [b"", b"last without end"]
    assert tail(path, 0) == []


def test_every_id_has_its_own_harmless_file_name() -> None:
    ids = [
        "build",
        "a_b",
        "a/b",
        "a[b=1,c=../..]",
        "a[b=1,c=..\\..]",
        "",
        "..",
        "x" * 300,
        "x" * 301,
        "ü",
        "a\0b",
    ]
    names = [safe_name(each) for each in ids]
    assert len(set(names)) == len(ids)
    assert safe_name("build") == "build"
    assert all(name and "/" not in name and "\0" not in name and len(name) < 90 for name in names)
    assert not {".", ".."} & set(names)


def test_phases_and_attempts_have_their_own_logs(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    paths = {layout.log("a1", "s", 1), layout.log("a1", "s", 2), layout.log("a1", "s", 1, "compensate")}
    assert len(paths) == 3


@pytest.mark.parametrize("run", ["..", "a/b", "", "a\0", ".hidden", "x" * 80, "a\n"])
def test_what_is_no_run_id_gets_no_path(tmp_path: Path, run: str) -> None:
    with pytest.raises(UsageError, match="run's id"):
        Layout(tmp_path).run(run)


def test_a_state_folder_keeps_its_random_id(tmp_path: Path) -> None:
    one = Layout(tmp_path / "1").state_id()
    assert one == Layout(tmp_path / "1").state_id() != Layout(tmp_path / "2").state_id()
    assert len(one) == 16
