"""What an attempt does about its secrets: asked for, asked again, masked, taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_stores import MemoryStores
from scripted_engine import Bench, Inside, ScriptedDriver, napping, step

from runner.events import AttemptEnded, SecretRevoked
from runner.planning.plan import Retry, SecretUse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run", MemoryStores(tmp_path))


def test_a_sandbox_made_ahead_for_a_step_that_is_denied_is_destroyed(bench: Bench) -> None:
    driver = ScriptedDriver({"a": napping(0.3)}, parks=True)
    run = bench.run(driver, step("a"), step("b", "a", secrets=(SecretUse("T", "token"),)))
    assert run.steps["b"].reason == "denied"
    assert sorted(made.step for made in driver.made) == ["a", "b"]
    assert not driver.alive


def test_a_source_that_does_not_answer_is_asked_again_as_an_engine_is(bench: Bench) -> None:
    bench.stores.values["token"] = b"value"
    bench.stores.away = 2
    again = Retry(max_attempts=1, backoff=0.01)
    run = bench.run(ScriptedDriver(), step("a", secrets=(SecretUse("T", "token"),), retry=again))
    assert run.status == "succeeded"
    ends = bench.events(AttemptEnded)
    assert [(ended.reason, ended.began) for ended in ends] == [
        ("infra", False),
        ("infra", False),
        (None, True),
    ]
    assert bench.stores.closed == [1, 2, 3]


def test_what_an_earlier_attempt_had_stays_masked(bench: Bench) -> None:
    values = iter([b"first-value", b"second-value"])

    def leaks_the_old_one(inside: Inside) -> int:
        inside.print(b"first-value and second-value\n")
        bench.stores.values["token"] = next(values, b"")
        return 75

    bench.stores.values["token"] = next(values)
    uses, again = (SecretUse("T", "token"),), Retry(max_attempts=2, backoff=0.01, on=(75,))
    bench.run(ScriptedDriver({"a": leaks_the_old_one}), step("a", secrets=uses, retry=again))
    assert bench.stores.logs["a", 2] == b"*** and ***\n"


def test_a_secret_that_is_revoked_ends_the_steps_that_hold_it_and_no_other(bench: Bench) -> None:
    def waits(inside: Inside) -> int:
        bench.stores.note(SecretRevoked(("token",), "anna"))
        return 137 if inside.stopped.wait(5) else 0

    bench.stores.values["token"] = b"value"
    uses, again = (SecretUse("T", "token"),), Retry(max_attempts=3, backoff=0)
    holds = step("a", secrets=uses, retry=again)
    run = bench.run(ScriptedDriver({"a": waits, "b": napping(1.5)}), holds, step("b"))
    assert (run.steps["a"].reason, run.steps["a"].attempts) == ("denied", 1)
    assert run.steps["a"].detail == "secret token was revoked by anna"
    assert run.steps["b"].status == "succeeded"
    assert bench.driver.stops == [("a", 0)]
