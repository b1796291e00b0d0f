"""Driving runs in lanes, over a fake engine that runs Python functions as steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from scripted_engine import LIMITS, Bench, Inside, ScriptedDriver, fresh, step

from runner.engine.outputs import parse_outputs
from runner.engine.report import exit_code, run_object
from runner.errors import ImageMissing, StoreError
from runner.events import AttemptEnded, AttemptStarted, RunCreated, SecretOpened
from runner.planning.plan import ImageRef, Input, Retry, SecretUse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with fresh(tmp_path) as made:
        yield made


def test_a_result_travels_from_step_to_step_and_every_act_is_recorded_before_it(bench: Bench) -> None:
    def write(inside: Inside) -> int:
        assert bench.stores.records[-1].event == AttemptStarted("a", 1)
        (inside.out / "rows.csv").write_text("1,2\n")
        (inside.out / ".runner-output").write_text("rows=1\nbad line\nnote<<END\ntwo\nlines\nEND\n")
        return 0

    def read(inside: Inside) -> int:
        assert inside.message.inputs["rows.csv"].read_text() == "1,2\n"
        assert inside.message.env["ROWS"] == "1 of two\nlines"
        assert inside.message.env["HOME"] == "/work"
        return 0

    run = bench.run(
        ScriptedDriver({"a": write, "b": read}),
        step("a", outputs=("rows.csv",)),
        step(
            "b",
            "a",
            inputs=(Input("rows.csv", "a", "rows.csv"),),
            env={"ROWS": "${{ steps.a.outputs.rows }} of ${{ steps.a.outputs.note }}"},
        ),
    )
    assert run.status == "succeeded", run.steps
    ended = bench.events(AttemptEnded)[0]
    assert [one.name for one in ended.artifacts] == ["rows.csv"]
    assert ended.refused == ("odd: a link", "line 2 of $RUNNER_OUTPUT is no key=value: 'bad line'")
    assert [type(event) for event in bench.observer.events] == [
        type(record.event) for record in bench.stores.records[1:]
    ]


def test_steps_without_needs_run_together_but_never_more_than_lanes(bench: Bench) -> None:
    def slow(_: Inside) -> int:
        time.sleep(0.05)
        return 0

    names = [f"s{number}" for number in range(6)]
    driver = ScriptedDriver(dict.fromkeys(names, slow))
    assert bench.run(driver, *map(step, names), lanes=2).status == "succeeded"
    assert driver.most == 2


def test_a_secret_reaches_the_step_and_nothing_else(bench: Bench) -> None:
    bench.stores.values["token"] = b"hunter2-hunter2"

    def leak(inside: Inside) -> int:
        (secret,) = inside.message.secrets
        assert (secret.name, secret.value, secret.as_env) == ("TOKEN", b"hunter2-hunter2", True)
        inside.print(b"it is hunter2-")
        inside.print(b"hunter2!\n")
        (inside.out / ".runner-output").write_text("leak=hunter2-hunter2\n")
        return 1

    bench.run(ScriptedDriver({"a": leak}), step("a", secrets=(SecretUse("TOKEN", "token", as_env=True),)))
    assert bytes(bench.stores.logs["a", 1]) == b"it is ***!\n" == bench.observer.output_bytes
    assert "hunter2" not in repr(bench.stores.records)
    assert bench.events(SecretOpened) == [SecretOpened("a", 1, "token")]


def test_a_secret_that_is_not_bound_denies_the_step(bench: Bench) -> None:
    run = bench.run(ScriptedDriver(), step("a", secrets=(SecretUse("T", "token"),)))
    assert run.steps["a"].reason == "denied"
    assert exit_code(run) == 3
    assert not bench.driver.begun  # nothing ran


def test_a_lost_sandbox_is_tried_again_whatever_the_step_says_of_retries(bench: Bench) -> None:
    driver = ScriptedDriver()
    driver.lost = {"a", "w"}
    quick = Retry(backoff=0.05, on=(75,))
    run = bench.run(driver, step("a", retry=quick), step("w", retry=quick, effects="write"))
    assert [run.steps[name].status for name in "aw"] == ["succeeded", "succeeded"], "neither had begun"


def test_the_idempotency_key_is_the_same_in_every_attempt(bench: Bench) -> None:
    keys: list[str] = []

    def fail(inside: Inside) -> int:
        keys.append(inside.message.env["RUNNER_IDEMPOTENCY_KEY"])
        return 75

    retry = Retry(max_attempts=3, backoff=0.01, on=(75,))
    bench.run(ScriptedDriver({"a": fail}), step("a", retry=retry, effects="write", idempotent=True))
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_too_much_log_stops_the_step_and_keeps_what_fitted(bench: Bench) -> None:
    def flood(inside: Inside) -> int:
        inside.print(b"x" * (LIMITS.log - 1))
        inside.print(b"yyy")
        inside.print(b"zzz")
        return 0

    run = bench.run(ScriptedDriver({"a": flood}), step("a"))
    assert run.steps["a"].reason == "log-limit"
    assert bench.stores.logs["a", 1].endswith(b"xy")
    assert bench.driver.stops == [("a", 0)]


def test_a_promised_file_that_was_not_written_fails_the_step_and_keeps_the_others(bench: Bench) -> None:
    def half(inside: Inside) -> int:
        (inside.out / "one").write_text("1")
        return 0

    run = bench.run(ScriptedDriver({"a": half}), step("a", outputs=("one", "two", "*.csv")))
    assert run.steps["a"].reason == "exit"
    assert run.steps["a"].detail == "a promised file is not there: two: was not written"
    assert [one.name for one in bench.events(AttemptEnded)[0].artifacts] == ["one"]


def test_a_file_that_no_step_left_is_named(bench: Bench) -> None:
    run = bench.run(
        ScriptedDriver({"a": lambda _: 1}),
        step("a", continue_on_error=True),
        step("b", "a", inputs=(Input("x", "a", "x.csv"),)),
    )
    assert (run.steps["b"].reason, run.steps["b"].detail) == ("dependency", "a did not leave x.csv")


def test_cancelling_stops_what_runs_with_its_grace_and_still_runs_the_final_steps(bench: Bench) -> None:
    def hang(inside: Inside) -> int:
        bench.cancellation.cancel("SIGINT")
        assert inside.stopped.wait(10)
        return 143

    began = time.monotonic()
    run = bench.run(ScriptedDriver({"a": hang}), step("a"), step("b", "a"), step("end", final=True))
    assert time.monotonic() - began < 5
    assert [state.status for state in run.steps.values()] == ["cancelled", "cancelled", "succeeded"]
    assert bench.driver.stops == [("a", 1.0)]
    assert exit_code(run) == 130


def test_abandoning_stops_the_final_steps_at_once(bench: Bench) -> None:
    def hang(inside: Inside) -> int:
        bench.cancellation.cancel("SIGINT")
        bench.abandonment.cancel("SIGINT again")
        assert inside.stopped.wait(10)
        return 137

    run = bench.run(ScriptedDriver({"end": hang}), step("a"), step("end", final=True))
    assert [state.status for state in run.steps.values()] == ["succeeded", "cancelled"]
    assert ("end", 0) in bench.driver.stops


def test_output_that_nobody_reads_any_more_cancels_the_run(bench: Bench) -> None:
    def hang(inside: Inside) -> int:
        inside.print(b"hello\n")
        return 0

    bench.observer.error = BrokenPipeError()
    run = bench.run(ScriptedDriver({"a": hang}), step("a"), step("b", "a"))
    assert run.status == "cancelled"


def test_an_observer_that_breaks_does_not_fail_the_run(bench: Bench) -> None:
    def speak(inside: Inside) -> int:
        inside.print(b"hello\n")
        return 0

    bench.observer.error = ValueError("a bug")
    assert bench.run(ScriptedDriver({"a": speak}), step("a")).status == "succeeded"
    assert bytes(bench.stores.logs["a", 1]) == b"hello\n"


def test_a_journal_that_fails_ends_everything_and_says_so(bench: Bench) -> None:
    def hang(inside: Inside) -> int:
        inside.stopped.wait(10)
        return 137

    bench.stores.fail_after = 4
    began = time.monotonic()
    with pytest.raises(StoreError):
        bench.run(ScriptedDriver({"b": hang}), step("a"), step("b"))
    assert time.monotonic() - began < 5


def test_a_missing_image_ends_the_run_before_anything_is_made(bench: Bench) -> None:
    with pytest.raises(ImageMissing):
        bench.run(ScriptedDriver(), step("a", image=ImageRef("profile", "absent")))
    assert not bench.driver.made


def test_an_attempt_that_a_dead_runner_left_behind_is_an_infra_error(bench: Bench) -> None:
    bench.stores.append([RunCreated("w", "staging", "scripted", "d", "p"), AttemptStarted("a", 1)])
    run = bench.run(ScriptedDriver(), step("a", retry=Retry(max_attempts=2, backoff=0.01)))
    assert run.status == "succeeded"
    assert run.steps["a"].attempts == 2


def test_output_values_are_read_line_by_line_and_bad_lines_are_named() -> None:
    values, bad = parse_outputs("a=1\nb=x=y\nc<<E\n1\n2\nE\n\n=no\n9=no\nd<<E\nopen\n")
    assert values == {"a": "1", "b": "x=y", "c": "1\n2"}
    assert [line.split(":")[0] for line in bad] == [
        f"line {number} of $RUNNER_OUTPUT is no key=value" for number in (8, 9, 10, 11)
    ]


def test_the_run_object_has_the_fields_of_the_contract(bench: Bench) -> None:
    run = bench.run(ScriptedDriver({"a": lambda _: 3}), step("a"))
    report = run_object(run)
    assert list(report) == [
        "run",
        "workflow",
        "mode",
        "engine",
        "definition",
        "plan",
        "status",
        "warnings",
        "unenforced",
        "steps",
        "rollback",
    ]
    assert {**report["steps"]["a"], "started": 0, "ended": 0} == {
        "status": "failed",
        "attempts": 1,
        "exit_code": 3,
        "reason": "exit",
        "started": 0,
        "ended": 0,
    }
    assert report["steps"]["a"]["started"].endswith("Z")
