"""A hostile step, and a talkative server, at a header that the proxy adds: neither gets the secret out."""

from __future__ import annotations

import base64
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, sni
from egress_world import (
    Server,
    World,
    certificates,
    everything,
    head_of,
    hello,
    read_request,
    server_context,
    world,
)

from runner.sandbox.egress.rules import Injection
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

API = "api.example.com"
TOKEN = b"s3cr3t-t0ken-0123456789"
VALUE = b"Bearer " + TOKEN


def echo(peer: socket.socket, server: Server) -> None:
    """Give back what was asked, in the form that the path names."""
    request = read_request(peer)
    server.heard.append(request)
    path = request.split(b" ", 2)[1].decode()
    form = path.rpartition("/")[2]
    header = request.partition(b"Bearer ")[2].partition(b"\r\n")[0]
    body = {
        "base64": base64.b64encode(header),
        "hex": header.hex().encode(),
        "part": b"<" + header + b">",
    }.get(form, request)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    if form == "header":
        return peer.sendall(head + b"X-Echo: Bearer " + header + b"\r\n\r\n")
    if form == "reason":
        return peer.sendall(b"HTTP/1.1 200 " + header + b"\r\n\r\n")
    if form == "gzip":
        return peer.sendall(head + b"Content-Encoding: gzip\r\n\r\n" + b"\x1f\x8b" + body)
    if form == "trailer":
        return peer.sendall(
            head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Echo: " + header + b"\r\n\r\n"
        )
    if form == "upgrade":
        return peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + header
        )
    peer.sendall(head + b"\r\n")
    for at in range(len(body)) if form == "drip" else [0]:
        peer.sendall(body[at : at + 1] if form == "drip" else body)
    return None


@dataclass
class Town:
    world: World
    api: Server
    step_trusts: Path

    def tls(self) -> ssl.SSLSocket:
        """Return a step's TLS connection to the host, through the proxy."""
        step = self.world.connect()
        step.sendall(f"CONNECT {API}:{self.api.port} HTTP/1.1\r\n\r\n".encode())
        assert head_of(step).startswith(b"HTTP/1.1 200"), "denied"
        return ssl.create_default_context(cafile=self.step_trusts).wrap_socket(step, server_hostname=API)

    def ask(self, request: str) -> bytes:
        """Send a request and return all that the step gets to see."""
        with self.tls() as tls, contextlib.suppress(ssl.SSLError):
            tls.sendall(request.replace("$API", f"{API}:{self.api.port}").encode("latin-1"))
            return everything(tls)
        return b""


@contextlib.contextmanager
def town_of(folder: Path, api: Server, trust: Path, **limits: tuple[str, ...]) -> Iterator[Town]:
    with world(trust) as made:
        rule = parse_rule({"host": f"https://{API}:{api.port}", "private": True})
        given = Injection(API, api.port, "Authorization", VALUE, **limits)
        made.open(rule, injections=(given,))
        pem = folder / "run.pem"
        pem.write_bytes(made.proxy.authority)
        yield Town(made, api, pem)
    api.close()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    trust, certificate = certificates(tmp_path, API)
    api = Server(hello, server_context(certificate))
    with town_of(tmp_path, api, trust, methods=("GET", "POST"), paths=("/v1/*", "/deep/**")) as made:
        yield made


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[Town]:
    trust, certificate = certificates(tmp_path, API)
    with town_of(tmp_path, Server(echo, server_context(certificate)), trust) as made:
        yield made


def test_the_header_is_added_and_the_step_s_own_are_gone(town: Town) -> None:
    own = "Host: $API\r\nAuthorization: a\r\nAUTHORIZATION: b\r\nauthorization: c\r\nX-Own: 1\r\nConnection: close\r\n"
    said = town.ask(f"GET /v1/x?y=../z HTTP/1.1\r\n{own}\r\n")
    assert said.endswith(b"hello")
    heard = town.api.heard[0]
    assert heard.lower().count(b"authorization") == 1
    assert b"Authorization: " + VALUE + b"\r\n" in heard
    assert b"x-own: 1" in heard
    town.world.gate.close()
    assert TOKEN.decode() not in repr(town.world.reports)
    assert TOKEN.decode() not in repr(town.world.gate._policy)


