"""A runner killed at every write to its journal and every call of its engine, then resumed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from bank import CODES, Killed, died
from conftest import need

if TYPE_CHECKING:
    from pathlib import Path

SLICES = 8


def points(folder: Path, engine: str, fail: str) -> int:
    """Return how many points an undisturbed run passes."""
    whole = Killed.new(folder, engine, fail)
    process = whole.start()
    out, told = process.communicate(timeout=120)
    assert process.returncode == CODES[fail], told.decode()
    whole.check(whole.run_id())
    return int(out.split()[-1])


def kill_at(folder: Path, engine: str, fail: str, point: int) -> bool:
    """Kill a run at one point, bring it to its end, and return whether the point was reached."""
    one = Killed.new(folder, engine, fail)
    was_killed = died(one.start(point))
    one.finish()
    return was_killed


@pytest.mark.parametrize("fail", ["no", "yes"])
def test_a_sample_of_points_on_which_a_killed_run_ends_as_if_undisturbed(
    tmp_path: Path, engine: str, fail: str
) -> None:
    count = points(tmp_path / "whole", engine, fail)
    assert count > 100
    seeded = random.Random(f"{engine}/{fail}")  # noqa: S311 - a sample that repeats
    for point in sorted(seeded.sample(range(1, count - 10), 4)):
        assert kill_at(tmp_path / str(point), engine, fail, point)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(SLICES))
@pytest.mark.parametrize("fail", ["no", "yes"])
@pytest.mark.parametrize("name", ["docker", "bubblewrap"])
def test_every_point_on_which_a_killed_run_ends_as_if_undisturbed(
    tmp_path: Path, name: str, fail: str, number: int
) -> None:
    need(name)
    count = points(tmp_path / "whole", name, fail)
    tried = [
        kill_at(tmp_path / str(point), name, fail, point) for point in range(1 + number, count + 1, SLICES)
    ]
    print(f"{name} fail={fail} slice {number}: {count} points, {len(tried)} tried, {sum(tried)} killed")
    assert sum(tried) >= len(tried) - 3  # the count of calls varies a little with what was parked
