"""Every history of every plan: it ends, and each of its prefixes gives one lawful decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generated_plans import plans
from history_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events import CancelRequested, RunEnded, StepSettled

if TYPE_CHECKING:
    from runner.planning.plan import Plan


@settings(max_examples=150, deadline=None)
@given(plan=plans(), choices=st.data(), lanes=st.integers(1, 4))
def test_every_history_ends_and_every_prefix_gives_the_same_lawful_decision(
    plan: Plan, choices: st.DataObject, lanes: int
) -> None:
    world = World(plan, choices, lanes)
    world.play()
    settled = [record.event.step for record in world.records if isinstance(record.event, StepSettled)]
    assert sorted(settled) == sorted(plan.steps)
    ended = [record.event for record in world.records if isinstance(record.event, RunEnded)]
    assert len(ended) == 1 + world.rollbacks
    first = [record.event for record in world.records]
    first = first[: first.index(ended[0])]
    failed = {event.step for event in first if isinstance(event, StepSettled) and event.status == "failed"}
    blamed = world.run.expired or any(not plan.steps[name].continue_on_error for name in failed)
    blamed = blamed or any(getattr(event, "status", "") == "compensation-failed" for event in first)
    if any(isinstance(event, CancelRequested) for event in first):
        assert ended[0].status in {"cancelled", "rollback-failed", "rolled-back"}
    else:
        assert (ended[0].status in {"failed", "rolled-back", "rollback-failed"}) == blamed
