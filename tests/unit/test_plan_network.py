"""Which hosts a plan lets each step reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from test_plan_compile import loaded

from runner.errors import PolicyDenied
from runner.planning.compile import make_plan
from runner.planning.planner import PlanRequest
from runner.planning.render import explain, plan_from_json, plan_json, plan_text
from runner.planning.snapshots import Snapshots
from runner.sandbox.base import Outlet
from runner.sandbox.egress.rules import outlets_of

if TYPE_CHECKING:
    from pathlib import Path

    from runner.planning.plan import Plan, PlannedStep

READS = {"run": "x", "effects": "read"}


def plan(
    folder: Path, steps: dict[str, Any], mode: str = "staging", *, allowed: str = "", **rest: Any
) -> Plan:
    request = PlanRequest(mode, {}, private=frozenset(allowed.split()))
    return make_plan(loaded(folder, steps, **rest), request, Snapshots(folder / "snapshots"))  # type: ignore[arg-type]


def hosts(step: PlannedStep | None) -> list[str]:
    return [] if step is None else [f"{rule.kind} {rule.host}:{rule.port}" for rule in step.egress or ()]


def test_production_reaches_what_the_step_says_and_its_compensation_inherits_it(tmp_path: Path) -> None:
    steps = {
        "own": {
            "run": "x",
            "egress": ["https://A.example."],
            "tcp": ["db.example:5432"],
            "compensate": {"run": "y"},
        },
        "other": {
            "run": "x",
            "egress": ["a.example"],
            "compensate": {"run": "y", "egress": ["b.example:8443"]},
        },
        "none": {"run": "x", "egress": ["a.example"], "compensate": {"run": "y", "egress": []}},
    }
    made = plan(tmp_path, steps, "production").steps
    assert hosts(made["own"]) == ["web a.example:443", "tcp db.example:5432"]
    assert hosts(made["own"].compensate) == hosts(made["own"])
    assert hosts(made["other"].compensate) == ["web b.example:8443"]
    assert hosts(made["none"].compensate) == []


def test_staging_reaches_what_stands_under_staging_and_nothing_else(tmp_path: Path) -> None:
    steps = {
        "asks": {**READS, "egress": ["https://a.example"], "tcp": ["db.example:5432", "q.example:6379"]},
        "silent": {"run": "x"},
    }
    staging = {"egress": ["https://sandbox.example", {"tcp": "q.example:6379"}]}
    made = plan(tmp_path, steps, staging=staging)
    assert hosts(made.steps["asks"]) == ["web sandbox.example:443", "tcp q.example:6379"]
    assert [rule.host for rule in made.steps["asks"].closed] == ["db.example"]
    assert made.steps["silent"].egress is None
    assert "closed   " in plan_text(made)
    assert plan_from_json(plan_json(made)) == made
    nowhere = plan(tmp_path, steps)
    assert nowhere.steps["asks"].egress == ()
    assert "no host in staging" in explain(loaded(tmp_path, steps), nowhere)  # type: ignore[arg-type]


def test_a_private_address_needs_the_operators_word(tmp_path: Path) -> None:
    steps = {"asks": {**READS, "egress": [{"host": "https://db.internal:8443", "private": True}]}}
    with pytest.raises(PolicyDenied, match="private address") as caught:
        plan(tmp_path, steps, "production")
    assert "egress: {private: [db.internal:8443]}" in caught.value.cure
    with pytest.raises(PolicyDenied):
        plan(tmp_path, steps, "production", allowed="db.internal:443")
    assert plan(tmp_path, steps, "production", allowed="db.internal:8443").steps["asks"].egress
    assert plan(tmp_path, steps).steps["asks"].egress == ()


def test_each_tcp_host_has_a_loopback_address_of_its_own(tmp_path: Path) -> None:
    tcp = ["a.example:5432", "b.example:5432", "a.example:6379"]
    made = plan(tmp_path, {"asks": {**READS, "egress": ["w.example"], "tcp": tcp}}, "production")
    assert outlets_of(made.steps["asks"].egress or ()) == (
        Outlet("127.0.0.1", 3128),
        Outlet("127.0.0.2", 5432, "a.example"),
        Outlet("127.0.0.3", 5432, "b.example"),
        Outlet("127.0.0.2", 6379, "a.example"),
    )
