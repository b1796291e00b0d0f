"""Measure Runner beside ``docker run`` in the same minutes: paired, alternating, whole processes, medians.

Usage: ``python tests/bench/bench.py [--pairs 9] [--only WORD]``. Prints a table; asserts nothing. ``heavy.py``
adds what moves gigabytes, in three rounds; ``peers.py`` stands beside other runners of workflows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import heavy

HARDENED = (
    "docker run --rm --network none --cap-drop ALL --security-opt no-new-privileges --read-only "
    "--user 10001:10001 --memory 256m --pids-limit 64 --log-driver none {image} {command}"
)


@dataclass(frozen=True)
class Figure:
    """One row: what ``ours`` does is compared with ``theirs`` (None: absolute seconds)."""

    name: str
    ours: str
    theirs: str | None
    bar: str
    subtract: float = 0.0


def workflow(folder: Path, name: str, steps: int, command: str, *, chain: bool) -> Path:
    """Write a workflow of ``steps`` steps that each run ``command``."""
    lines = [f"name: {name}", "steps:"]
    for index in range(steps):
        lines += [f"  s{index}:", f"    run: [{command}]"]
        if chain and index:
            lines.append(f"    needs: [s{index - 1}]")
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def seconds(command: str) -> float:
    """Return the wall time of one whole command line; stops when it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    took = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{command}\nfailed with {done.returncode}: {done.stderr.decode()[-500:]}")
    return took


def measure(figure: Figure, pairs: int) -> str:
    """Return one line of the table."""
    seconds(figure.ours)
    if figure.theirs:
        seconds(figure.theirs)
    ours, ratios = [], []
    for _ in range(pairs):
        ours.append(seconds(figure.ours) - figure.subtract)
        if figure.theirs:
            ratios.append(ours[-1] / seconds(figure.theirs))
    text = f"{statistics.median(ours):8.3f} s"
    if ratios:
        text += f"   ratio {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{figure.name:<58} {text:<46} bar {figure.bar}"


def image() -> str:
    """Return the engine's id of the minimal profile."""
    done = subprocess.run(
        ["runner", "sandbox", "build", "minimal"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]


def figures(folder: Path) -> list[Figure]:
    """Return every figure, with its workflow written."""
    name = image()
    true = HARDENED.format(image=name, command="/bin/true")
    sleep = HARDENED.format(image=name, command="/bin/sleep 0.3")
    ten = workflow(folder, "ten", 10, "'true'", chain=True)
    one = workflow(folder, "one", 1, "'true'", chain=True)
    nap = workflow(folder, "nap", 10, "sleep, '0.3'", chain=True)
    many = workflow(folder, "many", 20, "'true'", chain=False)
    return [
        Figure(
            "ten `true` on Docker ÷ docker run loop",
            f"runner run {ten} --engine docker",
            f"for i in 1 2 3 4 5 6 7 8 9 10; do {true}; done",
            "0.6",
        ),
        Figure("one step on Docker ÷ one docker run", f"runner run {one} --engine docker", true, "1.3"),
        Figure(
            "ten `sleep 0.3` on Docker, over 3.0 s", f"runner run {nap} --engine docker", None, "1.2 s", 3.0
        ),
        Figure(
            "twenty `true`, four at a time ÷ xargs -P 4",
            f"runner run {many} --engine docker",
            f"seq 20 | xargs -P 4 -I% {true}",
            "1.0",
        ),
        Figure("ten `true` on bubblewrap", f"runner run {ten} --engine bubblewrap", None, "0.5 s"),
        Figure("one step on bubblewrap", f"runner run {one} --engine bubblewrap", None, "0.3 s"),
        Figure("runner --version ÷ python -c pass", "runner --version", f"{sys.executable} -c pass", "4"),
        Figure(
            "runner validate ÷ python -c pass", f"runner validate {one}", f"{sys.executable} -c pass", "15"
        ),
        Figure(
            "docker run loop of sleep 0.3, for comparison",
            f"for i in 1 2 3 4 5 6 7 8 9 10; do {sleep}; done",
            None,
            "-",
            3.0,
        ),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RUNNER_HOME"] = f"{folder}/home"
        for figure in figures(Path(folder)):
            if args.only in figure.name:
                print(measure(figure, args.pairs), flush=True)
    for line in heavy.lines(HARDENED.replace("{image}", image()), args.only):
        print(line, flush=True)


if __name__ == "__main__":
    main()
