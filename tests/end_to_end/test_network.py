"""Where steps get to and where not, on every engine, against real servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import egress_world
import pytest
from egress_world import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import secret_servers
    from conftest import Command

VALUE = "correct horse battery staple"
ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(url, urllib.request.urlopen(url, timeout=20).read().decode())
    except urllib.error.HTTPError as error:
        print(url, error.code, error.read().decode())
    except OSError as error:
        print(url, "not reached:", error)
"""


@pytest.fixture
def server(tmp_path: Path, runner: Command) -> Iterator[Server]:
    """An HTTPS server called localhost, which the operator lets workflows reach."""
    trust, certificate = egress_world.certificates(tmp_path, "localhost")
    made = Server(egress_world.hello, egress_world.server_context(certificate))
    policy = {"egress": {"ca": str(trust), "private": [f"localhost:{made.port}"]}}
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    (config / "policy.yaml").write_text(json.dumps(policy))
    (runner.project / "ask.py").write_text(ASK)
    yield made
    made.close()


def private(server: Server) -> dict[str, Any]:
    return {"host": f"https://localhost:{server.port}", "private": True}


def workflow(*urls: str, **step: Any) -> dict[str, Any]:
    call = {
        "sandbox": "python",
        "run": ["python3", "/app/ask.py", *urls],
        "mounts": ["./ask.py:/app/ask.py"],
        "effects": "read",
        **step,
    }
    return {"name": "reach", "steps": {"call": call}}


def connections(runner: Command, run: str) -> list[dict[str, Any]]:
    shown = runner("show", run, "--json").report
    found: list[dict[str, Any]] = shown["connections"]
    return found


def test_a_step_reaches_what_it_named_and_nothing_else(
    runner: Command, server: Server, any_engine: str
) -> None:
    url = f"https://localhost:{server.port}/"
    asked = workflow(
        url, "https://elsewhere.example/", "http://169.254.169.254/latest", egress=[private(server)]
    )
    asked["staging"] = {"egress": [private(server)]}
    done = runner.run(json.dumps(asked), any_engine)
    assert done.code == 0, done.err
    assert f"{url} hello" in done.err
    assert "https://elsewhere.example/ not reached: " in done.err
    assert 'add to the step: egress: [{host: "http://169.254.169.254"' in done.err
    seen = {(each["host"], each["port"]): each for each in connections(runner, done.report["run"])}
    assert seen["localhost", server.port]["denied"] == ""
    assert seen["localhost", server.port]["received"] > 5
    assert seen["elsewhere.example", 443]["denied"]
    assert seen["169.254.169.254", 80]["denied"]
    assert server.connections == 1
    assert "elsewhere.example:443" in runner("show", done.report["run"]).out


def test_staging_reaches_only_what_stands_under_staging(runner: Command, server: Server, engine: str) -> None:
    asked = workflow("https://api.example.com/", egress=["https://api.example.com"])
    asked["staging"] = {"egress": [private(server)]}
    done = runner.run(json.dumps(asked), engine)
    assert "not reached" in done.err
    assert server.connections == 0
    assert [each["denied"] != "" for each in connections(runner, done.report["run"])] == [True]


def test_a_header_secret_reaches_the_host_it_is_bound_to_and_never_the_step(
    runner: Command, server: Server, any_engine: str
) -> None:
    runner("secrets", "set", "kept", stdin=VALUE.encode())
    bound = ("--from", "store:kept", "--host", f"localhost:{server.port}", "--path", "/v1/*")
    assert runner("secrets", "bind", "api_token", *bound).code == 0
    url = f"https://localhost:{server.port}"
    step = {"secrets": {"T": {"secret": "api_token", "as": "header"}}, "egress": [private(server)]}
    asked = workflow(f"{url}/v1/items", f"{url}/v2/items", **step)
    asked |= {"secrets": ["api_token"], "staging": {"egress": [private(server)]}}
    asked["steps"]["look"] = {
        "needs": ["call"],
        "run": "env; ls /run/secrets; grep -r horse /run/secrets /in /work /tmp || true",
        "secrets": step["secrets"],
        "effects": "read",
        "egress": step["egress"],
    }
    done = runner.run(json.dumps(asked), any_engine)
    assert done.code == 0, done.err
    assert f"{url}/v1/items hello" in done.err
    assert f"{url}/v2/items 403" in done.err
    assert [b"Bearer " + VALUE.encode() in request for request in server.heard] == [True]
    assert VALUE not in done.err
    assert "***" not in done.err, "there was nothing to mask"


