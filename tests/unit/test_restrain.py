from __future__ import annotations

import resource
import subprocess

from runner.sandbox.base import Limits
from runner.sandbox.bubblewrap.restrain import set_process_limits

LIMITS = Limits(64 << 20, 1.0, 7, 32, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20)


def limited(without: frozenset[str]) -> dict[int, int]:
    child = subprocess.Popen(["sleep", "60"])
    try:
        set_process_limits(child.pid, LIMITS, without)
        kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_DATA)
        return {kind: resource.prlimit(child.pid, kind)[1] for kind in kinds}
    finally:
        child.kill()
        child.wait()


def test_without_control_groups_each_process_is_held_to_memory_and_count() -> None:
    found = limited(frozenset({"memory", "pids"}))
    assert found == {
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 7,
        resource.RLIMIT_DATA: 64 << 20,
    }


def test_with_control_groups_they_count_and_not_the_process() -> None:
    found = limited(frozenset())
    assert found[resource.RLIMIT_DATA] != 64 << 20
    assert found[resource.RLIMIT_NPROC] != 7
