"""A hostile step at the egress proxy: every way out that is not its own is denied and reported."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, sni
from egress_town import API, OTHER, PLAIN, Town, connect_head, get_head, town_of
from egress_world import everything

from runner.sandbox.egress.rules import CANARY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path) as made:
        yield made


HEADS = {
    "another host": (connect_head(f"{OTHER}:$API"), 403),
    "another port": (connect_head(f"{API}:$BAD"), 403),
    "the allowed host below another": (connect_head(f"{API}.evil.example:$API"), 403),
    "a host that ends like the allowed one": (connect_head(f"x{API}:$API"), 403),
    "a user before the host": (connect_head(f"{API}@{OTHER}:$BAD"), 400),
    "a user and a password": (connect_head(f"u:p@{API}:$API"), 400),
    "no port": (connect_head(API), 400),
    "port 0": (connect_head(f"{API}:0"), 400),
    "a port beyond the last": (connect_head(f"{API}:65536"), 400),
    "a port that wraps around": (connect_head(f"{API}:4294967739"), 400),
    "two ports": (connect_head(f"{API}:$API:$BAD"), 400),
    "a signed port": (connect_head(f"{API}:+$API"), 400),
    "a scheme": (connect_head(f"https://{API}:$API"), 400),
    "a path": (connect_head(f"{API}:$API/x"), 400),
    "loopback": (connect_head("127.0.0.1:$BAD"), 403),
    "loopback by name": (connect_head("localhost:$BAD"), 403),
    "loopback in decimal": (connect_head("2130706433:$BAD"), 403),
    "loopback in hex": (connect_head("0x7f000001:$BAD"), 403),
    "loopback in octal": (connect_head("0177.0.0.1:$BAD"), 403),
    "loopback cut short": (connect_head("127.1:$BAD"), 403),
    "loopback in IPv6": (connect_head("[::1]:$BAD"), 403),
    "loopback mapped to IPv6": (connect_head("[::ffff:127.0.0.1]:$BAD"), 403),
    "an IPv6 zone": (connect_head("[fe80::1%25lo]:$BAD"), 400),
    "IPv6 without brackets": (connect_head("::1:$BAD"), 400),
    "metadata": (connect_head("169.254.169.254:80"), 403),
    "metadata, plain": (get_head("http://169.254.169.254/latest/meta-data/", "Host: 169.254.169.254"), 403),
    "metadata behind an allowed name": (connect_head("link.example.com:$BAD"), 403),
    "a name that is loopback": (connect_head("inner.example.com:$BAD"), 403),
    "a name that is public and loopback": (connect_head("both.wild.example.com:$BAD"), 403),
    "a name that is loopback, mapped": (connect_head("mapped.wild.example.com:$BAD"), 403),
    "a name that is loopback, translated": (connect_head("nat64.wild.example.com:$BAD"), 403),
    "a name that is loopback in IPv6": (connect_head("six.wild.example.com:$BAD"), 403),
    "a name that is every address": (connect_head("any.wild.example.com:$BAD"), 403),
    "the apex of a wildcard": (connect_head("wild.example.com:$BAD"), 403),
    "a name with a null byte": (connect_head(f"{OTHER}\0.wild.example.com:$BAD"), 400),
    "a line break in the target": (connect_head(f"{API}:$API\nX: y"), 400),
    "a CONNECT with a length": (connect_head(f"{API}:$API", "Content-Length: 5") + "hello", 400),
    "a CONNECT with chunks": (connect_head(f"{API}:$API", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400),
    "a CONNECT with another Host": (connect_head(f"{API}:$API", f"Host: {OTHER}"), 421),
    "a CONNECT with two Hosts": (connect_head(f"{API}:$API", f"Host: {API}", f"Host: {OTHER}"), 400),
    "a folded header": (connect_head(f"{API}:$API", "X: y", " z"), 400),
    "a bare line feed": (f"CONNECT {API}:$API HTTP/1.1\nHost: {API}\n\n", 400),
    "a bare carriage return": (connect_head(f"{API}:$API", "X: y\rz"), 400),
    "a space before the colon": (connect_head(f"{API}:$API", "Host : x"), 400),
    "a header without a name": (connect_head(f"{API}:$API", ": x"), 400),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": ("GET /\r\n\r\n", 400),
    "TLS to the proxy itself": (records(client_hello(sni(API))).decode("latin-1") + "\r\n\r\n", 400),
    "not for a proxy": (get_head("/", f"Host: {API}"), 400),
    "https without CONNECT": (get_head(f"https://{API}:$API/", f"Host: {API}"), 400),
    "plain HTTP where TLS is due": (get_head(f"http://{API}:$API/", f"Host: {API}:$API"), 403),
    "plain HTTP to another": (get_head("http://other.example.com:$BAD/", "Host: other.example.com:$BAD"), 403),
    "plain HTTP with another Host": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {OTHER}"), 421),
    "plain HTTP with another port in Host": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$BAD"), 421),
    "plain HTTP without Host": (get_head(f"http://{PLAIN}:$PLAIN/"), 421),
    "plain HTTP with a user": (get_head(f"http://{PLAIN}:$PLAIN@{OTHER}:$BAD/", f"Host: {PLAIN}"), 400),
    "a backslash in the host": (get_head(f"http://{OTHER}:$BAD\\@{PLAIN}:$PLAIN/", f"Host: {PLAIN}"), 400),
    "a fragment in the host": (get_head(f"http://{OTHER}:$BAD#@{PLAIN}:$PLAIN/", f"Host: {PLAIN}"), 400),
    "two lengths": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1", "Content-Length: 1", method="POST"), 400),
    "a length and chunks": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST"), 400),
    "a length list": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: 1, 1", method="POST"), 400),
    "a signed length": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content-Length: +1", method="POST"), 400),
    "an odd coding": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: xchunked", method="POST"), 400),
    "a coding with a tab": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: \x0bchunked", method="POST"), 400),
    "two codings": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Transfer-Encoding: gzip, chunked", method="POST"), 400),
    "a look-alike of a length": (get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}", "Content_Length: 1", method="POST"), 400),
    "a huge head": (connect_head(f"{API}:$API", *(f"X-{at}: {'y' * 1000}" for at in range(40))), 431),
    "a huge line": (connect_head(f"{'a' * 40_000}:443"), 431),
    "too many headers": (connect_head(f"{API}:$API", *(f"X-{at}: y" for at in range(101))), 431),
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
            step.sendall(connect_head(target).encode())
            assert cure in everything(step).decode()


def test_a_name_is_looked_up_once_so_that_a_second_answer_cannot_lead_inside(town: Town) -> None:
    host = "rebind.wild.example.com"
    answers = iter([("192.0.2.1", "198.51.100.1"), ("127.0.0.1",), ("127.0.0.1",)])
    town.world.proxy._services.result().lookups._resolver = lambda *_: next(answers)
    with town.world.connect() as step:
        step.sendall(town.fill(connect_head(f"{host}:$BAD")))
        assert b"not a public address" in everything(step)
    assert next(answers) == ("127.0.0.1",), "only one was asked for"
    assert not town.forbidden.connections


@pytest.mark.parametrize("answer", [("127.1",), ("no address",), ("127.0.0.1%lo",), ()])
def test_a_name_server_that_answers_nonsense_leads_nowhere(town: Town, answer: tuple[str, ...]) -> None:
    town.world.names["odd.wild.example.com"] = answer
    with town.world.connect() as step:
        step.sendall(town.fill(connect_head("odd.wild.example.com:$BAD")))
        assert everything(step).startswith(b"HTTP/1.1 502")
    assert town.world.reported()[0].failed
    assert not town.forbidden.connections


def test_the_sandbox_s_own_check_is_denied_and_not_recorded(town: Town) -> None:
    for text in (connect_head(f"{CANARY}:443"), get_head(f"http://{CANARY}/", f"Host: {CANARY}")):
        with town.world.connect() as step:
            step.sendall(town.fill(text))
            assert everything(step).startswith(b"HTTP/1.1 403")
    town.world.gate.close()
    assert not town.world.reports
