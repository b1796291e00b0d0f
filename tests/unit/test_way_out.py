"""An attempt's way out: what leads to it, what is told of it, and that it ends with the attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from memory_stores import MemoryStores
from scripted_engine import Bench, Inside, ScriptedDriver, step

from runner.errors import StoreError
from runner.events import ConnectionEnded
from runner.planning.plan import SecretUse
from runner.sandbox.base import Outlet
from runner.sandbox.egress.rules import Connection
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from pathlib import Path

RULES = (parse_rule("https://api.example.com"), parse_rule("tcp://db.example:5432"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run", MemoryStores(tmp_path, values={"token": b"hunter2-hunter2"}))


def test_a_step_without_egress_has_no_way_out(bench: Bench) -> None:
    bench.run(ScriptedDriver(), step("a"))
    assert bench.stores.network.ways == []
    assert bench.driver.made[0].outlets == ()
    assert bench.stores.network.closed


def test_a_step_with_no_open_host_has_a_way_out_that_only_records(bench: Bench) -> None:
    bench.stores.network.asked = [Connection("api.example.com", 443, denied="no rule", method="CONNECT")]
    bench.run(ScriptedDriver(), step("a", egress=()))
    assert bench.driver.made[0].outlets == (Outlet("127.0.0.1", 3128),)
    (event,) = bench.events(ConnectionEnded)
    assert (event.host, event.denied, event.method) == ("api.example.com", "no rule", "CONNECT")


def test_a_step_with_egress_is_told_its_way_and_every_connection_is_recorded(bench: Bench) -> None:
    seen = {}

    def look(inside: Inside) -> int:
        seen.update(inside.message.env)
        return 0

    bench.stores.network.asked = [Connection("api.example.com", 443, RULES[0].written, sent=3, received=9)]
    bench.run(ScriptedDriver({"a": look}), step("a", egress=RULES, env={"HTTPS_PROXY": "http://own:1"}))
    assert bench.driver.made[0].outlets == (
        Outlet("127.0.0.1", 3128),
        Outlet("127.0.0.2", 5432, "db.example"),
    )
    assert seen["HTTPS_PROXY"] == "http://own:1", "the author's own word counts"
    assert [way.is_open for way in bench.stores.network.ways] == [False]
    (event,) = bench.events(ConnectionEnded)
    assert event == ConnectionEnded(
        "a", 1, "run", "api.example.com", 443, RULES[0].written, sent=3, received=9
    )


def test_a_header_secret_goes_to_the_proxy_and_never_to_the_step(bench: Bench) -> None:
    seen = []

    def look(inside: Inside) -> int:
        seen.extend(one.name for one in inside.message.secrets)
        return 0

    uses = (SecretUse("TOKEN", "token", as_header=True),)
    bench.run(ScriptedDriver({"a": look}), step("a", egress=RULES, secrets=uses))
    assert bench.stores.network.headers == [{"token": b"hunter2-hunter2"}]
    assert seen == ["ca.crt"]


def test_a_host_that_holds_a_secret_is_recorded_masked(bench: Bench) -> None:
    bench.stores.network.asked = [Connection("hunter2-hunter2.evil.example", 443, denied="no rule for it")]
    bench.run(ScriptedDriver(), step("a", egress=RULES, secrets=(SecretUse("TOKEN", "token"),)))
    assert [event.host for event in bench.events(ConnectionEnded)] == ["***.evil.example"]


def test_a_step_whose_connections_cannot_be_recorded_does_not_go_on(bench: Bench) -> None:
    bench.stores.network.asked = [Connection("api.example.com", 443)]
    bench.stores.fail_after = 3
    with pytest.raises(StoreError, match="disk is full"):
        bench.run(ScriptedDriver(), step("a", egress=RULES))
    assert bench.events(ConnectionEnded) == []
