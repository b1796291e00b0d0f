"""Many runs at once in one state folder, and a run whose journal is very long."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from bank import leftovers
from conftest import Command, need
from memory_stores import MemoryStores
from scripted_engine import Images, ScriptedDriver, Seen, step

from runner.clock import Cancellation, SystemClock
from runner.engine.executor import execute
from runner.engine.ports import Stores, Work
from runner.events import AttemptEnded, AttemptStarted, RetryScheduled, RunCreated, RunStarted, StepSettled
from runner.planning.plan import Plan, Retry
from runner.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.events import Event, Record
    from runner.store.journal import Ownership

MANY = """
name: many
inputs: {{mark: {{type: string}}}}
steps:
  make: {{run: 'echo "$MARK" > /out/mark', env: {{MARK: "${{{{ inputs.mark }}}}"}}, out: [mark]}}
  look: {{in: {{mark: make/mark}}, run: 'cp /in/mark /out/mark', out: [mark]}}
{turns}
"""
STEPS, ATTEMPTS = 1112, 3  # 9 events a step


def start(runner: Command, engine: str, file: str, mark: str) -> subprocess.Popen[bytes]:
    argv = runner.argv("run", file, "--engine", engine, "--json", "--input", f"mark={mark}")
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=runner.project, env=runner.environment(), stdout=pipe, stderr=pipe)


def run_many(runner: Command, engine: str, count: int, turns: str = "") -> None:
    """Start so many runs at the same moment; each ends with its own results, and nothing is left."""
    file = runner.workflow(MANY.format(turns=turns))
    processes = [start(runner, engine, file, f"mark-{number}") for number in range(count)]
    for process in processes:
        out, told = process.communicate(timeout=250)
        assert process.returncode == 0, (out + told).decode()
    rows = runner("ps", "--json").report
    assert [row["status"] for row in rows] == ["succeeded"] * count
    assert {mark_of(runner, row["run"]) for row in rows} == {f"mark-{number}" for number in range(count)}
    assert leftovers(runner.home) == []


def mark_of(runner: Command, run: str) -> str:
    folder = runner.project / f"results-{run}"
    assert runner("outputs", run, "-o", str(folder)).code == 0
    return (folder / "look" / "mark").read_text().strip()


def test_a_few_runs_at_once_in_one_state_folder_do_not_meet(runner: Command) -> None:
    need("bubblewrap")
    run_many(runner, "bubblewrap", 5)


@pytest.mark.soak
@pytest.mark.parametrize("turns", ["", "concurrency: {group: one, limit: 2}"], ids=["free", "in-turns"])
def test_twenty_runs_at_once_in_one_state_folder_do_not_meet(
    runner: Command, engine: str, turns: str
) -> None:
    began = time.monotonic()
    run_many(runner, engine, 20, turns)
    print(f"20 runs at once on {engine} ({turns or 'free'}): {time.monotonic() - began:.1f} s")


class Bound:
    """The journal as the engine asks for it."""

    def __init__(self, journal: Journal, ownership: Ownership) -> None:
        self._journal, self._ownership = journal, ownership

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        return self._journal.append(self._ownership, events)

    def news(self) -> Sequence[Record]:
        return ()

    def record(self, events: Sequence[Event]) -> None:
        self._journal.append(self._ownership, events)

    def confirm(self) -> None:
        self._journal.confirm(self._ownership)


def history(name: str) -> list[Event]:
    """What a step does that fails twice and then succeeds."""
    events: list[Event] = []
    for attempt in range(1, ATTEMPTS + 1):
        reason = None if attempt == ATTEMPTS else "exit"
        detail = "" if reason is None else "exit status 75"
        events.append(AttemptStarted(name, attempt))
        events.append(
            AttemptEnded(name, attempt, exit_code=75 if reason else 0, reason=reason, detail=detail)
        )
        if reason:
            events.append(RetryScheduled(name, attempt + 1, 0.0))
    return [*events, StepSettled(name, "succeeded")]


def long_plan() -> Plan:
    names = [f"s{number}" for number in range(STEPS + 1)]
    retry = Retry(max_attempts=ATTEMPTS)
    steps = [step(name, *names[max(0, place - 1) : place], retry=retry) for place, name in enumerate(names)]
    return Plan("w", "w.yaml", "staging", "d", "p", "", "", {}, {one.id: one for one in steps})


def test_a_run_with_ten_thousand_events_goes_on_from_them(tmp_path: Path) -> None:
    plan = long_plan()
    with Journal(tmp_path / "home" / "journal.db", SystemClock()) as journal:
        ownership = journal.create_run("r1", "{}", RunCreated("w", "staging", "scripted", "d", "p"))
        journal.append(ownership, [RunStarted()])
        began = time.perf_counter()
        for number in range(STEPS):
            journal.append(ownership, history(f"s{number}"))
        each = (time.perf_counter() - began) / STEPS
        assert len(journal.records("r1")) > 10_000
        driver = ScriptedDriver()
        began = time.perf_counter()
        records = journal.records("r1")
        ended = execute(work(plan, Bound(journal, journal.open_run("r1")), driver, tmp_path), records)
        took = time.perf_counter() - began
    assert ended.status == "succeeded"
    assert [spec.step for spec in driver.made] == [f"s{STEPS}"], "a settled step was done again"
    print(
        f"{len(records)} events: resumed and ended in {took:.2f} s; a synced batch of 9: {each * 1e3:.2f} ms"
    )


def work(plan: Plan, journal: Bound, driver: ScriptedDriver, folder: Path) -> Work:
    memory = MemoryStores(folder / "memory").stores()
    stores = Stores(journal, memory.artifacts, memory.logs, memory.secrets, memory.masker, memory.network)
    flags = (Cancellation(), Cancellation())
    return Work("r1", plan, driver, Images(), stores, Seen(), SystemClock(), *flags, folder / "attempts")


def test_every_event_is_synced_by_itself(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.db", SystemClock()) as journal:
        ownership = journal.create_run("r1", "{}", RunCreated("w", "staging", "scripted", "d", "p"))
        costs = []
        for number in range(500):
            began = time.perf_counter()
            journal.append(ownership, [AttemptStarted("s", number)])
            costs.append(time.perf_counter() - began)
        (mode,) = next(iter(journal._database.read("PRAGMA synchronous")))
    assert mode == 2, "a record is not synced before it is acted on"
    print(f"an event, synced: median {sorted(costs)[250] * 1e6:.0f} µs, slowest {max(costs) * 1e3:.1f} ms")
