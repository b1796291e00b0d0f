"""What every driver promises of the connections that it carries out of a sandbox without a network."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from carriers import PIECE, Serving, deny, download, echo, upper
from contract_bench import LIMITS, MIB, Order

from runner.errors import OutletImpossible
from runner.sandbox.base import Mount, Outlet

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from contract_bench import Bench

HERE = Outlet("127.0.0.1", 4000)
PROXY = Outlet("127.0.0.1", 3128)
DATABASE = Outlet("127.0.0.2", 5432, "db.example")
SECURE = Outlet("127.0.0.3", 443, "api.example")


def order(carrier: Serving, *outlets: Outlet) -> Order:
    many = replace(LIMITS, pids=400, memory=512 * MIB, files=1024)
    return Order(limits=many, outlets=outlets or (HERE,), carrier=carrier)


def test_what_a_step_sends_to_an_outlet_comes_to_the_carrier_and_back(bench: Bench) -> None:
    carrier = Serving(echo)
    result = bench.run("send", "4000", "hello out there", order=order(carrier))
    assert (result.stdout, result.exit.code) == ("hello out there", 0)
    carrier.finish()
    assert (carrier.numbers, carrier.errors) == ([0], [])


def test_a_port_that_is_no_outlet_refuses(bench: Bench) -> None:
    assert bench.run("send", "4001", "hello", order=order(Serving(echo))).exit.code == 1


def test_without_outlets_nothing_listens(real: Bench) -> None:
    script = "nc 127.0.0.1 4000 </dev/null || nc 127.0.0.1 3128 </dev/null || ls /.runner"
    result = real.shell(script)
    assert result.stdout == "init\n"
    assert result.stderr.count("refused") == 2


def test_each_outlet_is_told_apart_and_accepts_before_the_first_instruction(real: Bench) -> None:
    carrier = Serving(echo)
    script = "for port in 4002 4001 4000; do echo $port | nc 127.0.0.1 $port; done"
    three = [Outlet("127.0.0.1", port) for port in (4000, 4001, 4002)]
    assert real.shell(script, order(carrier, *three)).stdout == "4002\n4001\n4000\n"
    assert carrier.numbers == [2, 1, 0]


def test_a_hundred_connections_at_once_are_carried(real: Bench) -> None:
    together = threading.Barrier(100)

    def serve(connection: socket.socket) -> None:
        together.wait(30)
        echo(connection)

    carrier = Serving(serve)
    script = "for i in $(seq 100); do echo $i >/tmp/$i; nc 127.0.0.1 4000 </tmp/$i & done; wait"
    result = real.shell(script, order(carrier))
    said = result.stdout
    assert (result.exit.code, result.stderr) == (0, "")
    assert sorted(map(int, said.split())) == list(range(1, 101))
    carrier.finish()


def test_a_step_may_say_all_before_it_is_answered(real: Bench) -> None:
    carrier = Serving(upper)
    script = "(echo one; sleep 0.2; echo two) | nc 127.0.0.1 4000"
    assert real.shell(script, order(carrier)).stdout == "ONE\nTWO\n"


def test_what_a_step_sent_just_before_its_end_arrives(real: Bench) -> None:
    got: list[int] = []

    def serve(connection: socket.socket) -> None:
        time.sleep(0.3)
        with connection.makefile("rb") as said:
            got.append(len(said.read()))

    carrier = Serving(serve)
    assert real.shell("head -c 700000 /dev/zero | nc 127.0.0.1 4000", order(carrier)).exit.code == 0
    carrier.finish()
    assert got == [700000]


def test_a_connection_that_the_step_breaks_ends_for_the_carrier(real: Bench) -> None:
    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(PIECE)

    carrier = Serving(serve)
    script = (
        "mkfifo /tmp/unread; sleep 20 </tmp/unread & "
        "nc 127.0.0.1 4000 </dev/null >/tmp/unread & sleep 0.3; kill -9 $!; sleep 0.5; echo still here"
    )
    assert real.shell(script, order(carrier)).stdout == "still here\n"
    carrier.finish()
    assert isinstance(carrier.errors[0], ConnectionError)


def test_a_connection_that_the_carrier_breaks_ends_for_the_step(real: Bench) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)  # and closes with the rest unread

    script = "timeout 10 nc 127.0.0.1 4000 </dev/zero; echo ended $?"
    said = real.shell(script, order(Serving(serve))).stdout
    assert said.startswith("ended ")
    assert said != "ended 143\n"


def test_a_large_download_arrives_whole(real: Bench) -> None:
    pieces = 100 * MIB // len(PIECE)
    result = real.shell("nc 127.0.0.1 4000 </dev/null | sha256sum", order(Serving(download(pieces))))
    assert result.stdout.split()[0] == hashlib.sha256(PIECE * pieces).hexdigest()


def test_a_large_upload_arrives_whole(real: Bench) -> None:
    seen = hashlib.sha256()

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(1 << 16):
            seen.update(data)

    carrier = Serving(serve)
    script = f"yes 0123456789abcdef | head -c {20 * MIB} | nc 127.0.0.1 4000"
    assert real.shell(script, order(carrier)).exit.code == 0
    carrier.finish()
    whole = (b"0123456789abcdef\n" * (20 * MIB // 17 + 1))[: 20 * MIB]
    assert seen.hexdigest() == hashlib.sha256(whole).hexdigest()


def test_one_that_never_reads_holds_up_nobody(real: Bench) -> None:
    """A step leaves a download unread, while another is fast, logs flow, and the step's end is not late."""
    pieces = 10 * MIB // len(PIECE)
    script = (
        "nc 127.0.0.1 4000 </dev/null | sleep 60 & "
        "seq 200000 & "
        "nc 127.0.0.1 4000 </dev/null | wc -c >/tmp/size; "
        "wait $!; cat /tmp/size; echo done"
    )
    began = time.monotonic()
    result = real.shell(script, order(Serving(download(pieces))))
    lines = result.stdout.split()
    assert lines[-2:] == [str(10 * MIB), "done"]
    assert len(lines) == 200002
    assert time.monotonic() - began < 25


