"""Steps that try to get out: each prints HELD when the sandbox held, and ESCAPED when it did not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from conftest import Done, make_command, need

if TYPE_CHECKING:
    from pathlib import Path

SHELL = {
    "reads_password_hashes": "grep -q '^root:[^*!x]' /etc/shadow && echo ESCAPED || echo HELD",
    "writes_the_root_file_system": "echo x > /usr/planted && echo ESCAPED || echo HELD",
    "writes_etc_passwd": "echo 'r::0:0::/:/bin/sh' >> /etc/passwd && echo ESCAPED || echo HELD",
    "changes_its_input": "echo x > /in/planted && echo ESCAPED || echo HELD",
    "changes_a_mount": "echo x >> /app/data.txt && echo ESCAPED || echo HELD",
    "remounts_a_mount": "mount -o remount,rw /app && echo ESCAPED || echo HELD",
    "mounts_a_tmpfs": "mount -t tmpfs none /tmp && echo ESCAPED || echo HELD",
    "mounts_the_disk": "mount /dev/vda /tmp && echo ESCAPED || echo HELD",
    "makes_a_device": "mknod /tmp/disk b 254 0 && echo ESCAPED || echo HELD",
    "changes_root": "chroot /proc/1/root true && echo ESCAPED || echo HELD",
    "reads_the_keepers_memory": "head -c 1 /proc/1/mem && echo ESCAPED || echo HELD",
    "reads_the_keepers_wire": "ls /proc/1/fd/ 2>/dev/null | grep -q . && echo ESCAPED || echo HELD",
    "reads_the_keepers_environment": "head -c 1 /proc/1/environ 2>/dev/null | grep -q . && echo ESCAPED || echo HELD",
    "kills_its_keeper": "kill -9 1; sleep 0.1; echo HELD",
    "sees_host_processes": "[ $(ls /proc | grep -c '^[0-9]') -gt 12 ] && echo ESCAPED || echo HELD",
    "finds_a_network_device": "[ $(ls /sys/class/net 2>/dev/null | grep -vc '^lo$') -gt 0 ] && echo ESCAPED || "
    "{ grep -vE 'Inter|face|lo:' /proc/net/dev | grep -q : && echo ESCAPED || echo HELD; }",
    "connects_outside": "nc -w 2 1.1.1.1 80 </dev/null && echo ESCAPED || echo HELD",
    "asks_the_metadata_service": "wget -q -T 2 -O - http://169.254.169.254/ && echo ESCAPED || echo HELD",
    "connects_to_the_gateway": "nc -w 2 172.17.0.1 22 </dev/null && echo ESCAPED || echo HELD",
    "resolves_a_name": "nslookup example.com 2>/dev/null | grep -q 'Name:' && echo ESCAPED || echo HELD",
    "finds_the_engine_socket": "[ -e /var/run/docker.sock ] && echo ESCAPED || echo HELD",
    "becomes_root": "[ $(id -u) = 0 ] && echo ESCAPED || { su -c true && echo ESCAPED || echo HELD; }",
    "has_capabilities": "grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status | grep -qv 0000000000000000 && echo ESCAPED || echo HELD",
    "may_gain_privileges": "grep -q 'NoNewPrivs:.*1' /proc/self/status && echo HELD || echo ESCAPED",
    "runs_without_a_filter": "grep -q 'Seccomp:.*2' /proc/self/status && echo HELD || echo ESCAPED",
    "loads_a_kernel_module": "insmod /tmp/x.ko && echo ESCAPED || echo HELD",
    "changes_a_sysctl": "echo 1 > /proc/sys/kernel/panic && echo ESCAPED || echo HELD",
    "presses_sysrq": "echo h > /proc/sysrq-trigger && echo ESCAPED || echo HELD",
    "sets_the_clock": 'date -s 2001-01-01; [ "$(date +%Y)" = 2001 ] && echo ESCAPED || echo HELD',
    "changes_the_host_name": "hostname evil && echo ESCAPED || echo HELD",
    "makes_a_user_namespace": "unshare -U true && echo ESCAPED || echo HELD",
    "makes_a_mount_namespace": "unshare -m true && echo ESCAPED || echo HELD",
    "sets_a_setuid_bit_that_works": 'cp /bin/busybox /tmp/b && chmod 4755 /tmp/b; [ "$(/tmp/b id -u)" = 0 ] && echo ESCAPED || echo HELD',
    "raises_its_file_limit": "ulimit -n 1048576 && echo ESCAPED || echo HELD",
    "dumps_core": '[ "$(ulimit -c)" = 0 ] && echo HELD || echo ESCAPED',
    "overfills_work": "dd if=/dev/zero of=/work/big bs=1M count=64 && echo ESCAPED || echo HELD",
    "overfills_tmp": "dd if=/dev/zero of=/tmp/big bs=1M count=64 && echo ESCAPED || echo HELD",
    "overfills_shared_memory": "dd if=/dev/zero of=/dev/shm/big bs=1M count=64 && echo ESCAPED || echo HELD",
    "reads_kernel_memory": "head -c 1 /dev/mem && echo ESCAPED || head -c 1 /proc/kcore && echo ESCAPED || echo HELD",
    "finds_a_hidden_file_in_a_mount": "[ -e /app/.env ] && echo ESCAPED || echo HELD",
    "writes_secrets": "echo x > /run/secrets/new 2>/dev/null; [ -s /run/secrets/TOKEN ] && echo ESCAPED || echo HELD",
}
FATAL = {
    "eats_memory": ("[sh, -c, 'x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done']", ("out-of-memory", "exit")),
    "never_ends": ("[sh, -c, 'trap \"\" TERM INT HUP; while :; do sleep 1; done']", ("timeout",)),
    "forks_without_end": (
        "[sh, -c, 'f() { f | f & }; f; sleep 30; echo ESCAPED']",
        ("timeout", "exit", "out-of-memory"),
    ),
    "floods_the_log": ("[sh, -c, 'yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']", ("log-limit",)),
    "forges_its_exit": (
        "[sh, -c, 'printf \"Z\\\\0\\\\0\\\\0\\\\5\\\\0\\\\0\\\\0\\\\0\\\\0\"; exit 3']",
        ("exit",),
    ),
    "overfills_out": (
        "[sh, -c, 'dd if=/dev/zero of=/out/big bs=1M count=64 || exit 9']",
        ("exit", "output-limit"),
    ),
    "forges_the_keepers_wire": (
        "[sh, -c, 'printf \"Z\\0\\0\\0\\5\\0\\0\\0\\0\\0\" > /proc/1/fd/1; exit 3']",
        ("exit",),
    ),
    "does_not_exist": ("[/no/such/program]", ("exit",)),
    "kills_everything": ("[sh, -c, 'kill -9 -1']", ("exit",)),
}
GVISORS_OWN = {
    "makes_a_device": "a device node of its own kernel opens no device of the host",
    "reads_the_keepers_wire": "/proc/1/fd lists; what is written there cannot forge an exit (see below)",
    "reads_the_keepers_environment": "PID 1 has no secret in its environment",
    "kills_its_keeper": "killing PID 1 ends the step, with status 137 and reason exit",
    "may_gain_privileges": "its /proc does not show the flag",
    "runs_without_a_filter": "its /proc does not show the filter: the sentry itself runs under one",
    "makes_a_user_namespace": "a namespace of its own kernel, not of the host's",
}
"""What gVisor answers differently: its own kernel stands between the step and the host."""
LIMITS = "{memory: 64MiB, pids: 32, files: 256, tmp: 4MiB, shm: 1MiB, work: 4MiB, output: 4MiB, log: 1MiB}"


@pytest.fixture(scope="module", params=("docker", "bubblewrap", "gvisor"))
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    need(request.param)
    command = make_command(tmp_path_factory.mktemp("hostile"))
    (command.project / "app").mkdir()
    (command.project / "app" / "data.txt").write_text("data")
    (command.project / "app" / ".env").write_text("TOKEN=hidden")
    lines = [
        "name: hostile",
        f"defaults: {{timeout: 20s, mounts: ['./app:/app'], resources: {LIMITS}}}",
        "steps:",
    ]
    for name, script in SHELL.items():
        lines += [f"  {name}:", f"    run: {json.dumps(['sh', '-c', script])}", "    continue-on-error: true"]
    for name, (run, _) in FATAL.items():
        lines += [
            f"  {name}:",
            f"    run: {run}",
            "    timeout: 4s",
            "    grace: 1s",
            "    continue-on-error: true",
        ]
    done = command.run("\n".join(lines), request.param, seconds=280)
    logs = command("logs", "latest").out
    (command.project / "logs").write_text(logs)
    return done, command.project


@pytest.mark.parametrize("name", SHELL)
def test_a_step_that_tries_to_get_out_is_held(name: str, attacked: tuple[Done, Path]) -> None:
    done, project = attacked
    if done.report["engine"] == "gvisor" and name in GVISORS_OWN:
        pytest.skip(GVISORS_OWN[name])
    step = done.report["steps"][name]
    wrote = [line for line in done.err.splitlines() if line.startswith(f"{name} | ")]
    assert step["status"] == "succeeded", (step, wrote)
    assert f"{name} | HELD" in wrote
    assert f"{name} | ESCAPED" not in wrote
    assert "HELD" in (project / "logs").read_text()


@pytest.mark.parametrize("name", FATAL)
def test_a_step_that_breaks_a_limit_is_stopped_and_the_limit_is_named(
    name: str, attacked: tuple[Done, Path]
) -> None:
    done, _ = attacked
    step = done.report["steps"][name]
    assert step["status"] == "failed"
    assert step["reason"] in FATAL[name][1]
    assert f"{name} | ESCAPED" not in done.err
    assert step["exit_code"] != 0
