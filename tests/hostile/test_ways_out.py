"""Hostile steps inside real sandboxes: every way out is tried, and nothing reaches who is not allowed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asked_of_the_proxy import ASKED, table
from conftest import Command, Done, make_command, need
from hostile_town import CLOSED, SECRET, Town, town
from tries_inside import TRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE = Path(__file__).with_name("tries_inside.py")
NOWHERE = {
    "udp_dns_to_docker_s_resolver": "an address of the sandbox's own loopback too",
    "udp_to_the_host_s_loopback": "a datagram to the sandbox's own loopback, where nobody listens",
}
"""What a kernel lets happen and yet leads nowhere: that nothing came to the forbidden server is the proof."""
GVISORS_OWN = {
    "opens_an_io_uring": "of its own kernel: what it is asked for passes the same checks",
    "writes_frames_as_pid_1": "frames that can ask for what this attempt may have: see the forger",
}
"""The same of gVisor's kernel, which is not the host's."""


@dataclass(frozen=True)
class Tried:
    """One run in which everything was tried."""

    engine: str
    done: Done
    town: Town
    runner: Command

    def lines(self, step: str) -> dict[str, dict[str, Any]]:
        head = f"{step} | {{"
        found = [line[len(head) - 1 :] for line in self.done.err.splitlines() if line.startswith(head)]
        return {each["try"]: each for each in map(json.loads, found)}

    @property
    def connections(self) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = self.runner("show", "latest", "--json").report["connections"]
        return shown


def workflow(made: Town) -> dict[str, Any]:
    web = [made.reach(name) for name in ("API", "KEEPER")]
    web += [made.reach("PLAIN", "http", insecure=True), f"https://localhost:{made.hidden.port}"]
    database = made.reach("DB", "")
    step = {
        "sandbox": "python",
        "mounts": ["./tries.py:/app/tries.py", "./asked.json:/app/asked.json"],
        "effects": "read",
        "timeout": "120s",
        "egress": web,
        "tcp": [database, f"db.example:{CLOSED}"],
        "secrets": {"KEY": {"secret": "key", "as": "header"}},
    }
    python = ["python3", "/app/tries.py"]
    return {
        "name": "hostile",
        "secrets": ["key"],
        "staging": {"egress": [*web, {"tcp": database}]},
        "steps": {
            "locked": {
                **step,
                "run": [*python, "locked"],
                "env": {"FORBIDDEN": str(made.forbidden.port), "OUTLET": str(made.database.port)},
            },
            "asked": {**step, "run": [*python, "asked", "/app/asked.json"]},
        },
    }


@pytest.fixture(scope="module", params=("docker", "bubblewrap", "gvisor"))
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    need(request.param)
    folder = tmp_path_factory.mktemp("ways")
    runner = make_command(folder)
    with town(folder / "town") as made:
        made.policy(runner)
        made.bind(runner)
        (runner.project / "tries.py").write_bytes(INSIDE.read_bytes())
        ports = made.ports
        ports["CLOSED"] = CLOSED
        (runner.project / "asked.json").write_text(table(ports))
        done = runner.run(json.dumps(workflow(made)), request.param, seconds=280)
        assert done.code == 0, done.err
        yield Tried(request.param, done, made, runner)


@pytest.mark.parametrize("name", TRIES)
def test_nothing_leads_out_but_the_proxy(name: str, tried: Tried) -> None:
    told = tried.lines("locked")[name]
    if name in NOWHERE or (tried.engine == "gvisor" and name in GVISORS_OWN):
        return
    assert told["held"], told


@pytest.mark.parametrize("name", ASKED)
def test_what_the_proxy_denies_is_said_and_recorded(name: str, tried: Tried) -> None:
    expected, told = ASKED[name], tried.lines("asked")[name]
    assert told["got"].startswith(expected.answer) or expected.answer in told["got"][:60], told
    recorded = [each["denied"] for each in tried.connections if each["step"] == "asked" and each["denied"]]
    assert any(expected.denied in each for each in recorded), recorded


def test_every_one_that_was_asked_is_recorded_as_denied(tried: Tried) -> None:
    denied = [each for each in tried.connections if each["step"] == "asked" and each["denied"]]
    assert sum(each["count"] for each in denied) == len(ASKED)


def test_nobody_who_is_not_allowed_was_reached(tried: Tried) -> None:
    made = tried.town
    assert made.forbidden.reached == []
    assert made.hidden.connections == 0
    assert made.api.heard == []
    assert made.plain.heard == []
    assert made.database.heard == []
    assert not [each for each in made.keeper.heard if b"/v2" in each or b"smuggled" in each]


def test_the_secret_came_to_its_host_and_nowhere_else(tried: Tried) -> None:
    assert made_header(tried.town) == {b"Bearer " + SECRET.encode()}
    shown = tried.runner("show", "latest", "--json").out
    assert SECRET not in tried.done.out + tried.done.err + shown
    assert "***" not in tried.done.err


def made_header(made: Town) -> set[bytes]:
    return {
        line.partition(b": ")[2]
        for each in made.keeper.heard
        for line in each.split(b"\r\n")
        if line.lower().startswith(b"authorization:")
    }