def test_a_carrier_that_never_reads_holds_up_nobody(real: Bench) -> None:
    over = threading.Event()
    first = threading.Lock()

    def serve(connection: socket.socket) -> None:
        if first.acquire(blocking=False):
            over.wait(30)
        else:
            echo(connection)

    carrier = Serving(serve)
    script = "nc 127.0.0.1 4000 </dev/zero & sleep 0.3; seq 200000; echo quick | nc 127.0.0.1 4000"
    began = time.monotonic()
    result = real.shell(script, order(carrier))
    over.set()
    assert result.stdout.endswith("quick\n")
    assert (result.exit.code, result.exit.reason) == (0, None)
    assert time.monotonic() - began < 25
    carrier.finish()


def test_a_host_s_name_leads_to_its_outlet_on_any_port(real: Bench) -> None:
    carrier = Serving(echo)
    script = "echo a | nc db.example 5432; echo b | nc api.example 443; echo c | nc localhost 4000"
    assert real.shell(script, order(carrier, DATABASE, SECURE, HERE)).stdout == "a\nb\nc\n"
    assert carrier.numbers == [0, 1, 2]


def test_the_names_cannot_be_covered_by_a_mount(real: Bench, tmp_path: Path) -> None:
    source = tmp_path / "hosts"
    source.write_text("127.0.0.1 db.example\n")
    spec = replace(real.spec(outlets=(DATABASE,)), mounts=(Mount(source, "/etc/hosts", "sha256:0"),))
    with pytest.raises(OutletImpossible, match="/etc/hosts"):
        real.driver.create(spec)
    assert not (spec.directory / "hosts").exists()


def test_the_proxy_is_asked_before_the_step_begins(real: Bench) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    result = real.shell("echo ran", order(Serving(serve), PROXY))
    assert (result.stdout, result.exit.code) == ("ran\n", 0)
    assert [one.split(b"\r\n")[0] for one in asked] == [b"CONNECT canary.runner.invalid:443 HTTP/1.1"]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"", b"HTTP/1.1 4"])
def test_a_proxy_that_does_not_refuse_ends_the_attempt_for_good(real: Bench, answer: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    result = real.shell("echo ran", order(Serving(serve), PROXY))
    assert result.stdout == ""
    assert (result.exit.reason, result.exit.refused) == ("infra", True)
    assert "the step was not run" in result.exit.detail
    assert "proxy" in result.exit.detail


def test_nothing_is_left_of_a_way_out(real: Bench) -> None:
    before = threading.active_count()
    for script in ("true", "sleep 30"):
        spec = real.spec(outlets=(HERE, DATABASE))
        sandbox = real.driver.create(spec)
        sandbox.start(real.message(("sh", "-c", script), Order()), Serving(echo))
        if script == "true":
            assert sandbox.wait().code == 0
        sandbox.destroy()
        left = {one.name for one in spec.directory.iterdir()}
        assert left <= {"collected"}
    until = time.monotonic() + 10
    while threading.active_count() > before + 4 and time.monotonic() < until:
        time.sleep(0.05)
    assert not [one for one in threading.enumerate() if one.name in {"outlets", "streams"}]


def test_sandboxes_have_the_same_outlets_one_after_the_other(real: Bench) -> None:
    for number in range(3):
        carrier = Serving(deny if number == 1 else echo)
        spec = real.spec(outlets=(HERE,))
        sandbox = real.driver.create(spec)
        try:
            sandbox.start(real.message(("sh", "-c", "echo x | nc 127.0.0.1 4000"), Order()), carrier)
            said = b"".join(bytes(chunk.data) for chunk in sandbox.logs())
            assert sandbox.wait().code == 0
        finally:
            sandbox.destroy()
        assert said.startswith(b"HTTP/1.1 403" if number == 1 else b"x\n")


def test_where_the_socket_cannot_be_reached_connections_go_by_the_wire(native: Bench) -> None:
    carrier = Serving(echo)
    spec = replace(native.spec(outlets=(HERE,)), limits=order(carrier).limits)
    sandbox = native.driver.create(spec)
    try:
        (spec.directory / "carrier").chmod(0)
        script = f"head -c {4 * MIB} /dev/zero | nc 127.0.0.1 4000 | wc -c"
        sandbox.start(native.message(("sh", "-c", script), Order()), carrier)
        said = b"".join(bytes(chunk.data) for chunk in sandbox.logs())
        assert "streams" in {one.name for one in threading.enumerate()}
        assert (said.split(), sandbox.wait().code) == ([b"%d" % (4 * MIB)], 0)
    finally:
        sandbox.destroy()
    carrier.finish()
