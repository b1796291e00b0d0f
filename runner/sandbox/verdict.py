"""From what is known about a dead sandbox to how its attempt ended: a pure function."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from runner.sandbox.base import Exit
from runner.sandbox.wire import BAD_MESSAGE, NO_OUTLET, NOT_EXECUTED, NOT_PROVED, SIGNALLED, TIMED_OUT, End

_SIGNAL_BASE = 128
_KILLED = 137
_TIMEOUT = 124
_ENDED_FROM_WITHIN = (
    "the whole sandbox was killed while its step ran: "
    "the step took too much memory or killed the sandbox's PID 1"
)
_NOT_PROVED = {
    1: "a network device is up in it",
    2: "the network outside can be reached from it",
    3: "the proxy behind its outlet did not answer",
    4: "the proxy behind its outlet did not refuse what nobody may reach",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known: the engine's ``code`` and ``out_of_memory``, PID 1's ``final``, what we did.

    ``guarded`` says that the kernel shields PID 1 from its step: nobody but us or the engine ended it then.
    """

    code: int | None
    out_of_memory: bool = False
    final: End | None = None
    over_output: bool = False
    overdue: bool = False
    stopped: bool = False
    guarded: bool = True
    complaint: str = ""


def judge(evidence: Evidence) -> Exit:
    """Return how the attempt ended."""
    code, final = evidence.code, evidence.final
    if code is None:
        return Exit(None, "infra", "the engine did not confirm the sandbox's end")
    broken = _limit_broken(evidence, code)
    if broken:
        return broken
    if evidence.stopped and code:
        return Exit(code, "exit", "the step was stopped")
    if final is None and code and not evidence.guarded:
        return Exit(code, "exit", _ENDED_FROM_WITHIN)
    if final is None or final.kind == BAD_MESSAGE:
        return Exit(code, "infra", f"the sandbox was lost while its step ran {evidence.complaint}".strip())
    return _told(code, final)


def _told(code: int, final: End) -> Exit:
    if final.kind in {NO_OUTLET, NOT_PROVED}:
        return Exit(code, "infra", _refusal(final), refused=True)
    return Exit(code, "exit", _words(code, final)) if code else Exit(0, None)


def _refusal(final: End) -> str:
    if final.kind == NO_OUTLET:
        return f"the step was not run: its sandbox cannot listen on an outlet: {os.strerror(final.code)}"
    why = _NOT_PROVED.get(final.code, "for a reason that is not known")
    return f"the step was not run: its sandbox could not be proved closed: {why}"


def _limit_broken(evidence: Evidence, code: int) -> Exit | None:
    final = evidence.final
    if evidence.over_output:
        return Exit(code, "output-limit", "the step wrote more to /out than resources.output allows")
    if evidence.overdue or (code == _TIMEOUT and final is not None and final.kind == TIMED_OUT):
        return Exit(code, "timeout", "the step ran longer than its timeout")
    if code and evidence.out_of_memory:
        return Exit(_KILLED, "out-of-memory", "the step used more memory than resources.memory allows")
    return None


def _words(code: int, final: End) -> str:
    if final.kind == NOT_EXECUTED:
        return f"the command cannot be started: {os.strerror(final.code)}"
    if final.kind == SIGNALLED and code > _SIGNAL_BASE:
        try:
            return f"killed by {signal.Signals(code - _SIGNAL_BASE).name}"
        except ValueError:
            return f"killed by signal {code - _SIGNAL_BASE}"
    return f"exit status {code}"
