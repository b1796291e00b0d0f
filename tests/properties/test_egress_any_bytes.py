"""Whatever bytes a step sends, the proxy stays whole, and what nobody allowed is not connected to."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, sni
from egress_world import Server, World, certificates, everything, hello, server_context, world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.sandbox.egress.passage import Limits
from runner.sandbox.egress.rules import Injection
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

API, PLAIN = "api.example.com", "plain.example.com"
SHORT = Limits(head_seconds=0.2, hello_seconds=0.2, connect_seconds=1.0, idle_seconds=0.5)
PIECES = st.sampled_from(
    [
        *(b"CONNECT ", b"GET ", b"POST ", b" HTTP/1.1\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"@", b"%", b"[", b"]"),
        *(b"api.example.com:$A", b"plain.example.com:$P", b"bad.example.com:$B", b"http://", b"https://", b"/", b"127.0.0.1:$B"),
        *(b"Host: ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"),
        *(b"http://plain.example.com:$P/", b"GET http://plain.example.com:$P/x HTTP/1.1\r\nHost: plain.example.com:$P\r\n"),
        *(b"CONNECT api.example.com:$A HTTP/1.1\r\n\r\n", b"Expect: 100-continue\r\n", b"Upgrade: x\r\n", b"hello", b"\xff\xfe"),
        records(client_hello(sni(API))), records(client_hello(sni("bad.example.com"))), b"\x16\x03\x01\x00\x05", b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    ]
)  # fmt: skip
INSIDE = st.sampled_from(
    [
        *(b"GET /v1/x HTTP/1.1\r\n", b"Host: api.example.com:$A\r\n", b"\r\n", b"POST /v1/y HTTP/1.1\r\n", b"Content-Length: 5\r\n", b"hello"),
        *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"\0", b"\n", b"Authorization: x\r\n", b"Connection: Host\r\n"),
        *(b"GET /../x HTTP/1.1\r\n", b"Expect: 100-continue\r\n", b"\xff", b" ", b":", b"X: y\r\n"),
    ]
)  # fmt: skip


class Town:
    def __init__(self, made: World, servers: tuple[Server, ...], trust: Path) -> None:
        self.world = made
        self.api, self.plain, self.bad = servers
        self.trust = trust

    def fill(self, pieces: list[bytes]) -> bytes:
        data = b"".join(pieces)
        for name, server in ((b"$A", self.api), (b"$P", self.plain), (b"$B", self.bad)):
            data = data.replace(name, str(server.port).encode())
        return data


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory() as folder:
        trust, certificate = certificates(Path(folder), API)
        servers = (Server(hello, server_context(certificate)), Server(hello), Server(hello))
        with world(trust, SHORT) as made:
            api, plain, _ = servers
            made.open(
                parse_rule({"host": f"https://{API}:{api.port}", "private": True}),
                parse_rule({"host": f"http://{PLAIN}:{plain.port}", "private": True, "insecure": True}),
                parse_rule({"host": f"tcp://db.example.com:{plain.port}", "private": True}),
                injections=(Injection(API, api.port, "Authorization", b"Bearer 0123456789abcdef"),),
            )
            pem = Path(folder) / "run.pem"
            pem.write_bytes(made.proxy.authority)
            yield Town(made, servers, pem)
            made.gate.close()
        assert not servers[2].connections
        for server in servers:
            server.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces=st.lists(PIECES, max_size=12), outlet=st.sampled_from([0, 0, 0, 1]))
def test_any_bytes_at_an_outlet(town: Town, pieces: list[bytes], outlet: int) -> None:
    with town.world.connect(outlet) as step:
        with contextlib.suppress(OSError):
            step.sendall(town.fill(pieces))
            step.shutdown(1)
        everything(step)
    assert town.world.gate._desk
    assert town.world.gate._desk._wrong is None


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces=st.lists(INSIDE, max_size=10))
def test_any_bytes_inside_tls_that_the_proxy_ends(town: Town, pieces: list[bytes]) -> None:
    before = len(town.api.heard)
    with town.world.connect() as step:
        step.sendall(f"CONNECT {API}:{town.api.port} HTTP/1.1\r\n\r\n".encode())
        assert step.recv(4096).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cafile=town.trust)
        with contextlib.suppress(OSError), context.wrap_socket(step, server_hostname=API) as tls:
            tls.sendall(town.fill(pieces))
            everything(tls)
    assert town.world.gate._desk
    assert town.world.gate._desk._wrong is None
    for request in town.api.heard[before:]:
        head = request.partition(b"\r\n\r\n")[0].lower()
        assert head.count(b"authorization:") == 1
        assert head.count(b"host:") == 1
