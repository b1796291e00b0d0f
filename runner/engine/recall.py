"""A run as the journal tells it: its plan, and all that happened since."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runner.engine.run import fold
from runner.errors import PlanOutdated, StoreError
from runner.planning.codec import OlderPlan, plan_from_json

if TYPE_CHECKING:
    from runner.engine.run import Run
    from runner.store.journal import Journal


def recall(journal: Journal, run: str) -> Run:
    """Return the run's state.

    Raises ``StoreError`` for what no Runner wrote, and ``PlanOutdated`` for what an older one did.
    """
    try:
        plan = plan_from_json(json.loads(journal.plan_json(run)))
    except OlderPlan as error:
        raise PlanOutdated(
            f"the plan of run {run} cannot be read: {error}", cure="run the workflow again with this Runner"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the plan of run {run} cannot be read: {error}",
            cure="a newer Runner may have written it",
        ) from error
    found = fold(plan, journal.records(run), run)
    if found.created is None:
        raise StoreError(
            f"the journal lost the first record of run {run}", cure="restore the journal from a backup"
        )
    return found
