"""Plans of every shape, small and up to thirty steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from runner.planning.plan import ImageRef, Plan, PlannedStep, Retry, Turns
from runner.sandbox.base import Limits
from runner.settings import BreakerRule

LIMITS = Limits(1 << 28, 1.0, 64, 1024, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20)
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
RULE = BreakerRule("warehouse", 3, 60.0)


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
        "breaker": draw(st.sampled_from([None, None, RULE, replace(RULE, waits=True)])),
        "compensate_on": draw(st.sampled_from([("succeeded", "failed"), ("succeeded",)])),
    }
    if draw(st.booleans()):
        retry = Retry(max_attempts=draw(st.integers(1, 3)))
        shared["compensate"] = PlannedStep(id=name, **{**shared, "retry": retry})
    if not matrix:
        return [PlannedStep(id=name, **shared)]
    return [PlannedStep(id=f"{name}[n={key}]", matrix={"n": key}, **shared) for key in range(matrix)]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps: dict[str, PlannedStep] = {}
    count, finals = draw(st.one_of(st.integers(0, 8), st.integers(9, 28))), draw(st.integers(0, 2))
    for number in range(count + finals):
        final = number >= count
        known = [name for name, one in steps.items() if final or not one.final]
        needs = draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
        for one in draw(a_step(f"s{number}", draw(st.sampled_from([0, 0, 2, 3])), tuple(needs), final=final)):
            steps[one.id] = one
    return Plan(
        "w",
        "w.yaml",
        "staging",
        "d",
        "p",
        "",
        "",
        {"x": draw(st.integers(0, 1))},
        steps,
        timeout=draw(st.sampled_from([None, None, 5.0, 40.0])),
        turns=draw(st.sampled_from([None, None, Turns("g", 1)])),
    )
