"""Control groups of sandboxes: who is in them when they are removed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REMOVES = """
import sys
from pathlib import Path
from runner.sandbox.bubblewrap import cgroup

cgroup._REMOVING = 0.05
assert not cgroup.remove_group(Path(sys.argv[1]))
print("alive")
"""


def test_a_process_that_is_just_ending_does_not_take_the_runner_with_it(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text("0\n")
    done = subprocess.run(
        [sys.executable, "-c", REMOVES, str(group)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        start_new_session=True,
    )
    assert done.stdout == "alive\n", done
