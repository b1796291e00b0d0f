"""Steps that try to break the way out, or to make it cost the runner more than it may."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from carriers import PIECE, Serving, echo
from contract_bench import LIMITS, MIB, STATE, Bench, Order

from runner.errors import OutletImpossible
from runner.sandbox.attempt_folder import remove_left_behind
from runner.sandbox.base import Image, Outlet
from runner.sandbox.bubblewrap.driver import HOST, BubblewrapDriver

if TYPE_CHECKING:
    import socket

HERE = Outlet("127.0.0.1", 4000)
MANY = replace(LIMITS, pids=120, memory=512 * MIB, files=1024, cpus=2)
MOST = 256


def order(carrier: Serving, files: int = 1024) -> Order:
    return Order(limits=replace(MANY, files=files), outlets=(HERE,), carrier=carrier)


def test_opening_and_breaking_without_end_leaves_a_way_that_works(real: Bench) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(PIECE)
        echo(connection)

    carrier = Serving(serve)
    script = """
        mkfifo /tmp/unread; sleep 60 </tmp/unread & sleep 0.1
        for i in $(seq 30); do nc 127.0.0.1 4000 </dev/zero >/dev/null & all="$all $!"; done
        for i in $(seq 30); do nc 127.0.0.1 4000 </dev/zero >/tmp/unread & all="$all $!"; done
        sleep 1; kill -9 $all; sleep 0.3
        echo last | nc 127.0.0.1 4000 | tail -c 5"""
    result = real.shell(script, order(carrier))
    assert result.stdout.endswith("last\n")
    assert result.exit.code == 0
    carrier.finish()


def test_a_flood_of_logs_holds_up_no_connection(real: Bench) -> None:
    spec = replace(real.spec(outlets=(HERE,)), limits=MANY)
    sandbox = real.driver.create(spec)
    try:
        script = (
            "cat /dev/zero & flood=$!; sleep 0.5; echo quick | nc 127.0.0.1 4000 >/out/answer; kill $flood"
        )
        sandbox.start(real.message(("sh", "-c", script), Order(seconds=40)), Serving(echo))
        assert sum(len(chunk.data) for chunk in sandbox.logs()) > MIB
        assert sandbox.wait().reason is None
        assert sandbox.collect(["answer"]).files[0].path.read_bytes() == b"quick\n"
    finally:
        sandbox.destroy()


def test_no_more_than_so_many_connections_are_carried_at_once(rootfs: Path, tmp_path: Path) -> None:
    """More wait in the sandbox's own kernel, and cost the runner nothing."""
    held = threading.Event()
    at_once = [0, 0]
    lock = threading.Lock()

    def serve(connection: socket.socket) -> None:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        held.wait(20)
        echo(connection)
        with lock:
            at_once[0] -= 1

    carrier = Serving(serve)
    driver = BubblewrapDriver(state=STATE)
    bench = Bench(driver, Image("busybox", "sha256:b", rootfs), tmp_path)
    threading.Timer(4, held.set).start()
    script = "for i in $(seq 300); do echo $i >/tmp/$i; nc 127.0.0.1 4000 </tmp/$i & done; wait"
    limits = replace(MANY, pids=400, tmp=16 * MIB)
    result = bench.shell(script, replace(order(carrier), limits=limits))
    driver.close()
    assert len(result.stdout.split()) == 300
    assert at_once[1] == MOST
    carrier.finish()


def test_few_descriptors_mean_few_connections_and_no_failure(real: Bench) -> None:
    def serve(connection: socket.socket) -> None:
        time.sleep(0.1)
        echo(connection)

    carrier = Serving(serve)
    script = "for i in $(seq 60); do echo $i >/tmp/$i; nc 127.0.0.1 4000 </tmp/$i & done; wait"
    said = real.shell(script, order(carrier, files=40)).stdout
    assert sorted(map(int, said.split())) == list(range(1, 61))
    carrier.finish()


def test_neither_threads_nor_descriptors_stay_behind(real: Bench) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count

    real.shell("true", order(Serving(echo)))
    before, threads = count(), threading.active_count()
    for _ in range(3):
        carrier = Serving(echo)
        real.shell(
            "for i in 1 2 3 4; do nc 127.0.0.1 4000 </dev/zero >/dev/null & done; sleep 0.3", order(carrier)
        )
        carrier.finish()
    until = time.monotonic() + 10
    while (count() > before + 4 or threading.active_count() > threads) and time.monotonic() < until:
        time.sleep(0.05)
    assert count() <= before + 4  # one to the engine for each in the pool that removes containers
    assert threading.active_count() <= threads + 4


def test_a_low_port_needs_root_under_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    bench = Bench(BubblewrapDriver(state=STATE), Image("host", HOST), tmp_path)
    spec = bench.spec(outlets=(Outlet("127.0.0.2", 443, "api.example"),))
    with pytest.raises(OutletImpossible, match="port 443 without root"):
        bench.driver.create(spec)
    assert not spec.directory.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from contract_bench import Bench, Order, STATE
from carriers import Serving, echo
from runner.sandbox.base import Image, Outlet
from runner.sandbox.bubblewrap.driver import BubblewrapDriver
home = Path(sys.argv[1])
bench = Bench(BubblewrapDriver(state=STATE), Image("busybox", "sha256:b", Path(sys.argv[2])), home)
spec = bench.spec(outlets=(Outlet("127.0.0.1", 4000), Outlet("127.0.0.2", 5432, "db.example")))
sandbox = bench.driver.create(spec)
sandbox.start(bench.message(("sh", "-c", "nc 127.0.0.1 4000; sleep 99"), Order()), Serving(echo))
print(sandbox._parts.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_runner_leaves_a_dead_sandbox_and_files_that_are_swept(rootfs: Path, tmp_path: Path) -> None:
    attempts = tmp_path / "runs" / "contract" / "attempts.0"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(rootfs)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    until = time.monotonic() + 10
    while Path(f"/proc/{int(done.stdout)}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{int(done.stdout)}").exists()
    attempts.mkdir()
    (attempts.parent / "1").rename(attempts / "1")
    assert (attempts / "1" / "carrier").is_socket()
    assert remove_left_behind(tmp_path / "runs", frozenset().__contains__) == [str(attempts)]
    assert not attempts.exists()


PYTHON = Path("/usr/bin/python3")
KNOCK = """
import socket, os
s = socket.socket(socket.AF_UNIX)
try:
    s.connect("/.runner/carrier"); print("REACHED")
except OSError as error:
    print(type(error).__name__)
for path in ("/.runner/carrier", "/etc/hosts"):
    for attack in (os.unlink, lambda p: os.rename(p, "/tmp/x"), lambda p: os.chmod(p, 0o777), lambda p: open(p, "w")):
        try:
            attack(path); print("CHANGED", path)
        except OSError:
            pass
l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try:
    l.bind(("127.0.0.1", 4000)); l.listen(); print("STOLEN")
except OSError:
    print("held")
"""


def test_a_step_can_neither_reach_the_runner_s_socket_nor_take_an_outlet(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("no python3 among the host's system folders")
    driver = BubblewrapDriver(state=STATE)
    bench = Bench(driver, Image("host", HOST), tmp_path)
    named = Outlet("127.0.0.2", 5432, "db.example")
    carried = Order(limits=MANY, outlets=(HERE, named), carrier=Serving(echo))
    result = bench.run(str(PYTHON), "-c", KNOCK, order=carried)
    driver.close()
    assert result.stdout == "ConnectionRefusedError\nheld\n"
