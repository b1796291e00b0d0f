from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sandbox.egress.addresses import is_public, refusal
from runner.workflow.hosts import Rule, canonical_host, line, parse_rule

SPELLINGS = {
    "API.Example.COM": "api.example.com",
    "api.example.com.": "api.example.com",
    "bücher.example": "xn--bcher-kva.example",
    "bücher。example": "xn--bcher-kva.example",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "[::FFFF:127.0.0.1]": "127.0.0.1",
    "[::ffff:7f00:1]": "127.0.0.1",
    "[0:0:0:0:0:0:0:1]": "::1",
    "a_b.example": "a_b.example",
}
NO_HOSTS = [
    "", ".", "a..b", "-a.example", "a-.example", "a b", "a/b", "a@b", "1.2.3.4.5", "256.1.1.1", "a.1", "a.0x7f", "09.1.1.1",
    "[fe80::1%eth0]", "[::1", "[::g]", "straße.example", "x" * 64 + ".example", "a.example\x00", "a.example\n", "é" * 300, "*.a",
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), SPELLINGS.items())
def test_a_host_has_one_spelling(written: str, meant: str) -> None:
    assert canonical_host(written) == meant


@pytest.mark.parametrize("written", NO_HOSTS)
def test_what_is_no_host_is_refused_in_words(written: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        canonical_host(written)


@given(st.text(max_size=30))
def test_a_spelling_is_its_own_spelling(written: str) -> None:
    try:
        host = canonical_host(written)
    except ValueError:
        return
    assert canonical_host(f"[{host}]" if ":" in host else host) == host
    assert host.isascii()


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("https://api.example.com", Rule("api.example.com", 443)),
        ("api.example.com", Rule("api.example.com", 443)),
        ("https://API.example.com.:8443/", Rule("api.example.com", 8443)),
        ("tcp://db.example:5432", Rule("db.example", 5432, kind="tcp")),
        ("https://[2606:4700::1111]", Rule("2606:4700::1111", 443)),
        ({"host": "http://a.example", "insecure": True}, Rule("a.example", 80, insecure=True)),
        ({"host": "tcp://a.example:25", "insecure": True}, Rule("a.example", 25, kind="tcp", insecure=True)),
        ({"host": "https://10.0.0.1", "private": True}, Rule("10.0.0.1", 443, private=True)),
        ({"host": "a.example", "max_bytes": "10MiB"}, Rule("a.example", 443, most=10 << 20)),
        ({"host": "*.a.example.com", "reason": "one bucket each"}, Rule("*.a.example.com", 443)),
    ],
)
def test_an_entry_stands_for_a_rule(entry: str | dict[str, object], rule: Rule) -> None:
    parsed = parse_rule(entry)
    assert parsed == Rule(
        rule.host, rule.port, rule.kind, rule.insecure, rule.private, rule.most, parsed.written
    )
    assert parsed.written == line(rule)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("http://a.example", "insecure: true"),
        ("https://u:p@a.example", "without user"),
        ("https://a.example/path", "without user"),
        ("https://a.example?x", "without user"),
        ("ftp://a.example", "https://HOST"),
        ("tcp://a.example", "no port"),
        ("https://a.example:0", "no port"),
        ("https://a.example:65536", "no port"),
        ("https://0x7f.1", "is the address 127.0.0.1"),
        ("https://2130706433", "is the address 127.0.0.1"),
        ("*", "opens every host"),
        ("https://*.*", "opens every host"),
        ("https://*.example.com", "needs a reason"),
        ({"host": "https://*.example.com", "reason": " "}, "needs a reason"),
        ({"host": "https://a*.example.com", "reason": "x"}, "whole labels"),
        ({"host": "https://*.*.example.com", "reason": "x"}, "no host name"),
        ({"host": "https://*.com", "reason": "x"}, "strangers"),
        ({"host": "https://*.co.uk", "reason": "x"}, "strangers"),
        ({"host": "https://*.github.io", "reason": "x"}, "strangers"),
        ({"host": "https://*.GitHub.io.", "reason": "x"}, "strangers"),
        ({"host": "https://*.s3.amazonaws.com", "reason": "x"}, "strangers"),
        ({"host": "https://*.0.0.1", "reason": "x"}, "below an address"),
        ({"host": "a.example", "insecure": "yes"}, "true or false"),
        ({"host": "a.example", "insecur": True}, "no key"),
        ({"host": "a.example", "max_bytes": 5}, "no size"),
        ({"insecure": True}, "no host"),
    ],
)
def test_a_wrong_entry_is_refused_in_words(entry: str | dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_rule(entry)


def test_a_wildcard_stands_for_one_or_more_labels_and_never_for_none() -> None:
    rule = parse_rule({"host": "*.example.com", "reason": "x"})
    assert rule.covers("a.example.com", 443)
    assert rule.covers("a.b.example.com", 443)
    assert not rule.covers("example.com", 443)
    assert not rule.covers("badexample.com", 443)
    assert not rule.covers("a.example.com", 80)


PRIVATE = [
    "0.0.0.0",  # noqa: S104 - an answer, not a place to listen
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.9.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::a00:1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_inner_address_is_recognized_whatever_carries_it(address: str) -> None:
    assert not is_public(address)
    assert "not a public address" in refusal(address, Rule("a.example", 443))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_left_alone(address: str) -> None:
    assert is_public(address)
    assert not refusal(address, Rule("a.example", 443))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fc00::1", "192.168.0.1", "100.64.0.1"])
def test_private_opens_an_inner_address_behind_a_name(address: str) -> None:
    assert not refusal(address, Rule("a.example", 443, private=True))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "fd00:ec2::254", "::ffff:169.254.169.254",  # noqa: S104 - an answer, not a place to listen
                                     "64:ff9b::a9fe:a9fe", "100.100.100.200", "168.63.129.16", "224.0.0.1"])  # fmt: skip
def test_metadata_is_opened_by_its_own_address_only(address: str) -> None:
    assert "the address itself" in refusal(address, Rule("a.example", 443, private=True))
    assert not refusal(address, Rule(address, 443, private=True))
