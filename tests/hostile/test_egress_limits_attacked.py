"""A hostile step that wants too much: connections, time, bytes, reports. It hurts nobody but itself."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from egress_world import QUICK, Server, World, certificates, everything, head_of, hello, server_context, world

from runner.sandbox.egress.passage import Limits
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API = "api.example.com"


class Town:
    """One TLS server that may be reached."""

    def __init__(self, made: World, api: Server, trust: Path) -> None:
        self.world = made
        self.api = api
        self.trust = trust


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    trust, certificate = certificates(tmp_path, API)
    api = Server(hello, server_context(certificate))
    with world(trust) as made:
        made.open(parse_rule({"host": f"https://{API}:{api.port}", "private": True}))
        yield Town(made, api, trust)
    api.close()


def _connect(target: str) -> str:
    return f"CONNECT {target} HTTP/1.1\r\n\r\n"


def _curl(town: Town, port: int, url: str) -> subprocess.CompletedProcess[str]:
    argv = [
        "curl",
        "-sS",
        "--max-time",
        "10",
        "--cacert",
        str(town.trust),
        "--proxy",
        f"http://127.0.0.1:{port}",
        url,
    ]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={})


def test_five_hundred_half_open_heads_hurt_nobody_else(town: Town) -> None:
    hostile = town.world.gate
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            step = stack.enter_context(town.world.connect())
            with contextlib.suppress(ConnectionError):
                step.sendall(b"CONNECT api.exa")
        town.world.open(parse_rule({"host": f"https://{API}:{town.api.port}", "private": True}))
        port = town.world.listen()
        began = time.monotonic()
        assert _curl(town, port, f"https://{API}:{town.api.port}/").stdout == "hello"
        assert time.monotonic() - began < 5
        hostile.close()
    denied = [each for each in town.world.reports if each.denied]
    assert sum(each.count for each in denied) >= 500 - QUICK.connections


def test_heads_that_never_end_are_turned_away_and_make_room(town: Town) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(QUICK.connections):
            stack.enter_context(town.world.connect()).sendall(b"CONNECT")
        with town.world.connect() as step:
            assert everything(step).startswith(b"HTTP/1.1 503")
        port, end = town.world.listen(), time.monotonic() + 20
        while _curl(town, port, f"https://{API}:{town.api.port}/").stdout != "hello":
            assert time.monotonic() < end
            time.sleep(0.2)


def test_thousands_of_denials_are_counted_together(town: Town) -> None:
    for at in range(1500):
        with town.world.connect() as step:
            step.sendall(_connect(f"h{at % 3}.evil.example:443").encode())
            assert step.recv(100).startswith(b"HTTP/1.1 403")
    town.world.gate.close()
    assert sum(each.count for each in town.world.reports) == 1500
    assert len(town.world.reports) <= 203


def test_the_bytes_of_a_rule_are_counted_over_all_its_connections(town: Town) -> None:
    rule = {"host": f"https://{API}:{town.api.port}", "private": True, "max_bytes": "6kB"}
    town.world.open(parse_rule(rule))
    port = town.world.listen()
    done = [_curl(town, port, f"https://{API}:{town.api.port}/").returncode for _ in range(8)]
    assert done[0] == 0
    assert done[-1] != 0
    town.world.gate.close()
    assert "max_bytes" not in town.world.reports[0].denied
    assert "6000 bytes were all" in town.world.reports[-1].denied
    assert sum(each.sent + each.received for each in town.world.reports) < 6000 + 8 * 4000


def test_an_idle_tunnel_ends(tmp_path: Path) -> None:
    trust, certificate = certificates(tmp_path, API)
    server = Server(hello, server_context(certificate))
    with world(trust, Limits(idle_seconds=0.5)) as made:
        made.open(parse_rule({"host": f"https://{API}:{server.port}", "private": True}))
        with made.connect() as step:
            step.sendall(_connect(f"{API}:{server.port}").encode())
            assert head_of(step).startswith(b"HTTP/1.1 200")
            context = ssl.create_default_context(cafile=trust)
            with contextlib.suppress(ssl.SSLError), context.wrap_socket(step, server_hostname=API) as tls:
                assert not tls.recv(100)
        assert "nothing passed" in made.reported()[0].failed
    server.close()


def test_a_server_that_does_not_answer_is_a_failure_in_words(town: Town) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    town.world.open(parse_rule({"host": f"https://{API}:{port}", "private": True}))
    with town.world.connect() as step:
        step.sendall(_connect(f"{API}:{port}").encode())
        said = everything(step).decode()
    assert said.startswith("HTTP/1.1 502")
    assert "Connection refused" in said
    assert "Connection refused" in town.world.reported()[0].failed


def test_what_is_open_when_an_attempt_ends_is_ended_and_reported(town: Town) -> None:
    step = town.world.connect()
    step.sendall(_connect(f"{API}:{town.api.port}").encode())
    assert head_of(step).startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context(cafile=town.trust)
    with context.wrap_socket(step, server_hostname=API) as tls:
        town.world.gate.close()
        assert len(town.world.reports) == 1
        with contextlib.suppress(OSError):
            assert not tls.recv(10)
    with town.world.connect() as late:
        assert not everything(late)