REFUSED = {
    "another path": ("GET /v2/x HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a deeper path": ("GET /v1/x/y HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs": ("GET /v1/../v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs inside": ("GET /deep/../v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs, encoded": ("GET /deep/%2e%2E/v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs, half encoded": ("GET /deep/.%2e/v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs, encoded twice": ("GET /deep/%252e%252e/v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs, encoded long": ("GET /deep/%c0%ae%c0%ae/v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a path that climbs with a parameter": ("GET /deep/..;/v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "an encoded slash": ("GET /v1/x%2fy HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a backslash": ("GET /v1/..\\v2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "an encoded backslash": ("GET /deep/..%5cv2 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a double slash": ("GET //v1/x HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a null byte": ("GET /v1/x%00 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a broken encoding": ("GET /v1/%zz HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "another method": ("DELETE /v1/x HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "a method in small letters": ("get /v1/x HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "TRACE": ("TRACE /v1/x HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "CONNECT inside": ("CONNECT evil.example:443 HTTP/1.1\r\nHost: $API\r\n\r\n", 403),
    "an upgrade": ("GET /v1/x HTTP/1.1\r\nHost: $API\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 403),
    "another Host": ("GET /v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "another port": ("GET /v1/x HTTP/1.1\r\nHost: api.example.com:1\r\n\r\n", 421),
    "two Hosts": ("GET /v1/x HTTP/1.1\r\nHost: $API\r\nHost: evil.example\r\n\r\n", 400),
    "no Host": ("GET /v1/x HTTP/1.1\r\n\r\n", 421),
    "a whole URL": ("GET https://evil.example/v1/x HTTP/1.1\r\nHost: $API\r\n\r\n", 400),
    "a star": ("OPTIONS * HTTP/1.1\r\nHost: $API\r\n\r\n", 400),
    "two lengths": ("POST /v1/x HTTP/1.1\r\nHost: $API\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length and chunks": ("POST /v1/x HTTP/1.1\r\nHost: $API\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a folded line": ("GET /v1/x HTTP/1.1\r\nHost: $API\r\nX: a\r\n b\r\n\r\n", 400),
    "a bare line feed": ("GET /v1/x HTTP/1.1\nHost: $API\n\n", 400),
    "a bare line feed in a value": ("GET /v1/x HTTP/1.1\r\nHost: $API\r\nX: a\nAuthorization: b\r\n\r\n", 400),
    "a null byte in a value": ("GET /v1/x HTTP/1.1\r\nHost: $API\r\nX: a\0b\r\n\r\n", 400),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("way", REFUSED)
def test_what_the_secret_is_not_bound_to_does_not_reach_the_server(town: Town, way: str) -> None:
    request, status = REFUSED[way]
    said = town.ask(request)
    assert said.startswith(f"HTTP/1.1 {status} ".encode()), said
    assert town.world.reported()[0].denied
    assert not town.api.connections


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "Connection: x\r\nAuthorization", "authoriza_tion"]
)
def test_look_alikes_of_the_header_are_dropped(tmp_path: Path, name: str) -> None:
    trust, certificate = certificates(tmp_path, API)
    api = Server(hello, server_context(certificate))
    with world(trust) as made:
        header = "Authoriza-Tion" if "_" in name else "Authorization"
        made.open(
            parse_rule({"host": f"https://{API}:{api.port}", "private": True}),
            injections=(Injection(API, api.port, header, VALUE),),
        )
        pem = tmp_path / "run.pem"
        pem.write_bytes(made.proxy.authority)
        assert (
            Town(made, api, pem)
            .ask(f"GET / HTTP/1.1\r\nHost: $API\r\n{name}: mine\r\nConnection: close\r\n\r\n")
            .endswith(b"hello")
        )
    assert b"mine" not in api.heard[0]
    api.close()


@pytest.mark.parametrize(
    "form", ["all", "part", "drip", "header", "reason", "base64", "hex", "gzip", "trailer", "upgrade"]
)
def test_a_server_that_gives_the_secret_back_is_cut_off(talkative: Town, form: str) -> None:
    said = talkative.ask(f"GET /{form} HTTP/1.1\r\nHost: $API\r\n\r\n")
    assert talkative.api.heard
    assert TOKEN not in said
    for coded in (base64.b64encode(TOKEN)[:20], TOKEN.hex().encode(), b"\x1f\x8b"):
        assert coded not in said
    report = talkative.world.reported()[0]
    assert report.denied or report.failed or form == "trailer"
    assert TOKEN.decode() not in repr(report)


def test_the_step_cannot_ask_for_a_compressed_answer(talkative: Town) -> None:
    talkative.ask("GET /all HTTP/1.1\r\nHost: $API\r\nAccept-Encoding: gzip, br\r\n\r\n")
    assert b"gzip" not in talkative.api.heard[0]
    assert b"accept-encoding: identity" in talkative.api.heard[0]


def test_a_server_that_cannot_prove_its_name_never_gets_the_secret(tmp_path: Path) -> None:
    for names, own in ((("other.example.com",), True), ((API,), False)):
        folder = tmp_path / names[0]
        folder.mkdir()
        trust, certificate = certificates(folder, *names)
        api = Server(hello, server_context(certificate))
        with town_of(folder, api, trust if own else None) as town:  # type: ignore[arg-type] # the system's
            said = town.ask("GET / HTTP/1.1\r\nHost: $API\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 502")
            assert b"does not prove its name" in said
            assert town.world.reported()[0].failed
        assert not api.heard


@pytest.mark.parametrize(
    "first", [records(client_hello(sni("evil.example"))), records(client_hello()), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_tls_for_another_name_gets_no_certificate(town: Town, first: bytes) -> None:
    with town.world.connect() as step:
        step.sendall(f"CONNECT {API}:{town.api.port} HTTP/1.1\r\n\r\n".encode())
        head_of(step)
        step.sendall(first)
        assert everything(step) == b"\x15\x03\x01\x00\x02\x02\x31"
    assert town.world.reported()[0].denied


def test_the_run_s_authority_is_not_what_servers_are_verified_by(town: Town, tmp_path: Path) -> None:
    authority = town.world.proxy._services.result().authority()
    api = Server(hello, authority.server(API))
    town.world.open(
        parse_rule({"host": f"https://{API}:{api.port}", "private": True}),
        injections=(Injection(API, api.port, "Authorization", VALUE),),
    )
    said = Town(town.world, api, town.step_trusts).ask("GET / HTTP/1.1\r\nHost: $API\r\n\r\n")
    assert b"does not prove its name" in said
    api.close()
    assert not list(tmp_path.glob("*.key"))
