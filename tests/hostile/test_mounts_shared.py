"""Several runners plan at once, over one state folder."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runner.planning.snapshots import Snapshots

if TYPE_CHECKING:
    from pathlib import Path


def test_many_runners_taking_the_same_snapshot_all_get_the_same_whole_one(tmp_path: Path) -> None:
    project, snapshots = tmp_path / "project", Snapshots(tmp_path / "state" / "snapshots")
    (project / "app").mkdir(parents=True)
    for number in range(20):
        (project / "app" / f"f{number}").write_text(str(number))
    found: list[tuple[str, Path]] = []
    together = threading.Barrier(6)

    def take() -> None:
        together.wait()
        found.append(snapshots.take(project / "app", project))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert snapshots.holds(found[0][0])
    assert len(list(snapshots.folder.iterdir())) == 1
