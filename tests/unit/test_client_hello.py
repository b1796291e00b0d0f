from __future__ import annotations

import contextlib
import ssl

import pytest
from client_hellos import client_hello, records, server_names, sni
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox.egress.hello import Hello, NotTls, read_hello


def of_python(name: str | None) -> bytes:
    """Return the first bytes that a real client sends."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def test_a_real_client_is_understood() -> None:
    assert read_hello(of_python("api.example.com")) == Hello("api.example.com", encrypted=False)


@given(st.data())
def test_every_beginning_asks_for_more_and_every_cut_into_records_says_the_same(data: st.DataObject) -> None:
    whole = client_hello(sni("api.example.com"))
    sizes = data.draw(st.lists(st.integers(1, 40), max_size=20))
    cut = records(whole, *sizes)
    assert read_hello(cut) == Hello("api.example.com", encrypted=False)
    assert read_hello(cut[: data.draw(st.integers(0, len(cut) - 1))]) is None


@given(st.binary(max_size=200))
def test_anything_at_all_is_a_hello_or_unfinished_or_not_tls(data: bytes) -> None:
    for start in (b"", b"\x16", b"\x16\x03\x01\x00\x50\x01\x00\x00"):
        with contextlib.suppress(NotTls):
            read_hello(start + data)


def test_what_follows_the_hello_in_records_of_its_own_is_not_its_business() -> None:
    early = b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x05hello"
    assert read_hello(records(client_hello(sni("a.example"))) + early) == Hello("a.example", encrypted=False)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x80\x2e\x01\x00\x02",  # SSL 2
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        records(b"\x02" + client_hello(sni("a.example"))[1:]),
        records(client_hello(sni("a.example")) + b"\x01\x00\x00\x00"),
        records(client_hello(sni("a.example")) + client_hello(sni("b.example"))),
        records(client_hello(sni("a.example"), sni("b.example"))),
        records(client_hello(server_names((0, b"a.example"), (0, b"b.example")))),
        records(client_hello(server_names((0, b"a.example"), (1, b"b.example")))),
        records(client_hello(server_names((1, b"a.example")))),
        records(client_hello(server_names((0, b"")))),
        records(client_hello(server_names((0, b"a.example\0.evil")))),
        records(client_hello(server_names((0, "é.example".encode())))),
        records(client_hello((0, b""))),
        records(client_hello((0, b"\x00\x05\x00\x00"))),
        records(client_hello(sni("a.example"), tail=b"x")),
        records(client_hello(sni("a.example"), version=b"\x02\x00")),
        records(b"\x01\xff\xff\xff" + b"x" * 100),
        records(client_hello((21, b"x" * 40_000)))[:40_000],
        records(client_hello(sni("a.example")), 10)[:15] + b"\x17\x03\x03\x00\x01x",
    ],
)
def test_what_could_be_understood_in_two_ways_is_not_tls(data: bytes) -> None:
    with pytest.raises(NotTls):
        read_hello(data)


def test_an_encrypted_hello_is_seen() -> None:
    hello = read_hello(records(client_hello(sni("a.example"), (0xFE0D, b"x"))))
    assert hello == Hello("a.example", encrypted=True)
