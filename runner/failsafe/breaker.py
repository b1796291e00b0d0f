"""A circuit breaker as a pure rule: pybreaker's state machine over a state that is kept elsewhere.

Asking is ours, since it needs a clock that is handed in and a probe that many processes compete for; who
counts failures, trips and closes again is pybreaker, by a call that only replays an outcome.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.events import AttemptEnded
    from runner.settings import BreakerRule

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
SUCCESS, FAILURE, NOTHING = "success", "failure", "nothing"
_NOT_FOUND = (126, 127)  # the shell's words for a command that is not there or not executable
_LOOK_AGAIN = 1.0  # seconds until a probe under way is asked about again


@dataclass(frozen=True, slots=True)
class BreakerState:
    """What is kept of one breaker: ``probe`` is the attempt that tries a half-open one, ``RUN/STEP/N``."""

    state: str = CLOSED
    failures: int = 0
    opened_at: float = 0.0
    probe: str = ""


def ask(
    kept: BreakerState, rule: BreakerRule, now: float, attempt: str, is_live: Callable[[str], bool]
) -> tuple[BreakerState, float | None]:
    """Return the new state and None where ``attempt`` may go on, else the time of the next probe.

    ``is_live`` tells whether a run is driven by anyone: a probe whose runner died is given away. A
    breaker that opened in the future (the clock went back) counts as opened now.
    """
    if kept.state == CLOSED:
        return kept, None
    if kept.state == HALF_OPEN and kept.probe and is_live(kept.probe.partition("/")[0]):
        return kept, now + _LOOK_AGAIN
    until = min(kept.opened_at, now) + rule.reset
    if kept.state == OPEN and now < until:
        return kept, until
    return replace(kept, state=HALF_OPEN, probe=attempt), None


def tell(kept: BreakerState, rule: BreakerRule, now: float, attempt: str, outcome: str) -> BreakerState:
    """Return the state after an attempt whose outcome is ``SUCCESS``, ``FAILURE`` or ``NOTHING``.

    What began before the breaker opened, and is no probe, changes nothing any more.
    """
    if kept.state == OPEN or (kept.state == HALF_OPEN and kept.probe != attempt):
        return kept
    if outcome == NOTHING:
        return replace(kept, probe="")
    return _replayed(kept, rule, now, outcome)


def outcome_of(ended: AttemptEnded) -> str:
    """Return what an attempt says about the service behind a breaker.

    Only the step's own exit and its timeout do: what policy, the author or the engine did wrong is not the
    service's failure.
    """
    if ended.lost or not ended.began:
        return NOTHING
    if ended.reason is None:
        return SUCCESS
    failed = ended.reason == "timeout" or (ended.reason == "exit" and ended.exit_code not in _NOT_FOUND)
    return FAILURE if failed else NOTHING


def _replayed(kept: BreakerState, rule: BreakerRule, now: float, outcome: str) -> BreakerState:
    from pybreaker import CircuitBreaker, CircuitMemoryStorage  # slow to import

    storage = CircuitMemoryStorage(kept.state)
    for _ in range(min(kept.failures, rule.failures)):
        storage.increment_counter()
    breaker = CircuitBreaker(fail_max=rule.failures, state_storage=storage, throw_new_error_on_trip=False)
    with suppress(_Failed):
        breaker.call(_replay, outcome)
    opened = breaker.current_state == OPEN
    return BreakerState(breaker.current_state, breaker.fail_counter, now if opened else 0.0)


class _Failed(Exception):
    """The outcome that is replayed."""


def _replay(outcome: str) -> None:
    if outcome == FAILURE:
        raise _Failed
