"""Whether an attempt that failed is made again, and after which pause: a pure rule over what happened.

tenacity's stop and wait objects answer without state for a ``RetryCallState`` that is built here from the
attempt's record; nothing in this file sleeps, draws a random number or reads a clock.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from runner.events import AttemptEnded
    from runner.planning.plan import Retry

_NEVER = frozenset({"cancelled", "denied"})


def next_pause(retry: Retry, attempt: int, ended: AttemptEnded, seed: str) -> float | None:
    """Return the seconds to wait before the attempt after ``attempt``, or None to give up.

    The full jitter (a fraction of the pause, AWS's "exponential backoff and jitter") is read from a hash
    of ``seed``: the same history always gets the same pause.
    """
    from tenacity import stop_after_attempt, wait_exponential  # slow to import

    if not is_retried(retry, ended):
        return None
    state = _call_state(attempt)
    if stop_after_attempt(retry.max_attempts)(state):
        return None
    wait = wait_exponential(multiplier=retry.backoff, exp_base=retry.factor, max=retry.max_delay)
    pause = float(wait(state))
    return pause * _fraction(seed) if retry.jitter else pause


def is_retried(retry: Retry, ended: AttemptEnded) -> bool:
    """Return whether ``retry.on`` names the attempt's reason or its exit code."""
    if ended.reason is None or ended.reason in _NEVER:
        return False
    by_code = ended.reason == "exit" and ended.exit_code is not None and ended.exit_code in retry.on
    return by_code or ended.reason in retry.on


def _call_state(attempt: int) -> RetryCallState:
    from tenacity import RetryCallState, Retrying  # slow to import

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    return state


def _fraction(seed: str) -> float:
    return int.from_bytes(sha256(seed.encode()).digest()[:7], "big") / (1 << 56)
