"""A hostile step inside what it may open: tunnels that are not TLS for their host, requests within requests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, server_names, sni
from egress_town import API, OTHER, PLAIN, Town, connect_head, get_head, town_of
from egress_world import everything, head_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path) as made:
        yield made


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
        step.sendall(town.fill(connect_head(f"{API}:$API")))
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
        step.sendall(town.fill(connect_head(f"{API}:$API")) + HELLOS[way])
        said = everything(step)
        assert said.count(b"HTTP/1.1") == 1
    assert town.world.reported()[0].denied
    assert not town.api.heard


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
    head = get_head(
        f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", "Transfer-Encoding: chunked", method="POST"
    )
    with town.world.connect() as step:
        step.sendall(town.fill(head) + body)
        assert everything(step).startswith(b"HTTP/1.1 400")
    assert "proper HTTP" in town.world.reported()[0].denied


def test_a_request_hidden_in_a_body_stays_a_body(town: Town) -> None:
    hidden = town.fill(get_head(f"http://{OTHER}:$BAD/", f"Host: {OTHER}:$BAD"))
    head = get_head(
        f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", f"Content-Length: {len(hidden)}", method="POST"
    )
    with town.world.connect() as step:
        step.sendall(town.fill(head) + hidden)
        assert head_of(step).startswith(b"HTTP/1.1 200")
    assert town.plain.heard[0].endswith(hidden)
    assert town.plain.connections == 1
    assert not town.forbidden.connections


def test_a_request_behind_an_allowed_one_is_judged_by_itself(town: Town) -> None:
    first = get_head(f"http://{PLAIN}:$PLAIN/a", f"Host: {PLAIN}:$PLAIN")
    second = get_head(f"http://{OTHER}:$BAD/b", f"Host: {OTHER}:$BAD")
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
        step.sendall(
            town.fill(get_head(f"http://{PLAIN}:$PLAIN/", f"Host: {PLAIN}:$PLAIN", "X-Keep: 1", *hop))
        )
        assert b"hello" in everything(step)
    heard = town.plain.heard[0].lower()
    assert b"x-keep: 1" in heard
    assert b"host: plain" in heard
    assert not [
        name for name in (b"proxy-auth", b"x-drop", b"te:", b"upgrade", b"keep-alive") if name in heard
    ]
