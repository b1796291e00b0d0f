"""What control groups have counted, in either version's files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runner.sandbox.base import Usage
from runner.sandbox.groups import groups_of, usage_of

if TYPE_CHECKING:
    from pathlib import Path

FIRST = {
    "memory.max_usage_in_bytes": "700\n",
    "memory.usage_in_bytes": "5",
    "pids.peak": "4",
    "pids.current": "1",
}
SECOND = {"memory.peak": "700\n", "memory.current": "5", "pids.peak": "4", "pids.current": "1"}
OLDER = {"memory.current": "500", "pids.current": "3"}


@pytest.mark.parametrize(
    ("files", "used"),
    [
        (FIRST, Usage(700, 4)),
        (SECOND, Usage(700, 4)),
        (OLDER, Usage(500, 3, peaks=False)),
        ({"memory.peak": "max", "pids.peak": "-1"}, Usage(None, None, peaks=False)),
        ({}, Usage(None, None, peaks=False)),
    ],
)
def test_peaks_are_read_where_the_kernel_keeps_them(
    tmp_path: Path, files: dict[str, str], used: Usage
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert usage_of({"memory": tmp_path, "pids": tmp_path}) == used


def test_nothing_is_known_of_groups_that_are_not_there(tmp_path: Path) -> None:
    assert usage_of({}) == usage_of({"memory": tmp_path / "gone"}) == Usage(peaks=False)


def test_our_own_groups_are_found_and_those_of_nobody_are_not() -> None:
    assert all(path.is_dir() for path in groups_of(os.getpid()).counted.values())
    assert groups_of(1 << 30).counted == {}
