"""An outside world that plays a run through and holds every command against its own account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from runner.engine.commands import Command, Enter, Finish, Park, Pause, Settle, SettleUndo, Start, events_of
from runner.engine.decide import decide, next_time
from runner.engine.lost import lost_attempts
from runner.engine.run import Run, fold
from runner.engine.steps import SETTLED
from runner.events import (
    PHASE_COMPENSATE,
    PHASE_RUN,
    AttemptEnded,
    AttemptStarted,
    BreakerRefused,
    CancelRequested,
    CompensationSettled,
    Event,
    Record,
    RollbackRequested,
    RunStarted,
    StepDecided,
    TurnAwaited,
)
from runner.failsafe.effects import VERDICTS

if TYPE_CHECKING:
    from runner.planning.plan import Plan

REASONS = (None, None, None, "exit", "timeout", "infra", "out-of-memory")


@dataclass
class World:
    """The outside: it ends attempts, kills the runner, cancels and decides as ``choices`` say.

    ``dirty`` and ``undone`` are its own account of what was done outside, against which every command is held.
    """

    plan: Plan
    choices: st.DataObject
    lanes: int
    now: float = 0.0
    records: list[Record] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)
    undone: list[str] = field(default_factory=list)
    agreed: set[str] = field(default_factory=set)
    rollbacks: int = 0

    def __post_init__(self) -> None:
        self.run = Run(self.plan, "run")
        self.add(RunStarted())

    def add(self, event: Event) -> None:
        record = Record(len(self.records) + 1, self.now, "me", 1, event)
        self.records.append(record)
        self.run.apply(record)
        if isinstance(event, AttemptStarted) and event.phase == PHASE_RUN:
            self.agreed.discard(
                event.step
            )  # what the breaker refused was not attempted: the word still holds
        if isinstance(event, AttemptEnded) and event.phase == PHASE_RUN and event.began:
            self.dirty.add(event.step)
        if isinstance(event, CompensationSettled) and event.status == "compensated":
            self.dirty.remove(event.step)
            self.undone.append(event.step)

    def pick(self, sides: int) -> bool:
        """Return True once in ``sides`` times."""
        return self.choices.draw(st.integers(1, sides)) == sides

    @property
    def free(self) -> int:
        return self.lanes - len(self.run.active) - len(self.run.undo.active)

    def play(self) -> None:
        for _ in range(5000):
            commands = decide(self.plan, self.run, self.now, self.free)
            refolded = fold(self.plan, self.records, "run")
            assert decide(self.plan, refolded, self.now, self.free) == commands
            assert sum(isinstance(command, Start) for command in commands) <= max(0, self.free)
            for command in commands:
                self.check(command)
                self.obey(command)
            if self.run.over:
                self.check_end()
                if not self.ask_for_rollback():
                    return
            elif self.run.parked:
                self.resolve()
            elif not commands:
                self.happen()
        raise AssertionError("the run does not end")

    def obey(self, command: Command) -> None:
        """Let the command become events; now and then the breaker is open, or the turn is another's."""
        if isinstance(command, Start) and self.may_meet_breaker(command) and self.pick(4):
            self.add(BreakerRefused(command.step, command.attempt, "warehouse", self.now + 60))
            return
        if isinstance(command, Enter) and self.pick(2):
            self.add(TurnAwaited(command.group, ("other",)))
            self.now += 0.3
            return
        for event in events_of(self.plan, command):
            self.add(event)

    def may_meet_breaker(self, start: Start) -> bool:
        return start.phase == PHASE_RUN and self.plan.steps[start.step].breaker is not None

    def happen(self) -> None:
        at = next_time(self.run)
        flying = bool(self.run.active or self.run.undo.active)
        assert flying or at is not None or not self.run.has_turn, "nothing can happen any more"
        if self.pick(20) and self.run.cancels < 2:
            self.add(CancelRequested("SIGINT", rollback=self.pick(2)))
        elif self.pick(20):
            self.crash()
        elif at is not None and (not flying or self.pick(2)):
            self.now = max(self.now, at)
        elif flying:
            self.end_one()
        else:
            self.now += 0.3

    def crash(self) -> None:
        """Kill the runner; the next one, or whoever came by before it, finds the attempts under way."""
        self.now += self.choices.draw(st.sampled_from([1.0, 1000.0]))
        tried, used = {name: state.tried for name, state in self.run.steps.items()}, self.run.last_at
        if self.pick(2):
            for ended in lost_attempts(self.run):
                self.add(ended)
            self.now += self.choices.draw(st.sampled_from([1.0, 1000.0]))
            assert self.run.last_at == used, "the run's time went on without a runner"
        found = set(self.run.active)
        self.add(RunStarted(resumed=True))
        for ended in lost_attempts(self.run):
            self.add(ended)
        assert all(self.run.steps[name].tried == tried[name] for name in found), "an exit was forgotten"

    def resolve(self) -> None:
        """Let a person decide about the held steps, or cancel; then another runner goes on."""
        if self.pick(4):
            self.add(CancelRequested("a person", rollback=True))
        for name in sorted(self.run.held):
            verdict = self.choices.draw(st.sampled_from(VERDICTS))
            self.add(StepDecided(name, verdict, "a person"))
            if verdict == "again":
                self.agreed.add(name)
        self.now += 1000.0
        self.add(RunStarted(resumed=True))

    def ask_for_rollback(self) -> bool:
        if self.rollbacks or not self.run.left_to_undo() or self.pick(2):
            return False
        self.rollbacks += 1
        self.add(RollbackRequested("a person"))
        self.add(RunStarted(resumed=True))
        return True

    def end_one(self) -> None:
        flying = [(name, PHASE_RUN) for name in sorted(self.run.active)]
        flying += [(name, PHASE_COMPENSATE) for name in sorted(self.run.undo.active)]
        name, phase = self.choices.draw(st.sampled_from(flying))
        state = self.run.steps[name]
        reason = self.choices.draw(st.sampled_from((*REASONS, "cancelled") if self.run.cancels else REASONS))
        number = state.attempts if phase == PHASE_RUN else state.undo.attempts
        self.now += 0.5
        began = reason is None or not self.pick(5)
        self.add(AttemptEnded(name, number, phase, int(reason is not None), reason, began=began))

    def check(self, command: Command) -> None:
        if isinstance(command, Finish):
            assert all(state.status in SETTLED for state in self.run.steps.values())
        elif isinstance(command, Park):
            assert self.run.held
            assert not self.run.active
            assert not self.run.undo.active
        elif isinstance(command, Start):
            assert self.run.has_turn
            (self.check_start if command.phase == PHASE_RUN else self.check_undo)(command)
        elif isinstance(command, Settle):
            assert not self.run.steps[command.step].settled
            assert command.step not in self.run.active
        elif isinstance(command, SettleUndo):
            assert command.step not in self.run.undo.active
        elif isinstance(command, Pause):
            assert command.at >= self.now

    def check_start(self, start: Start) -> None:
        state, step = self.run.steps[start.step], self.plan.steps[start.step]
        assert not state.settled
        assert all(self.run.steps[need].settled for need in step.needs)
        assert not step.shadowed
        assert start.attempt == state.attempts + 1
        doubled = step.effects == "write" and start.step in self.dirty and not step.idempotent
        assert not doubled or start.step in self.agreed, "a write is done twice"
        normal = (one for name, one in self.run.steps.items() if not self.plan.steps[name].final)
        assert not step.final or all(other.settled for other in normal)
        assert not step.final or not self.run.undo.due
        assert step.final or not (self.run.cancels or self.run.expired)
        legs = [name for name in self.run.active if self.plan.steps[name].step == step.step]
        assert not step.matrix or not step.max_parallel or len(legs) < step.max_parallel

    def check_undo(self, start: Start) -> None:
        """A compensation is of something done, after everything that was built on it."""
        name = start.step
        assert self.plan.steps[name].compensate
        assert name in self.dirty
        assert name not in self.run.active
        assert name not in self.run.undo.active
        for other in self.above(name):
            assert self.run.steps[other].settled or not self.run.steps[other].attempts
            assert other not in self.run.undo.due, f"{name} is undone before {other}"

    def attempted_again(self, name: str) -> bool:
        """Whether the step was attempted, or about to be, after its compensation."""
        return self.run.steps[name].attempts > 1 or not self.run.steps[name].dirty

    def above(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in self.run.dependents.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return found

    def check_end(self) -> None:
        """What had to be undone is undone, or said to be not; nothing else was touched."""
        run = self.run
        failed = [name for name, state in run.steps.items() if state.undo.status == "compensation-failed"]
        assert (run.status == "rollback-failed") == bool(failed)
        assert {name for name, state in run.steps.items() if state.dirty} == self.dirty
        for name in run.left_to_undo():
            assert name in self.dirty
            late = self.plan.steps[name].final and not self.rollbacks
            covered = name in failed or late or not (run.status == "rolled-back" or self.rollbacks)
            assert covered, f"{name} is left undone"
        if run.rollback_asked:
            assert all(name in failed or self.plan.steps[name].final for name in run.left_to_undo())
        if run.status in {"succeeded", "rehearsed", "failed"}:
            assert all(self.attempted_again(name) for name in self.undone), "undone without need"
        normal = {name for name, step in self.plan.steps.items() if not step.final}
        broken = any(
            run.steps[name].status == "failed" and not self.plan.steps[name].continue_on_error
            for name in normal
        )
        assert run.status != "failed" or not broken or normal.isdisjoint(run.left_to_undo())
