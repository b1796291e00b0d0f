"""Literals that look like secrets are pointed at, never shown; names, variables and placeholders are not."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from conftest import CHECKOUT

from runner.workflow.literals import literals
from runner.workflow.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from runner.errors import Problem

WORKFLOW = """\
name: digest
secrets: [api_token2]
steps:
  load:
    run: {run}
    mounts: ["./scripts:/app"]
    secrets: {{PASSWORD: api_token2}}
"""


def found(
    folder: Path, script: str = "", name: str = "load.py", run: str = "python3 /app/load.py"
) -> list[Problem]:
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / name).write_text(script)
    path = folder / "workflow.yaml"
    path.write_text(WORKFLOW.format(run=run))
    return literals(load(path))


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("x = 1\npassword = 'hunter2supersecret'\n", "load.py"),
        ("x = 1\nurl = 'postgres://app:pa55w0rdx@db/app'\n", "load.py"),
        ("x=1\nexport DB_PASSWORD=hunter2supersecret\n", "load.sh"),
        ("x=1\ncurl -H 'X: 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'\n", "load.sh"),
        ("\n-----BEGIN RSA PRIVATE KEY-----\n", "key.pem"),
        ("{\n'key': 'AKIAQWERTYUIOPASDFGH'}\n", "conf.json"),
    ],
)
def test_a_literal_is_pointed_at_with_its_line_and_a_cure(tmp_path: Path, script: str, name: str) -> None:
    (problem,) = found(tmp_path, script, name)
    assert (problem.file, problem.line) == (str(tmp_path / "scripts" / name), 2)
    assert problem.severity == "warning"
    assert "secrets:" in problem.hint
    for value in ("hunter2", "pa55w0rd", "ghp_", "AKIA"):
        assert value not in str(problem)


@pytest.mark.parametrize(
    "run",
    ["PASSWORD=hunter2supersecret load.sh", "load.sh\n    env: {PASSWORD: hunter2supersecret, HOME: /}"],
)
def test_a_literal_in_the_workflow_is_pointed_at(tmp_path: Path, run: str) -> None:
    (problem,) = found(tmp_path, run=run)
    assert (problem.file, problem.line) == (str(tmp_path / "workflow.yaml"), 5 + run.count("\n"))


@pytest.mark.parametrize(
    "line",
    [
        "password = open('/run/secrets/PASSWORD').read()",
        "password = os.environ['PASSWORD2024']",
        "token: str = 'your-token-2024'",
        "if token == 'refresh_token':",
        "password='AKIAIOSFODNN7EXAMPLE'",
        "PASSWORD=$PASSWORD2024",
        "PASSWORD=$(cat /run/secrets/PASSWORD2)",
        "digest = 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'",
        "url = 'https://user:${PASSWORD}@host/'",
    ],
)
def test_what_only_speaks_of_secrets_is_left_alone(tmp_path: Path, line: str) -> None:
    assert found(tmp_path, f"{line}\n", "load.py") + found(tmp_path, f"{line}\n", "load.sh") == []


@pytest.mark.parametrize("path", sorted((CHECKOUT / "workflows").glob("*/workflow.yaml")), ids=str)
def test_the_examples_raise_no_false_alarm(path: Path) -> None:
    assert literals(load(path)) == []


def test_nothing_slow_is_loaded_where_no_line_is_suspect(tmp_path: Path) -> None:
    found(tmp_path)
    script = (
        "import sys, pathlib; from runner.workflow.load import load; from runner.workflow.literals import literals;"
        f"path = pathlib.Path({str(tmp_path / 'workflow.yaml')!r});"
        "path.write_text('name: a\\nsteps: {a: {run: date}}\\n');"
        "assert literals(load(path)) == []; assert 'detect_secrets' not in str(sorted(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_hostile_tree_takes_little_time(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for number in range(300):
        (tmp_path / "scripts" / f"{number}.sh").write_text("password" * 30_000)
    (tmp_path / "scripts" / "link").symlink_to("/etc")
    (tmp_path / "scripts" / "lines.sh").write_text("password passwordpasswordpassword = '\n" * 5000)
    began = time.monotonic()
    found(tmp_path)
    assert time.monotonic() - began < 5
