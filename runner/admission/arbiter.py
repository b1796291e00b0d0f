"""Grants one run what all share, inside the transaction that records it: nobody can act on a stale answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.admission import breakers, turns
from runner.events import (
    PHASE_RUN,
    AttemptEnded,
    AttemptStarted,
    BreakerRefused,
    RunEnded,
    SecretOpened,
    TurnAwaited,
    TurnTaken,
)
from runner.failsafe.breaker import FAILURE, NOTHING, SUCCESS, ask, outcome_of, tell

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from runner.events import Event
    from runner.planning.plan import Plan
    from runner.settings import BreakerRule

_RUN_OUTCOMES = {"succeeded": SUCCESS, "rehearsed": SUCCESS, "cancelled": NOTHING}


@dataclass(slots=True)
class Arbiter:
    """Asks and tells the breakers that the plan's steps name, and the run's concurrency group.

    ``hold_after`` failures in a row hold the workflow (0: never). ``is_live`` tells whether a run is driven.
    """

    run: str
    plan: Plan
    is_live: Callable[[str], bool]
    hold_after: int = 0
    _awaited: tuple[str, ...] | None = field(default=None, init=False)

    def __call__(self, database: sqlite3.Connection, events: Sequence[Event], now: float) -> list[Event]:
        """Return the events as they are to be recorded."""
        allowed: list[Event] = []
        refused: set[tuple[str, int]] = set()
        for event in events:
            if isinstance(event, SecretOpened) and (event.step, event.attempt) in refused:
                continue
            if isinstance(event, AttemptStarted) and (refusal := self._ask(database, event, now)):
                refused.add((event.step, event.attempt))
                allowed.append(refusal)
            elif isinstance(event, TurnTaken):
                allowed += self._turn(database, event)
            else:
                self._tell(database, event, now)
                allowed.append(event)
        return allowed

    def _ask(self, database: sqlite3.Connection, start: AttemptStarted, now: float) -> BreakerRefused | None:
        rule = self._rule(start)
        if rule is None:
            return None
        kept, until = ask(breakers.read(database, rule.name), rule, now, self._name(start), self.is_live)
        breakers.write(database, rule.name, kept)
        return BreakerRefused(start.step, start.attempt, rule.name, until) if until is not None else None

    def _tell(self, database: sqlite3.Connection, event: Event, now: float) -> None:
        if isinstance(event, AttemptEnded) and (rule := self._rule(event)):
            kept = breakers.read(database, rule.name)
            told = tell(kept, rule, now, self._name(event), outcome_of(event))
            breakers.write(database, rule.name, told)
        elif isinstance(event, RunEnded):
            turns.give_back(database, self.run)
            self._tell_of_run(database, event, now)

    def _tell_of_run(self, database: sqlite3.Connection, ended: RunEnded, now: float) -> None:
        if self.hold_after:
            rule = breakers.workflow_rule(self.plan.workflow, self.hold_after)
            kept = breakers.read(database, rule.name)
            told = tell(kept, rule, now, self.run, _RUN_OUTCOMES.get(ended.status, FAILURE))
            breakers.write(database, rule.name, told)

    def _turn(self, database: sqlite3.Connection, event: TurnTaken) -> Iterator[Event]:
        if self.plan.turns is None:
            return
        before = turns.ahead(database, self.run, self.plan.turns, self.is_live)
        if not before:
            self._awaited = None
            yield event
        elif before != self._awaited:
            self._awaited = before
            yield TurnAwaited(event.group, before)

    def _rule(self, event: AttemptStarted | AttemptEnded) -> BreakerRule | None:
        return self.plan.steps[event.step].breaker if event.phase == PHASE_RUN else None

    def _name(self, event: AttemptStarted | AttemptEnded) -> str:
        return f"{self.run}/{event.step}/{event.attempt}"
