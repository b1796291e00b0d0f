"""A hostile step at the egress proxy: every way out that is not its own is denied and reported."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, server_names, sni
from egress_world import QUICK, Server, World, certificates, everything, head_of, hello, server_context, world

from runner.sandbox.egress.passage import Limits
from runner.sandbox.egress.rules import CANARY
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API, PLAIN, OTHER = "api.example.com", "plain.example.com", "other.example.com"


@dataclass
class Town:
    """One allowed TLS server, one allowed plain server, and one that nothing may reach."""

    world: World
    api: Server
    plain: Server
    forbidden: Server
    trust: Path

    def fill(self, text: str) -> bytes:
        """Put the ports of this run into what a step sends."""
        for name, server in (("API", self.api), ("PLAIN", self.plain), ("BAD", self.forbidden)):
            text = text.replace(f"${name}", str(server.port))
        return text.encode("latin-1")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    trust, certificate = certificates(tmp_path, API, OTHER)
    servers = [Server(hello, server_context(certificate)), Server(hello), Server(hello)]
    with world(trust) as made:
        api, plain, forbidden = servers
        made.open(
            parse_rule({"host": f"https://{API}:{api.port}", "private": True}),
            parse_rule({"host": f"http://{PLAIN}:{plain.port}", "private": True, "insecure": True}),
            parse_rule(f"https://inner.example.com:{forbidden.port}"),
            parse_rule({"host": f"https://link.example.com:{forbidden.port}", "private": True}),
            parse_rule({"host": f"https://*.wild.example.com:{forbidden.port}", "reason": "one host each"}),
        )
        made.names |= {
            "link.example.com": ("169.254.169.254",),
            "both.wild.example.com": ("1.1.1.1", "127.0.0.1"),
            "mapped.wild.example.com": ("::ffff:127.0.0.1",),
            "nat64.wild.example.com": ("64:ff9b::7f00:1",),
            "six.wild.example.com": ("::1",),
            "any.wild.example.com": ("0.0.0.0",),  # noqa: S104 - an answer, not a place to listen
            "odd.wild.example.com": ("127.1",),
        }
        yield Town(made, api, plain, forbidden, trust)
    for server in servers:
        server.close()


def _connect(target: str, *headers: str, version: str = "1.1") -> str:
    return "\r\n".join((f"CONNECT {target} HTTP/{version}", *headers, "", ""))


def _get(url: str, *headers: str, method: str = "GET") -> str:
    return "\r\n".join((f"{method} {url} HTTP/1.1", *headers, "", ""))


HEADS = {
    "another host": (_connect(f"{OTHER}:$API"), 403),
    "another port": (_connect(f"{API}:$BAD"), 403),
    "the allowed host below another": (_connect(f"{API}.evil.example:$API"), 403),
    "a host that ends like the allowed one": (_connect(f"x{API}:$API"), 403),
    "a user before the host": (_connect(f"{API}@{OTHER}:$BAD"), 400),
    "a user and a password": (_connect(f"u:p@{API}:$API"), 400),
    "no port": (_connect(API), 400),
    "port 0": (_connect(f"{API}:0"), 400),
    "a port beyond the last": (_connect(f"{API}:65536"), 400),
    "a port that wraps around": (_connect(f"{API}:4294967739"), 400),
    "two ports": (_connect(f"{API}:$API:$BAD"), 400),
    "a signed port": (_connect(f"{API}:+$API"), 400),
    "a scheme": (_connect(f"https://{API}:$API"), 400),
    "a path": (_connect(f"{API}:$API/x"), 400),
    "loopback": (_connect("127.0.0.1:$BAD"), 403),
    "loopback by name": (_connect("localhost:$BAD"), 403),
    "loopback in decimal": (_connect("2130706433:$BAD"), 403),
    "loopback in hex": (_connect("0x7f000001:$BAD"), 403),
    "loopback in octal": (_connect("0177.0.0.1:$BAD"), 403),
    "loopback cut short": (_connect("127.1:$BAD"), 403),
    "loopback in IPv6": (_connect("[::1]:$BAD"), 403),
    "loopback mapped to IPv6": (_connect("[::ffff:127.0.0.1]:$BAD"), 403),
    "an IPv6 zone": (_connect("[fe80::1%25lo]:$BAD"), 400),
    "IPv6 without brackets": (_connect("::1:$BAD"), 400),
    "metadata": (_connect("169.254.169.254:80"), 403),
    "metadata, plain": (_get("http://169.254.169.254/latest/meta-data/", "Host: 169.254.169.254"), 403),
    "metadata behind an allowed name": (_connect("link.example.com:$BAD"), 403),
    "a name that is loopback": (_connect("inner.example.com:$BAD"), 403),
    "a name that is public and loopback": (_connect("both.wild.example.com:$BAD"), 403),
    "a name that is loopback, mapped": (_connect("mapped.wild.example.com:$BAD"), 403),
    "a name that is loopback, translated": (_connect("nat64.wild.example.com:$BAD"), 403),
    "a name that is loopback in IPv6": (_connect("six.wild.example.com:$BAD"), 403),
    "a name that is every address": (_connect("any.wild.example.com:$BAD"), 403),
    "the apex of a wildcard": (_connect("wild.example.com:$BAD"), 403),
    "a name with a null byte": (_connect(f"{OTHER}\0.wild.example.com:$BAD"), 400),
    "a line break in the target": (_connect(f"{API}:$API\nX: y"), 400),
    "a CONNECT with a length": (_connect(f"{API}:$API", "Content-Length: 5") + "hello", 400),
    "a CONNECT with chunks": (_connect(f"{API}:$API", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400),
    "a CONNECT with another Host": (_connect(f"{API}:$API", f"Host: {OTHER}"), 421),
    "a CONNECT with two Hosts": (_connect(f"{API}:$API", f"Host: {API}", f"Host: {OTHER}"), 400),
    "a folded header": (_connect(f"{API}:$API", "X: y", " z"), 400),
    "a bare line feed": (f"CONNECT {API}:$API HTTP/1.1\nHost: {API}\n\n", 400),
    "a bare carriage return": (_connect(f"{API}:$API", "X: y\rz"), 400),
    "a space before the colon": (_connect(f"{API}:$API", "Host : x"), 400),
    "a header without a name": (_connect(f"{API}:$API", ": x"), 400),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": ("GET /\r\n\r\n", 400),
    "TLS to the proxy itself": (records(client_hello(sni(API))).decode("latin-1") + "\r\n\r\n", 400),
    "not for a proxy": (_get("/", f"Host: {API}"), 400),
    "https without CONNECT": (_get(f"https://{API}:$API/", f"Host: {API}"), 400),
    "plain HTTP where TLS is due": (_get(f"http://{API}:$API/", f"Host: {API}:$API"), 403),
    "plain HTTP to another": (_get("http://other.example.com:$BAD/", "Host: other.example.com:$BAD"), 403),
    "plain HTTP with another Host": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {OTHER}"), 421),
    "plain HTTP with another port in Host": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$BAD"), 421),
    "plain HTTP without Host": (_get(f"http://{PLAIN}:$PLAIN/"), 421),
    "plain HTTP with a user": (_get(f"http://{PLAIN}:$PLAIN@{OTHER}:$BAD/", f"Host: {PLAIN}"), 400),
    "a backslash in the host": (_get(f"http://{OTHER}:$BAD\\@{PLAIN}:$PLAIN/", f"Host: {PLAIN}"), 400),
    "a fragment in the host": (_get(f"http://{OTHER}:$BAD#@{PLAIN}:$PLAIN/", f"Host: {PLAIN}"), 400),
    "two lengths": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1", "Content-Length: 1", method="POST"), 400),
    "a length and chunks": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST"), 400),
    "a length list": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1, 1", method="POST"), 400),
    "a signed length": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: +1", method="POST"), 400),
    "an odd coding": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: xchunked", method="POST"), 400),
    "a coding with a tab": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: \x0bchunked", method="POST"), 400),
    "two codings": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: gzip, chunked", method="POST"), 400),
    "a look-alike of a length": (_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content_Length: 1", method="POST"), 400),
    "a huge head": (_connect(f"{API}:$API", *(f"X-{at}: {'y' * 1000}" for at in range(40))), 431),
    "a huge line": (_connect(f"{'a' * 40_000}:443"), 431),
    "too many headers": (_connect(f"{API}:$API", *(f"X-{at}: y" for at in range(101))), 431),
}  # fmt: skip


@pytest.mark.parametrize("way", HEADS)
def test_a_request_that_leads_elsewhere_is_denied_reported_and_goes_nowhere(town: Town, way: str) -> None:
    text, status = HEADS[way]
    with town.world.connect() as step:
        with contextlib.suppress(ConnectionError):
            step.sendall(town.fill(text))
        said = everything(step)
    assert said.startswith(f"HTTP/1.1 {status} ".encode()), said
    assert b"egress denied" in said
    assert town.world.reported()[0].denied
    assert not town.forbidden.connections
    assert not town.plain.connections
    assert not town.api.connections


def test_a_denial_says_the_line_that_is_missing(town: Town) -> None:
    for target, cure in {
        "api.github.com:443": 'egress: ["https://api.github.com"]',
        "api.github.com:8443": 'egress: ["https://api.github.com:8443"]',
        f"inner.example.com:{town.forbidden.port}": f'{{host: "https://inner.example.com:{town.forbidden.port}", private: true}}',
    }.items():
        with town.world.connect() as step:
            step.sendall(_connect(target).encode())
            assert cure in everything(step).decode()


HELLOS = {
    "no TLS": b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9\r\n",
    "another server's name": records(client_hello(sni(OTHER))),
    "a name below": records(client_hello(sni(f"x.{API}"))),
    "no server name": records(client_hello()),
    "two server names": records(client_hello(server_names((0, API.encode()), (0, OTHER.encode())))),
    "two server name extensions": records(client_hello(sni(API), sni(OTHER))),
    "a name with a null byte": records(client_hello(sni(f"{API}\0.x"))),
    "an address for a name": records(client_hello(sni("127.0.0.1"))),
    "another name in fragments": records(client_hello(sni(OTHER)), *[1] * 90),
    "an encrypted hello": records(client_hello(sni(API), (0xFE0D, bytes(64)))),
    "a second hello behind the first": records(client_hello(sni(API)) + client_hello(sni(OTHER))),
    "something after the extensions": records(client_hello(sni(API), tail=b"x")),
    "an endless hello": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(20_000),
    "a server's message": records(b"\x02" + client_hello(sni(API))[1:]),
    "an empty record": b"\x16\x03\x01\x00\x00" + records(client_hello(sni(API))),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    "half a hello": records(client_hello(sni(API)))[:40],
    "nothing": b"",
}


@pytest.mark.parametrize("way", HELLOS)
def test_a_tunnel_begins_with_tls_for_its_host_or_ends_before_the_server_hears_anything(
    town: Town, way: str
) -> None:
    with town.world.connect() as step:
        step.sendall(town.fill(_connect(f"{API}:$API")))
        assert head_of(step).startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionError):
            step.sendall(HELLOS[way])
        assert everything(step)[:1] in (b"", b"\x15")
    report = town.world.reported()[0]
    assert report.denied
    assert (report.sent, report.received) == (0, 0)
    assert not town.api.heard
    assert not town.forbidden.connections


@pytest.mark.parametrize("way", ["another server's name", "no TLS"])
def test_what_is_sent_along_with_connect_is_looked_at_too(town: Town, way: str) -> None:
    with town.world.connect() as step:
        step.sendall(town.fill(_connect(f"{API}:$API")) + HELLOS[way])
        said = everything(step)
        assert said.count(b"HTTP/1.1") == 1
    assert town.world.reported()[0].denied
    assert not town.api.heard


def test_a_name_is_looked_up_once_so_that_a_second_answer_cannot_lead_inside(town: Town) -> None:
    host = "rebind.wild.example.com"
    answers = iter([("192.0.2.1", "198.51.100.1"), ("127.0.0.1",), ("127.0.0.1",)])
    town.world.proxy._services.result().lookups._resolver = lambda *_: next(answers)
    with town.world.connect() as step:
        step.sendall(town.fill(_connect(f"{host}:$BAD")))
        assert b"not a public address" in everything(step)
    assert next(answers) == ("127.0.0.1",), "only one was asked for"
    assert not town.forbidden.connections


@pytest.mark.parametrize("answer", [("127.1",), ("no address",), ("127.0.0.1%lo",), ()])
def test_a_name_server_that_answers_nonsense_leads_nowhere(town: Town, answer: tuple[str, ...]) -> None:
    town.world.names["odd.wild.example.com"] = answer
    with town.world.connect() as step:
        step.sendall(town.fill(_connect("odd.wild.example.com:$BAD")))
        assert everything(step).startswith(b"HTTP/1.1 502")
    assert town.world.reported()[0].failed
    assert not town.forbidden.connections


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffffffffff\r\nhello",
        b"5;x\nhello\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_two_readers_could_see_differently_are_refused(town: Town, body: bytes) -> None:
    head = _get(
        f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", "Transfer-Encoding: chunked", method="POST"
    )
    with town.world.connect() as step:
        step.sendall(town.fill(head) + body)
        assert everything(step).startswith(b"HTTP/1.1 400")
    assert "proper HTTP" in town.world.reported()[0].denied


def test_a_request_hidden_in_a_body_stays_a_body(town: Town) -> None:
    hidden = town.fill(_get(f"http://{OTHER}:$BAD/", f"Host: {OTHER}:$BAD"))
    head = _get(
        f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", f"Content-Length: {len(hidden)}", method="POST"
    )
    with town.world.connect() as step:
        step.sendall(town.fill(head) + hidden)
        assert head_of(step).startswith(b"HTTP/1.1 200")
    assert town.plain.heard[0].endswith(hidden)
    assert town.plain.connections == 1
    assert not town.forbidden.connections


def test_a_request_behind_an_allowed_one_is_judged_by_itself(town: Town) -> None:
    first = _get(f"http://{PLAIN}:$PLAIN/a", f"Host: {PLAIN}:$PLAIN")
    second = _get(f"http://{OTHER}:$BAD/b", f"Host: {OTHER}:$BAD")
    with town.world.connect() as step:
        step.sendall(town.fill(first + second))
        said = everything(step)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 403" in said
    assert [bool(each.denied) for each in town.world.reported(2)] == [False, True]
    assert not town.forbidden.connections


def test_headers_of_one_hop_do_not_reach_the_server(town: Town) -> None:
    hop = [
        "Proxy-Authorization: Basic x",
        "Connection: X-Drop, close, Host",
        "X-Drop: 1",
        "TE: trailers",
        "Upgrade: h2c",
        "Keep-Alive: 1",
    ]
    with town.world.connect() as step:
        step.sendall(town.fill(_get(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", "X-Keep: 1", *hop)))
        assert b"hello" in everything(step)
    heard = town.plain.heard[0].lower()
    assert b"x-keep: 1" in heard
    assert b"host: plain" in heard
    assert not [
        name for name in (b"proxy-auth", b"x-drop", b"te:", b"upgrade", b"keep-alive") if name in heard
    ]


def test_the_sandbox_s_own_check_is_denied_and_not_recorded(town: Town) -> None:
    for text in (_connect(f"{CANARY}:443"), _get(f"http://{CANARY}/", f"Host: {CANARY}")):
        with town.world.connect() as step:
            step.sendall(town.fill(text))
            assert everything(step).startswith(b"HTTP/1.1 403")
    town.world.gate.close()
    assert not town.world.reports


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
        assert time.monotonic() - began < 2
        hostile.close()
    denied = [each for each in town.world.reports if each.denied]
    assert sum(each.count for each in denied) >= 500 - QUICK.connections


def test_heads_that_never_end_are_turned_away_and_make_room(town: Town) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(QUICK.connections):
            stack.enter_context(town.world.connect()).sendall(b"CONNECT")
        with town.world.connect() as step:
            assert everything(step).startswith(b"HTTP/1.1 503")
        time.sleep(QUICK.head_seconds + 1)
        assert _curl(town, town.world.listen(), f"https://{API}:{town.api.port}/").stdout == "hello"


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
    step.sendall(town.fill(_connect(f"{API}:$API")))
    assert head_of(step).startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context(cafile=town.trust)
    with context.wrap_socket(step, server_hostname=API) as tls:
        town.world.gate.close()
        assert len(town.world.reports) == 1
        with contextlib.suppress(OSError):
            assert not tls.recv(10)
    with town.world.connect() as late:
        assert not everything(late)
