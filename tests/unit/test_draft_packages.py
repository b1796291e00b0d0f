"""The packages of a script that is to be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.draft.packages import with_packages
from runner.draft.script import read_script
from runner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from runner.draft.script import Script

BLOCK = "# /// script\n# dependencies = ['six>=1.16']\n# ///\n"
LOCK = "six==1.17.0 --hash=sha256:" + "ab" * 32 + "\n"


def script(folder: Path, text: str, name: str = "x.py") -> Script:
    (folder / name).write_text(text)
    return read_script(folder / name, [])


def test_a_script_without_a_block_needs_no_lock_file_and_may_have_one(tmp_path: Path) -> None:
    plain = script(tmp_path, "import six\n")
    assert with_packages(plain, None) == plain
    (tmp_path / "lock.txt").write_text(LOCK)
    assert with_packages(plain, str(tmp_path / "lock.txt")).lock == tmp_path / "lock.txt"


def test_a_block_that_names_nothing_needs_nothing(tmp_path: Path) -> None:
    plain = script(tmp_path, "# /// script\n# dependencies = []\n# ///\n")
    assert with_packages(plain, None) == plain


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        (None, "it depends on six>=1.16, and no lock file holds it"),
        (LOCK.replace("six==1.17.0", "six==1.0"), "does not allow six 1.0"),
        (LOCK.replace("six", "seven"), "six>=1.16 is not in the lock file"),
        ("six\n", "six is not pinned"),
    ],
)
def test_what_a_block_names_must_be_in_the_lock_file(tmp_path: Path, lock: str | None, words: str) -> None:
    (tmp_path / "lock.txt").write_text(lock or "")
    with pytest.raises(UsageError, match=words) as caught:
        with_packages(script(tmp_path, BLOCK), str(tmp_path / "lock.txt") if lock else None)
    assert "uv pip compile" in caught.value.cure


def test_a_broken_block_and_a_lock_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its block is not closed"):
        with_packages(script(tmp_path, "# /// script\n# dependencies = []\n"), None)
    with pytest.raises(UsageError, match="cannot be read"):
        with_packages(script(tmp_path, BLOCK), str(tmp_path / "absent.txt"))


def test_packages_are_for_python_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for a script of Python"):
        with_packages(script(tmp_path, "true\n", "x.sh"), "lock.txt")
