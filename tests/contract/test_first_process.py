"""What a step can do to the sandbox's first process: nothing that looks like the engine's fault."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contract_bench import LIMITS, MIB, Order

if TYPE_CHECKING:
    from contract_bench import Bench


def test_killing_the_first_process_is_the_step_s_own_failure(real: Bench) -> None:
    ended = real.shell("kill -9 1; sleep 1; exit 5").exit
    if real.driver.name == "gvisor":  # its kernel protects no PID 1
        assert (ended.code, ended.reason) == (137, "exit")
        assert "killed the sandbox's PID 1" in ended.detail
    else:
        assert (ended.code, ended.reason) == (5, "exit")


def test_taking_all_memory_is_the_step_s_own_failure(real: Bench) -> None:
    hog = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    ended = real.shell(hog, Order(limits=replace(LIMITS, memory=64 * MIB))).exit
    assert ended.code == 137
    assert ended.reason in {"out-of-memory", "exit"}
