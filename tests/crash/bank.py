"""A bank outside every sandbox, runs that are killed on their way to it, and what must be true afterwards."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conftest import Command

from runner.store.locks import live_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
PIN = "canary-4711-0815"
CODES = {"no": 0, "yes": 1}
STATUSES = {"no": "succeeded", "yes": "rolled-back"}


@dataclass
class Bank:
    """An append-only file of what steps did, filled through a named pipe that every sandbox sees."""

    folder: Path
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o755)
        self.folder.chmod(0o755)
        os.mkfifo(self.folder / "pipe")
        (self.folder / "pipe").chmod(0o666)
        self._end = os.open(self.folder / "pipe", os.O_RDWR)
        self._file = (self.folder.parent / "ledger").open("ab", buffering=0)
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        pending = b""
        while True:
            pending += os.read(self._end, 65536)
            *whole, pending = pending.split(b"\n")
            for line in whole:
                if line == b"sync":
                    self._synced.set()
                    continue
                self._file.write(line + b"\n")
                self.lines.append(line.decode())

    def settled(self) -> list[str]:
        """Return all lines that steps wrote so far."""
        self._synced = threading.Event()
        with (self.folder / "pipe").open("ab", buffering=0) as pipe:
            pipe.write(b"sync\n")
        assert self._synced.wait(10)
        return list(self.lines)


@dataclass
class Killed:
    """One run in a state folder of its own, on its way to the bank."""

    runner: Command
    bank: Bank
    engine: str
    fail: str

    @classmethod
    def new(cls, folder: Path, engine: str, fail: str) -> Killed:
        project = folder / "project"
        project.mkdir(parents=True)
        (project / "bank.yaml").write_text((HERE / "bank.yaml").read_text())
        (project / "runner.yaml").write_text("breakers: {hub: {failures: 3, reset: 1s}}\n")
        runner = Command(folder / "home", project)
        assert runner("secrets", "set", "pin", stdin=PIN.encode()).code == 0
        assert runner("secrets", "bind", "pin", "--from", "store:pin").code == 0
        return cls(runner, Bank(folder / "effects"), engine, fail)

    def start(self, point: int = 0) -> subprocess.Popen[bytes]:
        """Start the run, to die at a point."""
        file = str(self.runner.project / "bank.yaml")
        return self._process(point, "start", self.engine, file, f"fail={self.fail}")

    def resume(self, run: str, point: int = 0) -> subprocess.Popen[bytes]:
        """Go on with the run, to die at a point."""
        return self._process(point, "resume", run)

    def _process(self, point: int, *words: str) -> subprocess.Popen[bytes]:
        return crash_runner(self.runner, self.bank.folder, point, *words)

    def run_id(self) -> str:
        """Return the run's id, or nothing when the runner died before it had one."""
        rows = self.runner("ps", "--json")
        found = re.findall(r'"run": "([^"]+)"', rows.out)
        return found[0] if found else ""

    def finish(self) -> None:
        """Bring the run to its end whatever happened to it so far, and hold it against what must be true."""
        run = self.run_id()
        status = self.runner("show", run, "--json").report["status"] if run else ""
        if status != STATUSES[self.fail]:
            process = self.resume(run) if run else self.start()
            _, told = process.communicate(timeout=120)
            assert process.returncode == CODES[self.fail], told.decode()
        else:  # killed after its run's end: nothing is left to resume, and what it left is for the next command
            assert self.runner("gc").code == 0
        self.check(self.run_id())

    def check(self, run: str) -> None:
        """Assert the end state, the effects, the results, and that nothing is left."""
        report = self.runner("show", run, "--json").report
        assert report["status"] == STATUSES[self.fail]
        self.check_effects(report)
        if self.fail == "no":
            self.check_results(run)
        self.check_leftovers(run)

    def check_effects(self, report: dict[str, Any]) -> None:
        lines = self.bank.settled()
        keys = {line.split()[0]: line.split()[2] for line in lines}
        assert all(line.split()[2] == keys[line.split()[0]] for line in lines), "a key changed"
        money = [line.split()[1] for line in lines if line.startswith("load ")]
        pairs = itertools.pairwise(money)
        assert ("do", "do") not in list(pairs), f"the money moved twice: {money}"
        assert money[-1] == ("do" if self.fail == "no" else "undo"), money
        self.check_receipts([line.rpartition(" ")[0] for line in lines])
        told = [line for line in lines if line.startswith("notify ")]
        assert 1 <= len(told) <= report["steps"]["notify"]["attempts"], "told more often than declared"
        final = [line for line in lines if line.startswith("report ")]
        assert 1 <= len(final) <= report["steps"]["report"]["attempts"]

    def check_receipts(self, lines: list[str]) -> None:
        """Assert that every compensation found under ``/done`` what the attempts before it had left."""
        left = found = False
        for line in lines:
            left, found = left or line == "receipt left", found or line == "receipt found"
            if line == "load undo":
                assert found or not left, f"the receipt was lost: {lines}"
                left = found = False

    def check_results(self, run: str) -> None:
        folder = self.runner.project / f"results-{run}"
        assert self.runner("outputs", run, "-o", str(folder)).code == 0
        assert (folder / "load" / "receipt").read_text() == "7\n"
        assert (
            (folder / "verify" / "sum")
            .read_text()
            .startswith("10159baf262b43a92d95db59dae1f72c645127301661e0a3ce4e38b295a97c58")
        )

    def check_leftovers(self, run: str) -> None:
        home = self.runner.home
        assert not live_runs(home)
        assert leftovers(home) == []
        for path in home.rglob("*"):
            assert path.is_dir() or PIN.encode() not in path.read_bytes(), f"the secret stands in {path}"
        del run


def crash_runner(command: Command, effects: Path, point: int, *words: str) -> subprocess.Popen[bytes]:
    """Start a runner that dies at a point, with the folder ``effects`` bound into every sandbox."""
    argv = [sys.executable, "-P", str(HERE / "crash_runner.py"), str(point), str(effects), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=command.project, env=command.environment(), stdout=pipe, stderr=pipe)


def leftovers(home: Path) -> list[str]:
    """Return what a run left on this machine: containers, mounts, folders, control groups, processes."""
    state = (home / "id").read_text().strip() if (home / "id").exists() else "none"
    argv = ["timeout", "20", "docker", "ps", "-aq", "--filter", f"label=runner.state={state}"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    found += [str(path) for path in home.glob("runs/*/attempts.*")]
    groups = Path("/sys/fs/cgroup")
    found += [str(path) for deep in ("*", "*/*") for path in groups.glob(f"{deep}/runner-{state[:8]}")]
    return found + list(_processes(home))


def _processes(home: Path) -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and str(home).encode() in (folder / "cmdline").read_bytes():
                yield (folder / "cmdline").read_bytes().decode().replace("\0", " ")


def died(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the process; whether it was killed, as it was meant to be, and did not fail by itself."""
    out, told = process.communicate(timeout=120)
    assert process.returncode in {-signal.SIGKILL, 0, 1}, (out + told).decode()
    return process.returncode == -signal.SIGKILL
