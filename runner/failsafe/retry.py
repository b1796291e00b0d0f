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

_NEVER = frozenset({"cancelled", "denied", "dependency", "secret-leak"})
INFRA_ATTEMPTS = 5  # by default after 1, 2, 4 and 8 seconds: an engine that is started again is waited for
_INFRA = "infra"


def next_pause(retry: Retry, attempt: int, ended: AttemptEnded, seed: str) -> float | None:
    """Return the seconds to wait before the attempt after ``attempt``, or None to give up.

    ``attempt`` counts those that had their chance, not those whose runner died. What the engine did wrong
    is tried again within a budget of its own, whatever the author says.

    The full jitter (a fraction of the pause, AWS's "exponential backoff and jitter") is read from a hash
    of ``seed``: the same history always gets the same pause. For an engine there is none: a fraction of a
    pause may be too short for it to come back.
    """
    from tenacity import stop_after_attempt, wait_exponential  # slow to import

    if not is_retried(retry, ended):
        return None
    state = _call_state(attempt)
    most = max(retry.max_attempts, INFRA_ATTEMPTS) if ended.reason == _INFRA else retry.max_attempts
    if stop_after_attempt(most)(state):
        return None
    wait = wait_exponential(multiplier=retry.backoff, exp_base=retry.factor, max=retry.max_delay)
    pause = float(wait(state))
    return pause * _fraction(seed) if retry.jitter and ended.reason != _INFRA else pause


def is_retried(retry: Retry, ended: AttemptEnded) -> bool:
    """Return whether ``retry.on`` names the attempt's reason or exit code, or the engine failed."""
    if ended.reason is None or ended.reason in _NEVER or ended.final:
        return False
    if ended.reason == _INFRA:
        return True
    by_code = ended.reason == "exit" and ended.exit_code is not None and ended.exit_code in retry.on
    return by_code or ended.reason in retry.on


def _call_state(attempt: int) -> RetryCallState:
    from tenacity import RetryCallState, Retrying  # slow to import

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    return state


def _fraction(seed: str) -> float:
    return int.from_bytes(sha256(seed.encode()).digest()[:7], "big") / (1 << 56)
