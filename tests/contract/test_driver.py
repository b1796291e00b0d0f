"""What every driver, the fake one too, promises to the engine."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from contract_bench import Order

from runner.errors import SandboxError
from runner.sandbox.base import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from contract_bench import Bench

    from runner.sandbox.base import Sandbox


def test_an_engine_that_answers_says_what_it_is(bench: Bench) -> None:
    said = bench.driver.check()
    assert said.engine == bench.driver.name
    assert said.version


def test_success_is_status_0_without_a_reason(bench: Bench) -> None:
    ended = bench.run("true").exit
    assert (ended.code, ended.reason) == (0, None)


@pytest.mark.parametrize("code", [1, 75])
def test_an_exit_status_is_the_step_s_own(bench: Bench, code: int) -> None:
    ended = bench.run("exit", str(code)).exit
    assert (ended.code, ended.reason) == (code, "exit")


def test_a_command_that_does_not_exist_is_127(bench: Bench) -> None:
    ended = bench.run("no-such-command").exit
    assert (ended.code, ended.reason) == (127, "exit")
    assert "No such file" in ended.detail


def test_what_a_step_prints_arrives(bench: Bench) -> None:
    assert bench.run("echo", "hello, world").stdout == "hello, world\n"


def test_result_files_are_collected(bench: Bench) -> None:
    result = bench.run("write", "rows.csv", "a,b")
    assert result.file("rows.csv") == b"a,b"
    assert result.collection.refused == ()


def test_inputs_lie_under_in(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"given")
    source.chmod(0o600)
    assert bench.run("copy", "rows.csv", "kept", order=Order({"rows.csv": source})).file("kept") == b"given"


def test_a_step_over_its_time_ends_with_124(bench: Bench) -> None:
    began = time.monotonic()
    ended = bench.run("sleep", "50", order=Order(seconds=0.5)).exit
    assert (ended.code, ended.reason) == (124, "timeout")
    assert time.monotonic() - began < 20


def test_a_stopped_step_ends_early_and_stop_may_be_called_twice(bench: Bench) -> None:
    def stop_soon(sandbox: Sandbox) -> None:
        for delay in (0.3, 0.4):
            threading.Timer(delay, lambda: sandbox.stop(grace=3)).start()

    began = time.monotonic()
    ended = bench.run("sleep", "50", then=stop_soon).exit
    assert ended.code in {137, 143}
    assert ended.reason == "exit"
    assert time.monotonic() - began < 20


def test_a_waiting_sandbox_can_be_destroyed_twice_without_a_message(bench: Bench) -> None:
    sandbox = bench.driver.create(bench.spec())
    sandbox.destroy()
    sandbox.destroy()


def test_collecting_before_the_end_is_an_error(bench: Bench) -> None:
    sandbox = bench.driver.create(bench.spec())
    try:
        sandbox.start(bench.message(bench.argv("sleep", "30"), Order()))
        with pytest.raises(SandboxError):
            sandbox.collect(["*"])
    finally:
        sandbox.destroy()


def test_reaping_takes_what_no_live_run_owns(bench: Bench) -> None:
    sandbox = bench.driver.create(bench.spec())
    try:
        assert bench.driver.reap(frozenset({"contract"}).__contains__) == ()
        assert bench.driver.reap(frozenset({"another"}).__contains__) != ()
        assert bench.driver.reap(frozenset().__contains__) == ()
    finally:
        sandbox.destroy()


def test_sandboxes_of_several_threads_do_not_disturb_each_other(bench: Bench) -> None:
    specs = [bench.spec() for _ in range(3)]
    said: dict[int, bytes] = {}

    def work(number: int) -> None:
        sandbox = bench.driver.create(specs[number])
        try:
            sandbox.start(bench.message(bench.argv("echo", f"I am {number}"), Order()))
            said[number] = b"".join(bytes(chunk.data) for chunk in sandbox.logs())
            assert sandbox.wait().code == 0
        finally:
            sandbox.destroy()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: b"I am %d\n" % number for number in range(3)}


def test_an_engine_says_what_was_used_or_that_it_cannot_tell(bench: Bench) -> None:
    most = [Usage()]

    def look(sandbox: Sandbox) -> None:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            most.append(sandbox.usage())
            time.sleep(0.02)

    result = bench.run("sleep", "1", then=look)
    assert result.exit.code == 0
    memory = max(each.memory or 0 for each in most)
    processes = max(each.processes or 0 for each in most)
    if bench.driver.name == "fake":
        assert (memory, processes) == (0, 0)
        return
    assert 1 << 16 < memory < 1 << 28
    assert processes == 0 if bench.driver.name == "gvisor" else 2 <= processes < 20
