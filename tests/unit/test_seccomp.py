"""The system call policy under a real kernel: what must fail fails, what must work works."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from static_busybox import find_busybox

from runner.errors import SandboxError
from runner.sandbox import seccomp
from runner.sandbox.bubblewrap.driver import find_bwrap

BWRAP = str(find_bwrap())
MACHINE = platform.machine()
CALLS = json.loads((seccomp._folder() / f"syscalls-{MACHINE}.json").read_text())

PROBE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
arguments = [ctypes.c_long(int(a)) for a in sys.argv[1:]]
print(-ctypes.get_errno() if libc.syscall(*arguments) == -1 else "done")
"""


def _sandboxed(*command: str) -> subprocess.CompletedProcess[str]:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(seccomp.bpf_program(MACHINE))
    bwrap = [BWRAP, "--unshare-all", "--unshare-user", "--uid", "10001", "--gid", "10001"]
    bwrap += ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"]
    bwrap += ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    bwrap += ["--chdir", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--seccomp", str(read), *command]
    try:
        return subprocess.run(
            bwrap,
            pass_fds=[read],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    finally:
        os.close(read)


def _call(number: int, *arguments: int) -> str:
    ran = _sandboxed("/usr/bin/python3", "-c", PROBE, *map(str, (number, *arguments)))
    return ran.stdout.strip() or f"killed: {ran.returncode} {ran.stderr}"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("io_uring_setup", (1, 0)),
        ("io_uring_enter", (0,)),
        ("io_uring_register", (0,)),
        ("keyctl", (0, 0)),
        ("add_key", (0,)),
        ("request_key", (0,)),
        ("ptrace", (0,)),
        ("process_vm_readv", (1,)),
        ("process_vm_writev", (1,)),
        ("userfaultfd", (0,)),
        ("bpf", (0,)),
        ("perf_event_open", (0,)),
        ("mount", (0,)),
        ("setns", (0,)),
        ("unshare", (0x10000000,)),
        ("unshare", (0x00020000,)),
        ("clone", (0x10000011, 0)),
        ("clone", (0x40000011, 0)),
        ("socket", (40, 1, 0)),
        ("socket", (40 + (1 << 32), 1, 0)),
        ("socket", (38, 5, 0)),
        ("socket", (17, 3, 0)),
        ("ioctl", (0, 0x5412, 0)),
        ("ioctl", (0, 0x5412 + (1 << 32), 0)),
        ("ioctl", (0, 0x541C, 0)),
        ("personality", (0x0040000,)),
    ],
)
def test_a_dangerous_call_is_not_permitted(name: str, arguments: tuple[int, ...]) -> None:
    assert _call(CALLS[name], *arguments) == "-1"


def test_calls_that_libraries_probe_seem_not_to_exist() -> None:
    assert _call(CALLS["clone3"], 0, 0) == "-38"
    assert _call(CALLS["statmount"], 0, 0) == "-38"
    assert _call(max(CALLS.values()) + 7) == "-38"


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is of x86-64 only")
def test_a_call_by_the_x32_table_kills() -> None:
    assert _call(0x40000000 + CALLS["getpid"]).startswith("killed: ")


@pytest.mark.parametrize("request_", [0x5401, 0x5413, 0x541B, 0x5411, 0xFFFFFFFF, 0x15412, 0x5410])
def test_other_terminal_requests_reach_the_kernel(request_: int) -> None:
    assert _call(CALLS["ioctl"], 0, request_, 0) != "-1"


@pytest.mark.parametrize("family", [1, 2, 10, 16])
def test_ordinary_sockets_work(family: int) -> None:
    assert _call(CALLS["socket"], family, 2, 0) == "done"


THREADS = """
import ctypes, json, socket, subprocess, tempfile, threading
thread = threading.Thread(target=print)
thread.start()
thread.join()
subprocess.run(["true"], check=True)
"""
COMMIT = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m m"


