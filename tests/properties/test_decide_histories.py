"""Every history of every small plan: it ends, and each of its prefixes gives one lawful decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.decide import Command, Finish, Pause, Settle, Start, decide, next_time
from runner.engine.run import SETTLED, Run, fold
from runner.events import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    Event,
    Record,
    RetryScheduled,
    RunEnded,
    RunStarted,
    StepSettled,
)
from runner.planning.plan import ImageRef, Plan, PlannedStep, Retry
from runner.sandbox.base import Limits

LIMITS = Limits(1 << 28, 1.0, 64, 1024, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20)
REASONS = (None, None, None, "exit", "timeout", "infra", "out-of-memory")
CONDITIONS = (
    "",
    "",
    "",
    "always()",
    "failure()",
    "success()",
    "cancelled()",
    "inputs.x == 1",
    "fromJSON('{')",
)


@st.composite
def a_step(
    draw: st.DrawFn, name: str, matrix: int, needs: tuple[str, ...], *, final: bool
) -> list[PlannedStep]:
    shared: dict[str, Any] = {
        "step": name,
        "image": ImageRef("profile", "minimal"),
        "argv": ("true",),
        "env": {},
        "condition": draw(st.sampled_from(CONDITIONS)),
        "mounts": (),
        "limits": LIMITS,
        "inputs": (),
        "outputs": (),
        "secrets": (),
        "timeout": 1.0,
        "grace": 1.0,
        "retry": Retry(max_attempts=draw(st.integers(1, 3)), jitter=draw(st.booleans())),
        "effects": draw(st.sampled_from(["none", "read", "write"])),
        "idempotent": draw(st.booleans()),
        "continue_on_error": draw(st.booleans()),
        "max_parallel": draw(st.integers(0, 2)),
        "fail_fast": draw(st.booleans()),
        "shadowed": draw(st.integers(0, 9)) == 0,
        "final": final,
        "needs": needs,
    }
    if not matrix:
        return [PlannedStep(id=name, **shared)]
    return [PlannedStep(id=f"{name}[n={key}]", matrix={"n": key}, **shared) for key in range(matrix)]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps: dict[str, PlannedStep] = {}
    count, finals = draw(st.integers(0, 8)), draw(st.integers(0, 2))
    for number in range(count + finals):
        final = number >= count
        known = [name for name, one in steps.items() if final or not one.final]
        needs = draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
        for one in draw(a_step(f"s{number}", draw(st.sampled_from([0, 0, 2, 3])), tuple(needs), final=final)):
            steps[one.id] = one
    return Plan("w", "w.yaml", "staging", "d", "p", "", "", {"x": draw(st.integers(0, 1))}, steps)


@dataclass
class World:
    """The outside: it ends attempts and cancels as ``choices`` say, and checks every command."""

    plan: Plan
    choices: st.DataObject
    lanes: int
    now: float = 0.0
    records: list[Record] = field(default_factory=list)
    commands: list[list[Command]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = Run(self.plan, "run")
        self.add(RunStarted())

    def add(self, event: Event) -> None:
        record = Record(len(self.records) + 1, self.now, "me", 1, event)
        self.records.append(record)
        self.run.apply(record)

    def play(self) -> None:
        for _ in range(2000):
            commands = decide(self.plan, self.run, self.now, self.lanes - len(self.run.active))
            refolded = fold(self.plan, self.records, "run")
            assert decide(self.plan, refolded, self.now, self.lanes - len(self.run.active)) == commands
            self.commands.append(commands)
            for command in commands:
                self.check(command)
                self.obey(command)
            if self.run.over:
                return
            if not commands:
                self.happen()
        raise AssertionError("the run does not end")

    def check(self, command: Command) -> None:
        if isinstance(command, Finish):
            assert all(state.status in SETTLED for state in self.run.steps.values())
            return
        state, step = self.run.steps[command.step], self.plan.steps[command.step]
        assert not state.settled
        if isinstance(command, Settle):
            assert command.step not in self.run.active
            return
        if isinstance(command, Pause):
            return
        assert all(self.run.steps[need].settled for need in step.needs)
        assert not step.shadowed
        assert command.attempt == state.attempts + 1 <= step.retry.max_attempts
        assert len(self.run.active) < self.lanes
        assert state.retry_at is None or state.retry_at <= self.now
        assert command.attempt == 1 or step.effects != "write" or step.idempotent
        normal = (one for name, one in self.run.steps.items() if not self.plan.steps[name].final)
        assert not step.final or all(other.settled for other in normal)
        assert step.final or not self.run.cancels
        legs = [name for name in self.run.active if self.plan.steps[name].step == step.step]
        assert not step.matrix or not step.max_parallel or len(legs) < step.max_parallel

    def obey(self, command: Command) -> None:
        match command:
            case Start(name, attempt):
                self.add(AttemptStarted(name, attempt))
            case Settle(name, status, reason, detail):
                self.add(StepSettled(name, status, reason, detail))
            case Pause(name, attempt, at):
                self.add(RetryScheduled(name, attempt, at))
            case Finish(status, detail):
                self.add(RunEnded(status, detail))

    def happen(self) -> None:
        at = next_time(self.run)
        assert self.run.active or at is not None, "nothing can happen any more"
        if self.choices.draw(st.integers(0, 19)) == 0 and self.run.cancels < 2:
            self.add(CancelRequested("SIGINT"))
        elif at is not None and (not self.run.active or self.choices.draw(st.booleans())):
            self.now = max(self.now, at)
        else:
            self.end_one()

    def end_one(self) -> None:
        name = self.choices.draw(st.sampled_from(sorted(self.run.active)))
        reason = self.choices.draw(st.sampled_from((*REASONS, "cancelled") if self.run.cancels else REASONS))
        self.now += 0.5
        self.add(
            AttemptEnded(
                name, self.run.steps[name].attempts, exit_code=int(reason is not None), reason=reason
            )
        )


@settings(max_examples=120, deadline=None)
@given(plan=plans(), choices=st.data(), lanes=st.integers(1, 4))
def test_every_history_ends_and_every_prefix_gives_the_same_lawful_decision(
    plan: Plan, choices: st.DataObject, lanes: int
) -> None:
    world = World(plan, choices, lanes)
    world.play()
    settled = [record.event.step for record in world.records if isinstance(record.event, StepSettled)]
    assert sorted(settled) == sorted(plan.steps)
    blamed = any(
        state.status == "failed" and not plan.steps[name].continue_on_error
        for name, state in world.run.steps.items()
    )
    if world.run.cancels:
        assert world.run.status == "cancelled"
    else:
        assert (world.run.status == "failed") == blamed
