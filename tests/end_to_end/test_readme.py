"""What the README tells people to type, typed."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import CHECKOUT, Command

TEXT = (CHECKOUT / "README.md").read_text()
BLOCKS = re.findall(r"```(?:yaml|python)?\n(.*?)```", TEXT, re.DOTALL)
WORKFLOW = next(block for block in BLOCKS if block.startswith("name: hello"))
LINES = [
    line.partition("#")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("runner ") and "secrets" not in line and " RUN" not in line and " total." not in line
]
GUIDE = (CHECKOUT / "docs" / "failsafes.md").read_text()


@pytest.fixture
def prepared(runner: Command) -> Command:
    runner.workflow(WORKFLOW)
    assert runner("run", "workflow.yaml", "--engine", "bubblewrap").code == 0
    return runner


def test_the_readme_has_its_commands() -> None:
    assert len(LINES) >= 9


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_readme_works(line: str, prepared: Command) -> None:
    done = prepared(*shlex.split(line)[1:])
    assert done.code == 0, done.err


def test_the_guide_to_failures_is_true_of_its_own_example(runner: Command) -> None:
    blocks = re.findall(r"```(?:yaml)?\n(.*?)```", GUIDE, re.DOTALL)
    runner.workflow(blocks[0], "transfer.yaml")
    lines = [line.partition("#")[0].strip() for line in blocks[1].splitlines()]
    run, show, rollback = (runner(*shlex.split(line)[1:]) for line in lines)
    assert (run.code, show.code, rollback.code) == (0, 0, 0)
    assert "can be undone until" in show.out
    assert "undoing loaded" in rollback.out
    assert "rolled-back" in rollback.out


def test_the_script_of_the_readme_becomes_a_workflow_that_keeps_its_result(runner: Command) -> None:
    script = next(block for block in BLOCKS if block.startswith("import csv"))
    (runner.project / "total.py").write_text(script)
    (runner.project / "prices.csv").write_text("price\n1.5\n2\n")
    lines = [line.partition("#")[0] for block in BLOCKS for line in block.splitlines() if " total." in line]
    for line in lines:
        done = runner(*shlex.split(line)[1:])
        assert done.code == 0, done.err
    assert len(lines) == 2
    assert runner("outputs", "latest", "-o", "results").code == 0
    assert (runner.project / "results" / "total" / "total.txt").read_text() == "3.5"


def test_the_secrets_of_the_readme_are_set_and_bound(runner: Command) -> None:
    assert runner("secrets", "set", "api_token", stdin=b"a-token").code == 0
    assert runner("secrets", "bind", "api_token", "--from", "env:TOKEN").code == 0
    assert "env:TOKEN" in runner("secrets", "list").out
    assert runner("secrets", "leases").code == 0
    assert runner("secrets", "rotate", "api_token", stdin=b"another").code == 2  # it comes from elsewhere
    assert runner("secrets", "bind", "api_token", "--from", "store:api_token").code == 0
    assert runner("secrets", "rotate", "api_token", stdin=b"another").code == 0
    assert runner("secrets", "revoke", "api_token").code == 0
    assert "revoked by" in runner("secrets", "list").out
    assert runner("secrets", "unbind", "api_token").code == 0
