"""Every error of Runner, as one tree.

::

    RunnerError                      exit  retryable
    ├── WorkflowError                  2   no    the author's mistake: file, line, column
    ├── UsageError                     2   no    the command line is wrong
    ├── NotBuilt                       2   no    a documented feature that this version cannot run
    ├── PolicyDenied                   3   no    the operator's rule
    ├── SourceUnavailable              4   yes   a source of secrets does not answer
    ├── SandboxError                   4   yes   the engine let a step down
    │   ├── EngineUnavailable          4   yes   nothing answers, or not for this user
    │   ├── ImageMissing               4   no    the image is neither here nor reachable
    │   ├── LimitUnenforceable         4   no    a declared limit that the engine cannot hold
    │   └── OutletImpossible           4   no    a way out that this sandbox cannot have
    ├── StoreError                     4   no    the state folder cannot be read or written
    │   ├── FenceLost                  4   no    another runner has taken this run over
    │   └── PlanOutdated               4   no    the run is of an older Runner, and so is its plan
    └── Interrupted                  130   no    a signal, or the reader of our output went away

What a *step* did wrong is never an exception: it is an ``Exit`` with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class RunnerError(Exception):
    """The root; ``exit_code`` is the process's status and ``cure`` what to do next."""

    exit_code: ClassVar[int] = 4
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, cure: str = "") -> None:
        """Keep what happened (``message``) and what the reader can do about it (``cure``)."""
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}\n  {self.cure}" if self.cure else self.message


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding in a file: ``line`` and ``column`` count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {self.severity}: {self.message}{hint}"


class WorkflowError(RunnerError):
    """The workflow is wrong; ``problems`` holds every finding, in file order."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        """Take all findings at once: an author should not meet them one by one."""
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


class UsageError(RunnerError):
    """The command line is wrong."""

    exit_code = 2


class NotBuilt(RunnerError):
    """The workflow asks for something documented that this version cannot run yet."""

    exit_code = 2


class PolicyDenied(RunnerError):
    """The operator's rules forbid it."""

    exit_code = 3


class SourceUnavailable(RunnerError):
    """A source of secrets does not answer; another attempt may succeed."""

    retryable = True


class SandboxError(RunnerError):
    """The sandbox engine let the step down; another attempt may succeed."""

    retryable = True


class EngineUnavailable(SandboxError):
    """No engine answers, or it does not answer this user."""


class ImageMissing(SandboxError):
    """The image is not here and cannot be had."""

    retryable = False


class LimitUnenforceable(SandboxError):
    """A limit was declared that this engine cannot hold."""

    retryable = False


class OutletImpossible(SandboxError):
    """A sandbox cannot have a way out that was declared."""

    retryable = False


class StoreError(RunnerError):
    """The state folder cannot be read or written; nothing goes on without it."""


class FenceLost(StoreError):
    """Another runner owns this run now; what this one wanted to record was not recorded."""


class PlanOutdated(StoreError):
    """An older Runner made this run; nobody can go on from its plan any more."""


class Interrupted(RunnerError):
    """A signal arrived, or whoever read our output went away."""

    exit_code = 130
