"""A proxy's life: it loads beside the engine, and ends with the run whatever was going on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from egress_world import everything

from runner.errors import PolicyDenied, StoreError
from runner.sandbox.egress.proxy import Proxy
from runner.sandbox.egress.rules import Policy
from runner.sandbox.egress.trust import authorities

if TYPE_CHECKING:
    from pathlib import Path

    from runner.sandbox.egress.rules import Connection

ASK = b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n"


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("egress")]


def _ended() -> bool:
    end = time.monotonic() + 5
    while _threads() and time.monotonic() < end:
        time.sleep(0.01)
    return not _threads()


def test_a_proxy_that_nobody_used_ends_without_being_waited_for() -> None:
    for _ in range(5):
        proxy = Proxy()
        proxy.start()
        proxy.gate(Policy(()), (None,), print).close()
        proxy.close()
        proxy.close()
    assert _ended()


def test_a_proxy_that_was_never_started_can_be_closed() -> None:
    Proxy().close()
    assert not _threads()


def test_a_connection_may_come_while_the_proxy_loads() -> None:
    reports: list[Connection] = []
    proxy = Proxy()
    gate = proxy.gate(Policy(()), (None,), reports.append)
    ours, theirs = socket.socketpair()
    gate.carry(0, theirs)
    with ours:
        ours.settimeout(10)
        ours.sendall(ASK)
        assert everything(ours).startswith(b"HTTP/1.1 403")
    proxy.close()
    assert [each.host for each in reports] == ["evil.example"]
    assert _ended()


def test_gates_are_opened_by_many_threads_and_all_closed_with_the_proxy() -> None:
    proxy = Proxy()
    peers: list[socket.socket] = []

    def open_one() -> None:
        gate = proxy.gate(Policy(()), (None,), lambda _: None)
        ours, theirs = socket.socketpair()
        peers.append(ours)
        gate.carry(0, theirs)

    threads = [threading.Thread(target=open_one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.close()
    for peer in peers:
        peer.settimeout(5)
        assert not everything(peer)
        peer.close()
    assert _ended()


def test_what_cannot_be_recorded_is_raised_where_the_attempt_ends_and_harms_no_other() -> None:
    def full(_: Connection) -> None:
        raise StoreError("the disk is full")

    proxy, reports = Proxy(), list[object]()
    broken, whole = proxy.gate(Policy(()), (None,), full), proxy.gate(Policy(()), (None,), reports.append)
    for gate in (broken, whole):
        ours, theirs = socket.socketpair()
        gate.carry(0, theirs)
        with ours:
            ours.settimeout(10)
            ours.sendall(ASK)
            assert ours.recv(100).startswith(b"HTTP/1.1 403")
    with pytest.raises(StoreError, match="full"):
        broken.close()
    broken.close()
    whole.close()
    assert len(reports) == 1
    proxy.close()


def test_a_file_of_authorities_that_is_none_ends_no_proxy(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    proxy, reports = Proxy(trust=tmp_path / "ca.pem"), list[object]()
    proxy.start(headers=True)
    assert proxy.authority.startswith(b"-----BEGIN CERTIFICATE-----")
    time.sleep(0.2)
    gate = proxy.gate(Policy(()), (None,), reports.append)
    ours, theirs = socket.socketpair()
    gate.carry(0, theirs)
    with ours:
        ours.settimeout(10)
        ours.sendall(ASK)
        assert everything(ours).startswith(b"HTTP/1.1 403")
    proxy.close()
    assert len(reports) == 1


def test_authorities_that_cannot_be_had_are_the_operators_to_correct(tmp_path: Path) -> None:
    with pytest.raises(PolicyDenied, match=r"gone\.pem: cannot be read") as caught:
        authorities(tmp_path / "gone.pem")
    assert "egress.ca" in caught.value.cure
    (tmp_path / "large.pem").write_bytes(b"-" * (1 << 20))
    with pytest.raises(PolicyDenied, match="larger than 1 MiB"):
        authorities(tmp_path / "large.pem")


def test_a_proxy_that_cannot_begin_leaves_no_step_waiting_and_says_why() -> None:
    code = """
import os, resource, socket
from runner.errors import SandboxError
from runner.sandbox.egress import desk, services
from runner.sandbox.egress.proxy import Proxy
from runner.sandbox.egress.rules import Policy
ours, theirs = socket.socketpair()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        os.open("/dev/null", os.O_RDONLY)
except OSError:
    pass
gate = Proxy().gate(Policy(()), (None,), print)
gate.carry(0, theirs)
assert ours.recv(1) == b""
try:
    gate.close()
except SandboxError as error:
    print(error)
gate.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Exception in thread" not in done.stderr
    assert done.stdout.startswith("the way out cannot begin: ")


def test_a_thousand_connections_fit_beside_the_usual_limit_of_files() -> None:
    code = """
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from runner.sandbox.egress.proxy import Proxy
from runner.sandbox.egress.rules import Policy
from runner.sandbox.egress.trust import authorities
proxy = Proxy()
gates = [proxy.gate(Policy(()), (None,), lambda _: None) for _ in range(8)]
peers = []
for gate in gates * 100:
    ours, theirs = socket.socketpair()
    gate.carry(0, theirs)
    peers.append(ours)
proxy.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
