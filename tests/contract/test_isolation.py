"""What every engine that really isolates promises, seen from inside a step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contract_bench import LIMITS, MIB, STATE, Order

from runner.sandbox.attempt_folder import unmount
from runner.sandbox.base import Mount, SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract_bench import Bench

    from runner.sandbox.base import Sandbox

SECRET = SecretValue("API_TOKEN", b"s3cr3t-value")


def test_both_streams_arrive_byte_for_byte(real: Bench) -> None:
    result = real.shell("printf 'out\\001\\n'; printf 'err\\n' >&2; head -c 300000 /dev/zero | tr '\\0' x")
    assert result.stdout == "out\x01\n" + "x" * 300000
    assert result.stderr == "err\n"


def test_a_signal_is_128_and_its_number(real: Bench) -> None:
    ended = real.shell("kill -SEGV $$").exit
    assert (ended.code, ended.reason) == (139, "exit")
    assert "SIGSEGV" in ended.detail


def test_a_timeout_sends_term_first_then_kill(real: Bench) -> None:
    polite = real.shell("trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done", Order(seconds=0.5))
    assert polite.stdout == "bye\n"
    assert (polite.exit.code, polite.exit.reason) == (124, "timeout")
    began = time.monotonic()
    stubborn = real.shell("trap '' TERM; while :; do sleep 0.1; done", Order(seconds=0.5, grace=0.5))
    assert (stubborn.exit.code, stubborn.exit.reason) == (124, "timeout")
    assert time.monotonic() - began < 20


def test_a_step_that_ignores_term_is_killed_after_the_grace(real: Bench) -> None:
    def stop(sandbox: Sandbox) -> None:
        time.sleep(0.3)
        sandbox.stop(grace=0.5)

    began = time.monotonic()
    ended = real.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", then=stop).exit
    assert ended.code == 137
    assert time.monotonic() - began < 20


def test_orphans_die_with_the_step(real: Bench) -> None:
    began = time.monotonic()
    result = real.shell("(setsid sleep 60 &) ; setsid sleep 61 & echo done")
    assert result.stdout == "done\n"
    assert result.exit.code == 0
    assert time.monotonic() - began < 20


def test_memory_has_a_limit(real: Bench) -> None:
    if real.driver.name == "gvisor":
        pytest.skip("gVisor's sentry is killed as a whole; the engine reports its code alone")
    hog = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    ended = real.shell(hog, Order(limits=replace(LIMITS, memory=32 * MIB))).exit
    assert (ended.code, ended.reason) == (137, "out-of-memory")


def test_processes_have_a_limit(real: Bench) -> None:
    if real.driver.name == "gvisor":
        pytest.skip("gVisor's processes are threads of its sentry: the engine's limit counts those")
    script = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo started $i"
    result = real.shell(script, Order(limits=replace(LIMITS, pids=16), seconds=20))
    assert "fork" in result.stderr
    assert "started 60" not in result.stdout


def test_open_files_have_a_limit_and_cores_are_off(real: Bench) -> None:
    assert real.shell("ulimit -n; ulimit -c").stdout.split() == ["64", "0"]


def test_scratch_space_has_limits(real: Bench) -> None:
    if real.driver.name == "gvisor":
        pytest.skip("runsc of this age does not keep a tmpfs to its size")
    places = "/work /tmp /dev/shm"
    result = real.shell(f"for p in {places}; do head -c 6000000 /dev/zero > $p/big && echo $p; done; true")
    assert result.stdout == ""
    assert result.stderr.count("head: ") == 3


def test_output_over_its_limit_ends_the_step(real: Bench) -> None:
    order = Order(limits=replace(LIMITS, output=MIB))
    ended = real.shell("head -c 3000000 /dev/zero > /out/big", order).exit
    assert ended.reason == "output-limit"


def test_output_on_disk_is_watched(real: Bench) -> None:
    limits = replace(LIMITS, output=257 * MIB, memory=128 * MIB)
    script = "head -c 280000000 /dev/zero > /out/big; sleep 50"
    began = time.monotonic()
    ended = real.shell(script, Order(limits=limits)).exit
    assert ended.reason == "output-limit"
    assert time.monotonic() - began < 40


def test_the_root_file_system_is_read_only(real: Bench) -> None:
    result = real.shell("for p in / /bin /etc /in /.runner; do touch $p/x 2>/dev/null && echo $p; done; true")
    assert result.stdout == ""


def test_the_step_is_not_root_and_has_no_capability(real: Bench) -> None:
    result = real.shell("id -u; id -g; grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | sort -u")
    uid, gid, *capabilities = result.stdout.split()
    assert (uid, gid) == ("10001", "10001")
    assert capabilities == ["0000000000000000"]


def test_no_new_privileges_and_a_system_call_filter(real: Bench) -> None:
    if real.driver.name == "gvisor":
        pytest.skip("gVisor's own kernel answers system calls and shows no filter")
    result = real.shell("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2")
    assert result.stdout.split() == ["1", "2"]


def test_there_is_no_network_but_loopback(real: Bench) -> None:
    result = real.shell("tail -n +3 /proc/net/dev | cut -d: -f1; wget -T 2 -q -O - http://1.1.1.1/ 2>&1")
    assert result.stdout.split()[0] == "lo"
    assert "lo" not in result.stdout.split()[1:]
    assert "eth0" not in result.stdout
    assert result.exit.code != 0


def test_a_secret_is_a_private_file_and_not_in_the_environment(real: Bench) -> None:
    script = "cat /run/secrets/API_TOKEN; echo; stat -c %a /run/secrets/API_TOKEN; env"
    result = real.shell(script, Order(secrets=(SECRET,)))
    value, mode, *environment = result.stdout.splitlines()
    assert (value, mode) == ("s3cr3t-value", "400")
    assert not [line for line in environment if "s3cr3t" in line]


def test_a_secret_is_in_the_environment_on_request(real: Bench) -> None:
    order = Order(secrets=(replace(SECRET, as_env=True),))
    assert real.shell('echo "$API_TOKEN"', order).stdout == "s3cr3t-value\n"


def test_a_secret_shows_nowhere_on_the_host(real: Bench) -> None:
    def look(sandbox: Sandbox) -> None:
        del sandbox
        time.sleep(0.3)
        commands = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
        assert "s3cr3t-value" not in commands
        files = [found for found in real.home.rglob("*") if found.is_file()]
        assert not [found for found in files if b"s3cr3t-value" in found.read_bytes()]

    assert real.run("sleep", "1", order=Order(secrets=(SECRET,)), then=look).exit.code == 0


def test_the_environment_is_what_was_asked_for(real: Bench) -> None:
    result = real.shell(
        "env | cut -d= -f1 | grep -vE '^(SHLVL|PWD|_|OLDPWD)$' | sort", Order(env={"MONTH": "x"})
    )
    assert result.stdout.split() == ["HOME", "MONTH", "PATH", "TMPDIR"]


def test_standard_input_is_empty(real: Bench) -> None:
    assert real.shell("wc -c").stdout.strip() == "0"


def test_only_plain_files_are_collected(real: Bench) -> None:
    script = (
        "cd /out; echo x > good; ln -s /etc/passwd link; mkfifo pipe; echo y > one; ln one two; "
        "mknod dev c 1 3 2>/dev/null; ln -s /etc folder; true"
    )
    result = real.shell(script)
    assert [found.name for found in result.collection.files] == ["good"]
    words = "\n".join(result.collection.refused)
    for name in ("link", "folder"):
        assert f"{name}: is a symbolic link" in words
    if real.driver.name != "gvisor":  # gVisor lets no pipe be made on a folder of the host
        assert "pipe: is a named pipe" in words
    assert "one: has 2 hard links" in words


def test_what_is_collected_belongs_to_whoever_runs_us(real: Bench) -> None:
    found = real.shell("echo x > /out/a; chmod 777 /out/a").collection.files[0]
    state = found.path.stat()
    assert state.st_uid == Path.home().stat().st_uid
    assert state.st_mode & 0o7777 == 0o600


def test_the_host_s_files_are_out_of_reach(real: Bench) -> None:
    script = "cat /etc/shadow /proc/1/root/etc/shadow; ls /home /root /var; true"
    if real.driver.name != "gvisor":  # its own kernel protects no PID 1, whose environment is empty
        script = f"cat /proc/1/environ; kill -9 1; {script}"
    result = real.shell(script)
    assert result.stdout == ""
    assert result.exit.code == 0


def test_two_sandboxes_never_share_scratch(real: Bench) -> None:
    places = "/tmp /work /dev/shm /run/secrets /out"
    real.shell(f"for p in {places}; do echo mine > $p/left; done")
    second = real.shell(f"for p in {places}; do ls -A $p; done")
    assert second.stdout == ""


def test_mounts_are_read_only_at_their_target(real: Bench, tmp_path: Path) -> None:
    if real.driver.name != "bubblewrap":
        pytest.skip("Docker's engine makes any target itself; its request has golden tests")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "a.txt").write_text("content")
    for target in ("/app", "/etc/deep/er"):
        spec = replace(real.spec(), mounts=(Mount(scripts, target, "sha256:x"),))
        sandbox = real.driver.create(spec)
        try:
            script = f"cat {target}/a.txt; touch {target}/b || echo refused"
            sandbox.start(real.message(("sh", "-c", script), Order()))
            assert b"".join(c.data for c in sandbox.logs() if c.stream == "stdout") == b"contentrefused\n"
        finally:
            sandbox.destroy()


def test_nothing_is_left_after_the_end(real: Bench) -> None:
    real.shell("echo x > /out/a")
    real.driver.close()
    assert str(real.home) not in Path("/proc/self/mountinfo").read_text()
    assert not [found for found in Path("/sys/fs/cgroup").glob(f"*/**/runner-{STATE[:8]}*") if found.is_dir()]
    assert real.driver.reap(frozenset().__contains__) == ()
    left = [found.name for found in (real.home / "runs" / "contract").glob("*/*")]
    assert left == ["collected"]


_RUNNER = """
import sys
from pathlib import Path
from contract_bench import Bench, Order
from runner.sandbox.base import Image
from runner.sandbox.bubblewrap.driver import BubblewrapDriver
home, rootfs = map(Path, sys.argv[1:3])
driver = BubblewrapDriver(state="deadman0")
bench = Bench(driver, Image("busybox", "sha256:x", rootfs), home)
sandbox = driver.create(bench.spec())
sandbox.start(bench.message(("sleep", sys.argv[3]), Order(seconds=9000)))
print("running", flush=True)
sandbox.wait()
"""


def test_everything_dies_with_the_runner(rootfs: Path, tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    path = f"{here}:{here.parent.parent}"
    seconds = f"7654.{os.getpid()}"
    runner = subprocess.Popen(
        [sys.executable, "-c", _RUNNER, str(tmp_path), str(rootfs), seconds],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
    )
    try:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"running\n"
        assert _until(lambda: _running(seconds))
    finally:
        runner.kill()
        runner.communicate()
    assert _until(lambda: not _running(seconds))
    from runner.sandbox.bubblewrap.driver import BubblewrapDriver

    driver = BubblewrapDriver(state="deadman0")
    assert len(driver.reap(frozenset({"another"}).__contains__)) >= 1
    driver.close()
    list(map(unmount, tmp_path.glob("runs/*/*/out")))
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def _until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


def _running(seconds: str) -> bool:
    wanted = b"sleep\0" + seconds.encode() + b"\0"
    for place in list(Path("/proc").glob("[0-9]*/cmdline")):
        try:
            if place.read_bytes() == wanted:
                return True
        except OSError:  # it ended while we looked
            continue
    return False
