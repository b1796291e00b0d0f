"""What a run's way out refuses before any proxy is asked."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_engine import step

from runner.errors import PolicyDenied
from runner.network import RunNetwork
from runner.planning.plan import SecretUse
from runner.vault.binding import Terms
from runner.vault.secret import Secret
from runner.workflow.hosts import parse_rule

API = parse_rule("https://api.example.com")
OWN = parse_rule({"host": "https://own.example.com:8443", "private": True})
HEADER = "Authorization: Bearer {}"


def refusal(secret: Secret, *, as_header: bool, **fields: Any) -> str:
    network = RunNetwork(None, frozenset({"other.example.com:443"}))
    one = step("a", secrets=(SecretUse("T", "token", as_header=as_header),), **{"egress": (API,), **fields})
    with pytest.raises(PolicyDenied) as caught:
        network.open(one, {"token": secret}, lambda _: None)
    network.close()
    return str(caught.value)


def bound(*hosts: str, value: bytes = b"hunter2") -> Secret:
    return Secret("token", value, terms=Terms(hosts, HEADER if hosts else ""))


def test_a_header_needs_a_host_that_it_is_bound_to_and_that_the_step_reaches() -> None:
    assert "bound to no host" in refusal(bound(), as_header=True)
    assert "which a does not reach" in refusal(bound("other.example.com"), as_header=True)
    assert "which a does not reach" in refusal(bound("api.example.com:8443"), as_header=True)


def test_a_header_has_one_line() -> None:
    for end in (b"\r\nX: y", b"\n", b"\0"):
        assert "more than one line" in refusal(bound("api.example.com", value=b"a" + end), as_header=True)


def test_a_secret_that_is_seen_is_for_its_hosts_alone() -> None:
    assert "a reaches" in refusal(
        Secret("token", b"hunter2", terms=Terms(("own.example.com",))), as_header=False
    )


def test_a_private_address_is_asked_for_at_each_attempt_too() -> None:
    words = refusal(bound("own.example.com:8443"), as_header=True, egress=(OWN,))
    assert "private: [own.example.com:8443]" in words