@pytest.mark.parametrize(
    ("tool", "script"),
    [
        ("sh", "echo a | cat; (sleep 0.01 &); wait; ls -la / >f; cp f g; mv g h; rm f h"),
        ("python3", f"python3 -c '{THREADS}'"),
        ("git", f"export HOME=/tmp; git init -q r && cd r && {COMMIT} && git log"),
        ("gcc", "echo 'int main(void){return 0;}' >a.c && gcc a.c -o a && ./a"),
        ("curl", "curl --version && curl -s file:///usr/bin/env >c"),
        ("jq", "echo '{}' | jq ."),
        ("bash", "bash -c 'cat <(echo) && read x <<< y && ulimit -a'"),
    ],
)
def test_the_tools_of_a_step_work(tool: str, script: str) -> None:
    if not Path("/usr/bin", tool).exists():
        pytest.skip(f"{tool} is not installed")
    ran = _sandboxed("/bin/sh", "-ec", script)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_both_machines_have_a_program_of_sound_jumps_compiled_in_time(machine: str) -> None:
    began = time.perf_counter()
    program = seccomp.bpf_program(machine)
    assert time.perf_counter() - began < 0.1
    instructions = list(struct.iter_unpack("=HBBI", program))
    assert len(instructions) < 4096
    for at, (code, jt, jf, k) in enumerate(instructions):
        reach = k if code == seccomp._JUMP else max(jt, jf)
        assert code == seccomp._RETURN or at + 1 + reach < len(instructions)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_says_of_every_call_what_the_policy_says(machine: str) -> None:
    numbers = json.loads((seccomp._folder() / f"syscalls-{machine}.json").read_text())
    rules = json.loads(seccomp.docker_profile())["syscalls"]
    allowed = {
        name
        for rule in rules
        if "args" not in rule and rule["action"].endswith("ALLOW")
        for name in rule["names"]
    }
    conditional = {name for rule in rules if "args" in rule or "errnoRet" in rule for name in rule["names"]}
    program = list(struct.iter_unpack("=HBBI", seccomp.bpf_program(machine)))
    arch = seccomp._AUDIT_ARCH[machine]
    for name, number in numbers.items():
        if name not in conditional:
            expected = seccomp._ALLOW if name in allowed else seccomp._ERRNO | 1
            assert _judge(program, number, arch) == expected, name
    assert _judge(program, 0, arch ^ 1) == seccomp._KILL


def _judge(program: list[tuple[int, int, int, int]], number: int, arch: int) -> int:
    """Run the filter as the kernel would, for a call whose arguments are all zero."""
    at, value = 0, 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == seccomp._RETURN:
            return k
        if code == seccomp._LOAD:
            value = {0: number, 4: arch}.get(k, 0)
        elif code == seccomp._AND:
            value &= k
        elif code == seccomp._JUMP:
            at += k
        else:
            true = value == k if code == seccomp._IF_EQUAL else value >= k
            at += jt if true else jf


def test_an_unknown_machine_is_a_clear_error() -> None:
    with pytest.raises(SandboxError, match="riscv64"):
        seccomp.bpf_program("riscv64")


def _docker_works() -> bool:
    docker = shutil.which("docker")
    return (
        bool(docker)
        and subprocess.run([docker or "", "info"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not find_busybox().exists(), reason="no static busybox to make an image of")
@pytest.mark.skipif(not _docker_works(), reason="no Docker Engine answers")
def test_docker_takes_the_profile_and_refuses_what_it_refuses(tmp_path: Path) -> None:
    profile = tmp_path / "seccomp.json"
    profile.write_text(seccomp.docker_profile())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(str(find_busybox()), "bin/busybox")
    imported = subprocess.run(
        ["docker", "import", "-"], input=archive.getvalue(), capture_output=True, check=True
    )
    image = imported.stdout.decode().strip()
    script = "cd /bin; ./busybox ls / >/dev/null && ./busybox unshare -U true; echo $?; ./busybox id -u"
    command = ["docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL", "--user", "10001:10001"]
    command += ["--security-opt", f"seccomp={profile}", "--security-opt", "no-new-privileges", image]
    try:
        ran = subprocess.run(
            [*command, "/bin/busybox", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout == "1\n10001\n", ran.stderr
        assert "not permitted" in ran.stderr
    finally:
        subprocess.run(["docker", "rmi", image], capture_output=True, check=False, timeout=60)
