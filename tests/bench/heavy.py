"""What only shows with much data: gigabytes of results and of log, and the runner's own memory meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 3
RESULT = 4_000_000_000
PRINT = f"yes {'x' * 99} | head -c 1000000000"
KEEP = f"""
name: keep
defaults: {{timeout: 5m, resources: {{output: 5GiB}}}}
steps:
  write: {{run: 'head -c {RESULT} /dev/urandom > /out/big; echo done $(cut -d" " -f1 /proc/uptime)', out: [big]}}
  read: {{run: 'test $(stat -c %s /in/big) = {RESULT}', in: {{big: write/big}}}}
"""
FLOOD = f"""
name: flood
steps:
  print: {{run: '{PRINT}', timeout: 5m, resources: {{log: 4GiB}}}}
"""


@dataclass(frozen=True)
class Ran:
    """A whole command: its seconds, the most memory that it had, and what it wrote."""

    seconds: float
    megabytes: float
    out: str
    err: str


@dataclass(frozen=True)
class Heavy:
    """One row; ``measure`` returns (ratio, megabytes) and works in a folder of its own."""

    name: str
    bar: str
    measure: Callable[[Path], tuple[float, float]]


def ran(*argv: str, silent: bool = False) -> Ran:
    """Run a command whose peak memory is to be known; stops when it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        null = subprocess.DEVNULL
        process = subprocess.Popen(argv, stdout=null if silent else out, stderr=null if silent else err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        done = Ran(took, usage.ru_maxrss / 1000, out.read(), err.read())
    if process.returncode:
        sys.exit(f"{argv} failed with {process.returncode}: {done.err[-500:]}")
    return done


def keep(engine: str, folder: Path) -> tuple[float, float]:
    """From the step's last word to its settled result ÷ one ``sha256sum`` of the same file."""
    (folder / "keep.yaml").write_text(KEEP)
    done = ran("runner", "run", str(folder / "keep.yaml"), "--engine", engine, "--json")
    word = re.search(r"write \| done ([\d.]+)", done.err)
    if word is None:
        sys.exit(f"the step on {engine} did not say when it was done")
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    ended = datetime.fromisoformat(json.loads(done.out)["steps"]["write"]["ended"]).timestamp()
    objects = Path(os.environ["RUNNER_HOME"], "objects").glob("*/*")
    big = next(str(found) for found in objects if found.stat().st_size == RESULT)
    hashed = min(ran("sha256sum", big).seconds for _ in range(2))
    return (ended - boot - float(word[1])) / hashed, done.megabytes


def flood(engine: str, theirs: str, folder: Path) -> tuple[float, float]:
    """Our speed ÷ that of ``docker run … | cat``, for a step that prints 1 GB."""
    (folder / "flood.yaml").write_text(FLOOD)
    ours = ran("runner", "run", str(folder / "flood.yaml"), "--engine", engine, silent=True)
    return ran("bash", "-c", f"{theirs} | cat", silent=True).seconds / ours.seconds, ours.megabytes


def rows(docker_run: str) -> list[Heavy]:
    """Return every figure; ``docker_run`` has a place for its command."""
    theirs = docker_run.replace("{command}", f"sh -c '{PRINT}'")
    both = ("docker", "bubblewrap")
    kept = [
        Heavy(
            f"4 GB from step to step on {engine} ÷ sha256sum",
            "1.2, 150 MB",
            lambda folder, engine=engine: keep(engine, folder),  # type: ignore[misc]
        )
        for engine in both
    ]
    return kept + [
        Heavy(
            f"a step that prints 1 GB on {engine}, speed ÷ docker run | cat",
            "at least 0.6, 120 MB",
            lambda folder, engine=engine: flood(engine, theirs, folder),  # type: ignore[misc]
        )
        for engine in both
    ]


def lines(docker_run: str, only: str) -> Iterator[str]:
    """Measure and yield one line of the table after the other."""
    for row in rows(docker_run):
        if only not in row.name:
            continue
        ratios, memory = [], []
        for _ in range(ROUNDS):
            folder = Path(tempfile.mkdtemp())
            os.environ["RUNNER_HOME"] = str(folder / "home")
            try:
                ratio, megabytes = row.measure(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            ratios.append(ratio)
            memory.append(megabytes)
        text = f"ratio {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield f"{row.name:<58} {text}, at most {max(memory):.0f} MB   bar {row.bar}"
