"""A hostile disk and a hostile step: full, read-only, swapped for links, owned by strangers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.clock import SystemClock
from runner.errors import StoreError
from runner.events import AttemptEnded, RunCreated, RunEnded, RunStarted
from runner.store.artifacts import Artifacts
from runner.store.journal import Journal
from runner.store.layout import Layout
from runner.store.locks import RunLock, live_runs
from runner.store.logs import LogWriter, read
from runner.vault.bindings import Bindings
from runner.vault.store import SecretStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CREATED = RunCreated("digest", "staging", "bubblewrap", "d" * 64, "p" * 64)
NOBODY = 65534


def _mount(path: Path, options: str) -> None:
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    _mount(path, "size=1m,mode=0700")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_said_and_the_journal_stays_whole(small_disk: Path) -> None:
    with Journal(small_disk / "journal.db", SystemClock()) as journal:
        journal.create_run("a1", "{}", CREATED)
        ownership = journal.open_run("a1")
        events = [AttemptEnded("s", 1, detail="x" * 9000)] * 2
        written: list[int] = []
        with pytest.raises(StoreError) as caught:
            written.extend(journal.append(ownership, events)[-1].seq for _ in range(10_000))
        before = 1 + 2 * len(written)
        assert "full" in caught.value.message
        assert "gc" in caught.value.cure or "df" in caught.value.cure
        assert len(journal.records("a1")) == before
    with Journal(small_disk / "journal.db", SystemClock()) as again:
        assert len(again.records("a1")) == before


def test_after_room_is_made_the_journal_goes_on(small_disk: Path) -> None:
    with Journal(small_disk / "journal.db", SystemClock()) as journal:
        journal.create_run("a1", "{}", CREATED)
        ownership = journal.open_run("a1")
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        with pytest.raises(StoreError):
            journal.append(ownership, [AttemptEnded("s", 1, detail="x" * 900_000)])
        ballast.unlink()
        journal.append(ownership, [RunStarted(), RunEnded("failed")])
        assert journal.runs()[0].status == "failed"


def test_a_full_disk_stops_logs_results_and_secrets_in_words(small_disk: Path, tmp_path: Path) -> None:
    store = SecretStore(small_disk, tmp_path / "config")
    with pytest.raises(StoreError, match="full"):
        store.set("token", b"x" * 2_000_000)
    assert store.get("token") is None
    (tmp_path / "big").write_bytes(os.urandom(2_000_000))
    with pytest.raises(StoreError, match="full"):
        Artifacts(small_disk).keep(tmp_path / "big")
    assert not [path for path in (small_disk / "objects").rglob("*") if path.is_file()]
    with LogWriter(small_disk / "x.log", 1 << 30) as log, pytest.raises(StoreError, match="full"):
        log.write(b"x" * 2_000_000)


def test_a_read_only_disk_is_said_with_a_cure(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    attempts = (
        lambda: Journal(small_disk / "journal.db", SystemClock()),
        lambda: Layout(small_disk).runs,
        lambda: SecretStore(small_disk, small_disk / "config").set("token", b"value"),
        lambda: LogWriter(small_disk / "x.log", 10),
    )
    for attempt in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert "RUNNER_HOME" in caught.value.cure


def test_a_disk_that_turns_read_only_loses_nothing(small_disk: Path) -> None:
    with Journal(small_disk / "journal.db", SystemClock()) as journal:
        journal.create_run("a1", "{}", CREATED)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError):
        Journal(small_disk / "journal.db", SystemClock())
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with Journal(small_disk / "journal.db", SystemClock()) as journal:
        assert journal.find("latest") == "a1"


def test_a_home_without_permission_is_said_to_an_unprivileged_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    script = (
        "import os, sys; from pathlib import Path; from runner.clock import SystemClock;"
        "from runner.store.journal import Journal; from runner.errors import StoreError\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n    Journal(Path(sys.argv[1]) / 'home' / 'journal.db', SystemClock())\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(locked)], capture_output=True, text=True, check=True
    )
    assert "RUNNER_HOME" in done.stdout


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"])
def test_a_link_in_place_of_the_journal_is_refused(tmp_path: Path, name: str) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    home.mkdir()
    victim.write_bytes(b"precious")
    (home / name).symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        Journal(home / "journal.db", SystemClock())
    assert victim.read_bytes() == b"precious"


def test_garbage_in_place_of_the_journal_is_said_and_kept(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreError, match="not a journal"):
        Journal(tmp_path / "journal.db", SystemClock())
    assert (tmp_path / "journal.db").read_bytes() == b"not a database at all" * 500


@pytest.mark.parametrize("name", ["objects", "runs", "snapshots"])
def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    home.mkdir()
    victim.mkdir()
    (home / name).symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        getattr(Layout(home), name)
    assert list(victim.iterdir()) == []


def test_a_folder_of_a_stranger_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    (tmp_path / "runs").mkdir()
    os.chown(tmp_path / "runs", NOBODY, NOBODY)
    with pytest.raises(StoreError, match="another user"):
        Layout(tmp_path).run("a1")


def test_links_below_a_run_are_refused(tmp_path: Path) -> None:
    layout, victim = Layout(tmp_path / "home"), tmp_path / "victim"
    victim.write_bytes(b"precious")
    log = layout.log("a1", "s", 1)
    log.symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        LogWriter(log, 100)
    with pytest.raises(StoreError, match="symbolic link"):
        list(read(log))
    layout.lock("a1").symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        RunLock.acquire(layout, "a1")
    assert victim.read_bytes() == b"precious"


def test_strange_things_among_the_runs_are_no_runs(tmp_path: Path) -> None:
    runs = Layout(tmp_path).runs
    (runs / "file").write_bytes(b"")
    (runs / "empty").mkdir()
    os.mkfifo(runs / "fifo")
    assert live_runs(tmp_path) == frozenset()


def test_links_hard_links_and_pipes_are_no_results(tmp_path: Path) -> None:
    artifacts, victim = Artifacts(tmp_path / "home"), tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(victim)
    os.link(victim, out / "hard")
    os.mkfifo(out / "pipe")
    (out / "folder").mkdir()
    for name in ("link", "hard", "pipe", "folder", "missing"):
        with pytest.raises(StoreError):
            artifacts.keep(out / name)
    assert victim.read_bytes() == b"precious"
    assert victim.stat().st_mode & 0o777 == 0o600
    assert not [path for path in (tmp_path / "home" / "objects").rglob("*") if path.is_file()]


def test_a_result_loses_its_set_uid_bit_and_its_owner(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    if os.geteuid() == 0:
        os.chown(tmp_path / "tool", NOBODY, NOBODY)
    (tmp_path / "tool").chmod(0o4755)
    digest, _ = Artifacts(tmp_path / "home").keep(tmp_path / "tool")
    found = Artifacts(tmp_path / "home").path(digest).stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o444, os.geteuid())


def test_an_object_swapped_for_a_link_is_not_given_out(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "home")
    (tmp_path / "a").write_bytes(b"content")
    digest, _ = artifacts.keep(tmp_path / "a")
    place = artifacts.path(digest)
    place.unlink()
    place.symlink_to("/etc/passwd")
    with pytest.raises(StoreError):
        artifacts.export([("a", digest)], tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("name", ["identity.age", "bindings.json"])
def test_links_in_the_config_folder_are_refused(tmp_path: Path, name: str) -> None:
    config, victim = tmp_path / "config", tmp_path / "victim"
    config.mkdir()
    victim.write_bytes(b"{}")
    (config / name).symlink_to(victim)
    store = SecretStore(tmp_path / "home", config)
    attempts = {
        "identity.age": lambda: store.set("token", b"value"),
        "bindings.json": lambda: Bindings(config, store, SystemClock(), {}).find(
            "token", "digest", "staging"
        ),
    }
    with pytest.raises(StoreError, match="symbolic link"):
        attempts[name]()
    assert victim.read_bytes() == b"{}"
