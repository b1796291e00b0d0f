"""The journal: durable, shared by processes, fenced, and clear about what is wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from runner.clock import SystemClock
from runner.errors import FenceLost, StoreError, UsageError
from runner.events import (
    ArtifactKept,
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    RunCreated,
    RunEnded,
    RunRetried,
    RunStarted,
)
from runner.store.journal import Before, Journal
from runner.store.layout import Layout
from runner.store.locks import RunLock, is_live, live_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREATED = RunCreated("digest", "staging", "bubblewrap", "d" * 64, "p" * 64, warnings=("w",))
APPENDER = """
import sys
from pathlib import Path
from runner.clock import SystemClock
from runner.events import AttemptStarted
from runner.store.journal import Journal
path, run, count, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
journal = Journal(path, SystemClock())
ownership = journal.open_run(run)
print("open", flush=True)
for number in range(count):
    events = [AttemptStarted(f"s{number}", part) for part in range(batch)]
    print(journal.append(ownership, events)[-1].seq, flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from runner.store.layout import Layout
from runner.store.locks import RunLock
lock = RunLock.acquire(Layout(Path(sys.argv[1])), sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "home" / "journal.db", SystemClock()) as opened:
        yield opened


def _start(script: str, *arguments: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_events_come_back_as_they_were_written(journal: Journal) -> None:
    journal.create_run("a1", '{"plan": 1}', CREATED)
    ownership = journal.open_run("a1")
    ended = AttemptEnded(
        "x", 1, exit_code=3, reason="exit", outputs={"k": "ü"}, artifacts=(ArtifactKept("f", "00", 5),)
    )
    written = journal.append(ownership, [RunStarted(), AttemptStarted("x", 1), ended])
    read = journal.records("a1")
    assert [record.event for record in read] == [CREATED, RunStarted(), AttemptStarted("x", 1), ended]
    assert [record.seq for record in read] == [1, 2, 3, 4]
    assert read[1:] == written == journal.records("a1", after=1)
    assert journal.plan_json("a1") == '{"plan": 1}'


def test_the_run_row_keeps_step_with_the_events(journal: Journal) -> None:
    journal.create_run("a1", "{}", CREATED)
    ownership = journal.open_run("a1")
    assert journal.runs()[0].status == "queued"
    journal.append(ownership, [RunStarted()])
    assert journal.runs()[0].status == "running"
    journal.append(ownership, [RunEnded("succeeded")])
    row = journal.runs()[0]
    assert row.status == "succeeded"
    assert row.started is not None
    assert row.ended is not None
    assert row.created <= row.started <= row.ended


def test_who_opened_a_run_last_owns_it(journal: Journal, tmp_path: Path) -> None:
    journal.create_run("a1", "{}", CREATED)
    stale = journal.open_run("a1")
    with Journal(tmp_path / "home" / "journal.db", SystemClock()) as other:
        fresh = other.open_run("a1")
        with pytest.raises(FenceLost):
            journal.append(stale, [RunStarted()])
        assert other.append(fresh, [RunStarted()])[0].fence == 2
    assert len(journal.records("a1")) == 2


def test_a_note_from_outside_does_not_take_the_run_over(journal: Journal) -> None:
    journal.create_run("a1", "{}", CREATED)
    ownership = journal.open_run("a1")
    assert journal.note("a1", CancelRequested("asked")).seq == 2
    assert journal.append(ownership, [RunEnded("cancelled")])[0].seq == 3
    with pytest.raises(UsageError, match="has ended"):
        journal.note("a1", CancelRequested("again"))


def test_a_run_id_is_taken_once(journal: Journal) -> None:
    journal.create_run("a1", "{}", CREATED)
    with pytest.raises(StoreError, match="exists already"):
        journal.create_run("a1", "{}", CREATED)
    assert len(journal.records("a1")) == 1


def test_a_run_goes_on_from_another_only_while_that_one_is_as_it_was(journal: Journal) -> None:
    owner = journal.create_run("a1", "{}", CREATED)
    seen = journal.append(owner, [RunEnded("failed")])[-1].seq
    journal.create_run("b1", "{}", CREATED, Before("a1", seen, "a1", []))
    assert journal.records("a1")[-1].event == RunRetried("b1")
    with pytest.raises(UsageError, match="changed by somebody else"):
        journal.create_run("c1", "{}", CREATED, Before("a1", seen, "a1", []))
    with pytest.raises(UsageError, match="changed by somebody else"):
        journal.note("a1", CancelRequested("late"), ended_at=seen)
    assert [row.run for row in journal.runs()] == ["a1", "b1"], "both or neither"


def test_a_unique_prefix_finds_a_run_and_latest_the_newest(journal: Journal) -> None:
    for run in ("ab1", "ab2", "ab", "c_%"):
        journal.create_run(run, "{}", CREATED)
    assert journal.find("c") == "c_%"
    assert journal.find("ab1") == "ab1"
    assert journal.find("ab") == "ab"
    assert journal.find("latest") == "c_%"
    for wrong in ("a", "%", "_", "zz", ""):
        with pytest.raises(UsageError):
            journal.find(wrong)


def test_an_empty_journal_has_no_latest_run(journal: Journal) -> None:
    with pytest.raises(UsageError, match="no run"):
        journal.find("latest")


def test_an_unknown_run_is_a_usage_error(journal: Journal) -> None:
    for ask in (journal.open_run, journal.plan_json):
        with pytest.raises(UsageError, match="no run"):
            ask("nope")


def test_threads_share_one_journal_without_a_gap(journal: Journal) -> None:
    journal.create_run("a1", "{}", CREATED)
    ownership = journal.open_run("a1")

    def work(name: str) -> None:
        for attempt in range(20):
            journal.append(ownership, [AttemptStarted(name, attempt)])

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.seq for record in journal.records("a1")] == list(range(1, 82))


def test_two_processes_append_at_once_and_nothing_is_lost(journal: Journal, tmp_path: Path) -> None:
    runs = ("a1", "b1")
    for run in runs:
        journal.create_run(run, "{}", CREATED)
    path = tmp_path / "home" / "journal.db"
    processes = [_start(APPENDER, path, run, 60, 2) for run in runs]
    assert [process.communicate(timeout=60)[0] != "" for process in processes] == [True, True]
    assert [process.returncode for process in processes] == [0, 0]
    for run in runs:
        assert [record.seq for record in journal.records(run)] == list(range(1, 122))


def test_many_processes_may_make_the_journal_at_the_same_moment(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from runner.clock import SystemClock;"
        "from runner.store.journal import Journal; Journal(Path(sys.argv[1]), SystemClock()).runs()"
    )
    processes = [_start(script, tmp_path / "home" / "journal.db") for _ in range(6)]
    assert [process.wait(60) for process in processes] == [0] * 6
    for process in processes:
        process.communicate()


def test_a_kill_amid_appends_leaves_whole_batches_and_all_that_was_promised(
    journal: Journal, tmp_path: Path
) -> None:
    journal.create_run("a1", "{}", CREATED)
    for _ in range(4):
        process = _start(APPENDER, tmp_path / "home" / "journal.db", "a1", 100_000, 3)
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(30)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait(10)
        process.stdout.close()
        promised = int([line for line in lines if line.endswith("\n")][-1])
        records = journal.records("a1")
        assert len(records) >= promised
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert (len(records) - 1) % 3 == 0
    with sqlite3.connect(tmp_path / "home" / "journal.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_failed_batch_leaves_nothing_behind(journal: Journal) -> None:
    journal.create_run("a1", "{}", CREATED)
    ownership = journal.open_run("a1")
    with pytest.raises(TypeError):
        journal.append(ownership, [RunStarted(), RunEnded(object())])  # type: ignore[arg-type]
    assert len(journal.records("a1")) == 1
    assert journal.runs()[0].status == "queued"
    assert journal.append(ownership, [RunStarted()])[0].seq == 2


def test_a_newer_schema_is_refused_with_a_cure(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "home" / "journal.db"
    journal.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="newer Runner") as caught:
        Journal(path, SystemClock())
    assert "upgrade" in caught.value.cure


def test_a_record_of_a_newer_runner_is_a_clear_error(journal: Journal, tmp_path: Path) -> None:
    journal.create_run("a1", "{}", CREATED)
    with sqlite3.connect(tmp_path / "home" / "journal.db") as database:
        database.execute('UPDATE events SET data = \'{"kind": "Later"}\'')
    database.close()
    with pytest.raises(StoreError, match="record 1"):
        journal.records("a1")


def test_the_journal_is_private(journal: Journal, tmp_path: Path) -> None:
    journal.create_run("a1", "{}", CREATED)
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "home").glob("journal.db*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    process = _start(HOLDER, tmp_path, "a1")
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    assert is_live(layout, "a1")
    assert live_runs(tmp_path) == {"a1"}
    with pytest.raises(StoreError, match="another runner"):
        RunLock.acquire(layout, "a1")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert live_runs(tmp_path) == frozenset()
    with RunLock.acquire(layout, "a1") as lock:
        assert is_live(layout, "a1")
        lock.release()
        assert not is_live(layout, "a1")


def test_a_lock_excludes_within_one_process_too(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with RunLock.acquire(layout, "a1"), pytest.raises(StoreError):
        RunLock.acquire(layout, "a1")
    RunLock.acquire(layout, "a1").release()
