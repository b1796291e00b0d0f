"""One rule for retry, crash and resume: when a write may be attempted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.planning.plan import PlannedStep

AGAIN = "again"
DONE = "done"
GIVE_UP = "give-up"
VERDICTS = (AGAIN, DONE, GIVE_UP)


def is_doubled(step: PlannedStep, *, dirty: bool) -> bool:
    """Return whether another attempt of ``step`` could do its write a second time.

    ``dirty`` says that an attempt began and was not undone since: what it did outside nobody here can see.
    """
    return step.effects == "write" and dirty and not step.idempotent


def is_due(step: PlannedStep, status: str, *, dirty: bool) -> bool:
    """Return whether a rollback has to undo a step that ended as ``status``."""
    when = "succeeded" if status == "succeeded" else "failed"
    return dirty and step.compensate is not None and when in step.compensate_on
