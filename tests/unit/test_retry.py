"""When an attempt is made again, and after which pause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.events import AttemptEnded
from runner.failsafe.retry import next_pause
from runner.planning.plan import Retry


def ended(reason: str | None, code: int | None = 1) -> AttemptEnded:
    return AttemptEnded("s", 1, exit_code=code, reason=reason)


def test_pauses_double_up_to_the_limit_and_end_with_the_attempts() -> None:
    retry = Retry(max_attempts=5, backoff=1.0, factor=2.0, max_delay=3.0, jitter=False)
    pauses = [next_pause(retry, attempt, ended("exit"), "seed") for attempt in range(1, 6)]
    assert pauses == [1.0, 2.0, 3.0, 3.0, None]


def test_one_attempt_is_the_default_and_the_engine_has_a_budget_of_its_own() -> None:
    assert next_pause(Retry(), 1, ended("exit"), "seed") is None
    pauses = [next_pause(Retry(jitter=False), tried, ended("infra", None), "seed") for tried in range(1, 6)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, None]
    final = replace(ended("infra", None), final=True)
    assert next_pause(Retry(), 1, final, "seed") is None, "another attempt would fail alike"


@pytest.mark.parametrize(
    ("on", "reason", "code", "retried"),
    [
        ((75,), "exit", 75, True),
        ((75,), "exit", 1, False),
        ((75,), "timeout", 75, False),
        ((75,), "infra", None, True),
        ((75,), "dependency", None, False),
        (("timeout",), "timeout", 124, True),
        (("timeout",), "exit", 1, False),
        (("infra",), "infra", None, True),
        (("exit",), "out-of-memory", 137, False),
        (("exit", "cancelled"), "cancelled", 143, False),
        (("exit",), None, 0, False),
    ],
)
def test_only_the_named_reasons_and_exit_codes_are_tried_again(
    on: tuple[str | int, ...], reason: str | None, code: int | None, *, retried: bool
) -> None:
    retry = Retry(max_attempts=2, jitter=False, on=on)
    assert (next_pause(retry, 1, ended(reason, code), "seed") is not None) == retried


def test_jitter_is_a_fraction_of_the_pause_and_the_same_for_the_same_seed() -> None:
    retry = Retry(max_attempts=9, backoff=10.0, max_delay=10.0)
    pauses = [next_pause(retry, 1, ended("exit"), f"run/{number}") for number in range(200)]
    again = [next_pause(retry, 1, ended("exit"), f"run/{number}") for number in range(200)]
    assert pauses == again
    assert all(pause is not None and 0 <= pause < 10 for pause in pauses)
    assert len(set(pauses)) > 150
    assert 4 < sum(pause or 0 for pause in pauses) / 200 < 6


def test_a_huge_attempt_number_does_not_overflow() -> None:
    retry = Retry(max_attempts=10**9, factor=10.0, jitter=False)
    assert next_pause(retry, 10**6, ended("exit"), "seed") == 30.0
