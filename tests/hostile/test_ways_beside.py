"""Hostile steps beside others and over time: nothing of one reaches another, and nothing outlives its step."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import make_command, need
from hostile_town import town

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Command, Done
    from hostile_town import Town

BESIDE = Path(__file__).with_name("tries_beside.py")
CAP = 65536
ROLES = ("victim", "intruder", "flooder", "eater", "leaver", "forger", "hung")


class Beside:
    """One run with all roles in it."""

    def __init__(self, runner: Command, made: Town, engine: str) -> None:
        self.runner, self.town, self.engine = runner, made, engine
        (runner.project / "tries_beside.py").write_bytes(BESIDE.read_bytes())
        self.done: Done = runner.run(json.dumps(self._workflow()), engine, seconds=280)
        assert self.done.code in {0, 1}, self.done.out + self.done.err
        self.steps: dict[str, Any] = self.done.report["steps"]
        self.connections: list[dict[str, Any]] = runner("show", "latest", "--json").report["connections"]

    def _workflow(self) -> dict[str, Any]:
        reach = self.town.reach("API")
        steps: dict[str, Any] = {role: self._step(role, reach) for role in ROLES}
        capped = self.town.reach("PLAIN", "http", insecure=True, max_bytes="64KiB")
        steps["eater"] |= {"egress": [capped], "run": self._argv("eater", "http", self.town.plain.port)}
        steps["hung"] |= {"run": self._argv("eater"), "timeout": "4s", "grace": "1s"}
        for before, after in itertools.pairwise(ROLES[1:]):
            steps[after]["needs"] = [before]
            steps[after]["if"] = "always()"
        return {"name": "beside", "staging": {"egress": [reach, capped]}, "steps": steps}

    def _argv(self, role: str, scheme: str = "https", port: int = 0) -> list[str]:
        url = f"{scheme}://localhost:{port or self.town.api.port}"
        return ["python3", "/app/tries_beside.py", role, url]

    def _step(self, role: str, reach: dict[str, Any]) -> dict[str, Any]:
        return {
            "sandbox": "python",
            "mounts": ["./tries_beside.py:/app/tries_beside.py"],
            "effects": "read",
            "timeout": "100s",
            "continue-on-error": True,
            "resources": {"files": 2048, "pids": 64},
            "egress": [reach],
            "run": self._argv(role),
        }

    def said(self, step: str) -> dict[str, Any]:
        head = f"{step} | "
        lines = [
            line.removeprefix(head) for line in self.done.err.splitlines() if line.startswith(head + "{")
        ]
        assert len(lines) == 1, self.done.err
        said: dict[str, Any] = json.loads(lines[0])
        return said

    def of(self, step: str) -> list[dict[str, Any]]:
        return [each for each in self.connections if each["step"] == step]


@pytest.fixture(scope="module", params=("docker", "bubblewrap", "gvisor"))
def beside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    need(request.param)
    folder = tmp_path_factory.mktemp("beside")
    runner = make_command(folder)
    with town(folder / "town") as made:
        made.policy(runner)
        yield Beside(runner, made, request.param)


def test_a_step_finds_no_neighbour_though_both_run(beside: Beside) -> None:
    victim, intruder = beside.said("victim"), beside.said("intruder")
    assert (victim["met"], intruder["met"]) == ("hello", "hello"), "they ran at the same time"
    assert intruder["found"] == []
    assert victim["came"] == 0


def test_a_filled_way_out_answers_the_next_program_or_says_why_not(beside: Beside) -> None:
    said = beside.said("flooder")
    assert said["kept"] > 100
    waits = "timed out" if beside.engine == "gvisor" else "503 Service"  # PID 1 carries no more than 256
    assert "hello" in said["meanwhile"] or waits in said["meanwhile"], said
    assert said["after"] == "hello"
    denied = [each for each in beside.of("flooder") if each["denied"]]
    assert sum(each["count"] for each in denied) >= said["kept"] // 3


def test_no_more_bytes_pass_than_the_rule_gives(beside: Beside) -> None:
    assert beside.said("eater")["got"] <= CAP
    (each,) = beside.of("eater")
    assert f"{CAP} bytes were all" in each["denied"]
    assert each["received"] >= CAP // 2


def test_what_a_step_leaves_behind_ends_with_it(beside: Beside) -> None:
    assert beside.steps["leaver"]["status"] == "succeeded"
    assert len(beside.of("leaver")) == 1
    assert not beside.of("leaver")[0]["denied"]


def test_a_transfer_that_is_killed_is_recorded_with_its_bytes(beside: Beside) -> None:
    assert beside.steps["hung"]["reason"] == "timeout"
    (each,) = beside.of("hung")
    assert each["received"] > 1 << 20


def test_frames_in_pid_1_s_name_get_no_further_than_the_step_itself(beside: Beside) -> None:
    wrote = beside.said("forger")["wrote"]
    if beside.engine != "gvisor":
        assert not wrote
    asked = [each for each in beside.of("forger") if each["host"] == "forged.example"]
    assert [bool(each["denied"]) for each in asked] == ([True] if wrote else [])
    assert beside.said("forger")["after"] == "hello"


def test_nothing_else_was_reached_and_nothing_is_left(beside: Beside) -> None:
    assert beside.town.forbidden.reached == []
    assert list(beside.runner.home.glob("runs/*/attempts.*")) == []
    for server in (beside.town.keeper, beside.town.hidden, beside.town.database):
        assert server.connections == 0