def test_a_secret_bound_to_a_host_is_not_given_to_a_step_that_reaches_another(
    runner: Command, server: Server, engine: str
) -> None:
    runner("secrets", "set", "kept", stdin=VALUE.encode())
    runner("secrets", "bind", "api_token", "--from", "store:kept", "--host", "api.example.com")
    asked = workflow("https://x.example/", secrets={"T": "api_token"}, egress=[private(server)])
    asked |= {"secrets": ["api_token"], "staging": {"egress": [private(server)]}}
    done = runner.run(json.dumps(asked), engine)
    assert done.code == 3
    assert "bound to api.example.com" in done.err
    assert server.connections == 0


def test_a_private_address_needs_the_operator(runner: Command, server: Server) -> None:
    asked = workflow("x", egress=["https://x.example"])
    asked["staging"] = {"egress": [{"host": "https://localhost:1", "private": True}]}
    done = runner.run(json.dumps(asked), "bubblewrap")
    assert done.code == 3
    assert "egress: {private: [localhost:1]}" in done.err
    assert server.connections == 0


def test_what_the_operator_withdrew_is_not_reached_by_a_rollback(
    runner: Command, server: Server, engine: str
) -> None:
    url = f"https://localhost:{server.port}/"
    undo = {"run": ["python3", "/app/ask.py", url]}
    asked = workflow(url, egress=[private(server)], compensate=undo, effects="write", staging={"run": "true"})
    asked["staging"] = {"egress": [private(server)]}
    run = runner.run(json.dumps(asked), engine).report["run"]
    policy = runner.home.parent / "config" / "runner" / "policy.yaml"
    allowed = policy.read_text()
    policy.write_text("{}")
    refused = runner("rollback", run)
    assert refused.code == 3
    assert f"egress: {{private: [localhost:{server.port}]}}" in refused.err
    assert server.connections == 0
    policy.write_text(allowed)
    assert runner("rollback", run).code == 0
    assert server.connections == 1


def test_exec_reaches_the_hosts_of_its_command_line(runner: Command, server: Server, engine: str) -> None:
    url = f"https://localhost:{server.port}/"
    exec_ = ("exec", "--engine", engine, "--sandbox", "python", "--in", "ask.py")
    command = ("--", "python3", "/in/ask.py", url)
    closed = runner(*exec_, *command)
    assert "not reached" in closed.out
    assert server.connections == 0
    assert f"{url} hello" in runner(*exec_, "--egress", f"https://localhost:{server.port}", *command).out
    wrong = runner(*exec_, "--egress", "https://user@host", *command)
    assert wrong.code == 2
    assert "is no host" in wrong.err


def test_a_database_is_reached_by_its_own_name_and_only_with_tls(
    runner: Command, postgres_server: secret_servers.Server, any_engine: str
) -> None:
    port = postgres_server.port
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    (config / "policy.yaml").write_text(json.dumps({"egress": {"private": [f"localhost:{port}"]}}))
    reach = {"host": f"localhost:{port}", "private": True}
    (runner.project / "ask.py").write_text(
        "import socket, sys\n"
        "for first in (bytes.fromhex('0000000804d2162f'), bytes.fromhex('000000080003000000')):\n"
        f"    peer = socket.create_connection(('localhost', {port}))\n"
        "    peer.sendall(first)\n"
        "    print('answer', peer.recv(200))\n"
    )
    asked = workflow(tcp=[reach])
    asked["staging"] = {"egress": [{"tcp": reach}]}
    done = runner.run(json.dumps(asked), any_engine)
    assert done.code == 0, done.err
    assert "answer b'S'" in done.err or "answer b'N'" in done.err
    assert "is not TLS" in done.err
