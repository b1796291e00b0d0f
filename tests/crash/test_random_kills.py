"""A runner killed at random instants, in its first drive and in every resume, until the run has ended."""

from __future__ import annotations

import random
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from bank import Killed, died
from conftest import need

if TYPE_CHECKING:
    from pathlib import Path

SLICES, KILLS_A_SLICE = 4, 50
KILLS_A_RUN = 5
LONGEST = {"docker": 2.5, "bubblewrap": 1.2}  # seconds: about what an undisturbed run takes


def dies_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill the process after so many seconds, unless it has ended; return whether it was killed."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    return died(process)


def harass(one: Killed, seeded: random.Random, most: int) -> int:
    """Kill a run and its resumes at random instants, ``most`` times at most; return how many kills hit."""
    kills, run = 0, ""
    while kills < most:
        process = one.resume(run) if run else one.start()
        if not dies_within(process, seeded.uniform(0.1, LONGEST[one.engine])):
            return kills
        kills += 1
        run = one.run_id()
    return kills


def harass_one(folder: Path, engine: str, seed: str, most: int) -> int:
    """Harass one run, bring it to its end, and hold that against what must be true."""
    seeded = random.Random(seed)  # noqa: S311 - a sample that repeats
    one = Killed.new(folder, engine, seeded.choice(["no", "yes"]))
    kills = harass(one, seeded, most)
    one.finish()
    return kills


def test_a_run_killed_at_a_few_random_instants_ends_as_if_undisturbed(tmp_path: Path, engine: str) -> None:
    tries = (harass_one(tmp_path / str(run), engine, f"sample/{engine}/{run}", 3) for run in range(8))
    assert any(tries), "a fast machine may end a run before it is killed, but not eight"


@pytest.mark.soak
@pytest.mark.parametrize("number", range(SLICES))
@pytest.mark.parametrize("name", ["docker", "bubblewrap"])
def test_runs_killed_at_many_random_instants_end_as_if_undisturbed(
    tmp_path: Path, name: str, number: int
) -> None:
    need(name)
    kills = runs = 0
    while kills < KILLS_A_SLICE:
        kills += harass_one(tmp_path / str(runs), name, f"{name}/{number}/{runs}", KILLS_A_RUN)
        runs += 1
    print(f"{name} slice {number}: {kills} kills in {runs} runs, all of them ended as they should")
