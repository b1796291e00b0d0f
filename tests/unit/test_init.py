"""The real sandbox-init as PID 1, in a bare bubblewrap, spoken to byte by byte."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from runner.sandbox import wire
from runner.sandbox.base import Message, SecretValue
from runner.sandbox.bubblewrap.driver import find_bwrap
from runner.sandbox.init import binary

if TYPE_CHECKING:
    from collections.abc import Iterator

BWRAP = str(find_bwrap())


class Init:
    """One init: frames in, frames out, and the status it ended with."""

    def __init__(self) -> None:
        command = [BWRAP, "--unshare-all", "--unshare-user", "--uid", "10001", "--gid", "10001"]
        command += [
            "--as-pid-1",
            "--die-with-parent",
            "--ro-bind",
            "/usr",
            "/usr",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        for name in ("bin", "lib", "lib64"):
            command += ["--symlink", f"usr/{name}", f"/{name}"]
        command += ["--tmpfs", "/tmp", "--dir", "/work", "--dir", "/run/secrets", "--ro-bind"]
        command += [str(binary.path_for(platform.machine())), "/.runner/init", "/.runner/init"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.reader = wire.FrameReader()
        self.frames: list[tuple[int, bytes]] = []

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[self.process.stdin.write(data) or 0 :]

    def step(
        self, script: str, *, seconds: float = 20, grace: float = 5, secrets: tuple[SecretValue, ...] = ()
    ) -> None:
        env = {"PATH": "/usr/bin:/bin"}
        self.send(wire.encode_message(Message(("sh", "-c", script), env, secrets, {}, seconds, grace)))

    def read(self) -> bool:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        self.frames += [(kind, bytes(payload)) for kind, payload in self.reader.feed(data)]
        return bool(data)

    def read_until(self, text: bytes) -> None:
        while text not in self.output() and self.read():
            pass
        assert text in self.output()

    def status(self) -> int:
        while self.read():
            pass
        return self.process.wait(20)

    def output(self, kind: int = wire.STDOUT) -> bytes:
        return b"".join(payload for each, payload in self.frames if each == kind)

    def end(self) -> wire.End:
        assert self.frames[-1][0] == wire.END
        return wire.decode_end(self.frames[-1][1])


@pytest.fixture
def init() -> Iterator[Init]:
    one = Init()
    with one.process:
        yield one
        one.process.kill()


def test_it_says_hello_then_begins_then_ends(init: Init) -> None:
    init.step("echo out; echo err >&2")
    assert init.status() == 0
    assert init.frames[:2] == [(wire.HELLO, struct.pack(">I", wire.VERSION)), (wire.BEGAN, b"")]
    assert init.output() == b"out\n"
    assert init.output(wire.STDERR) == b"err\n"
    assert init.end() == wire.End(wire.EXITED, 0)


@pytest.mark.parametrize("code", [1, 75, 255])
def test_the_exit_code_is_the_steps(init: Init, code: int) -> None:
    init.step(f"exit {code}")
    assert init.status() == code
    assert init.end() == wire.End(wire.EXITED, code)


def test_a_signalled_step_ends_as_a_shell_says_it(init: Init) -> None:
    init.step("kill -SEGV $$")
    assert init.status() == 128 + signal.SIGSEGV
    assert init.end() == wire.End(wire.SIGNALLED, signal.SIGSEGV)


def test_the_deadline_sends_term_and_lets_the_step_tidy_up(init: Init) -> None:
    init.step("trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done", seconds=0.3)
    assert init.status() == 124
    assert init.output() == b"bye\n"
    assert init.end() == wire.End(wire.TIMED_OUT, 0)


def test_a_step_that_ignores_term_is_killed_after_the_grace(init: Init) -> None:
    began = time.monotonic()
    init.step("trap '' TERM; while :; do sleep 0.05; done", seconds=0.2, grace=0.3)
    assert init.status() == 124
    assert 0.5 <= time.monotonic() - began < 5
    assert init.end() == wire.End(wire.TIMED_OUT, 128 + signal.SIGKILL)


def test_the_deadline_holds_while_nobody_reads_a_flood(init: Init) -> None:
    began = time.monotonic()
    init.step("exec cat /dev/zero", seconds=0.5, grace=0.2)
    assert init.process.wait(15) in {124, 137}
    assert time.monotonic() - began < 8


def test_a_term_from_the_runner_stops_a_flooding_step(init: Init) -> None:
    init.step("exec cat /dev/zero", grace=0.2)
    init.read_until(b"\0")
    init.send(wire.encode_kill(signal.SIGTERM))
    assert init.status() == 128 + signal.SIGTERM
    assert init.end() == wire.End(wire.STOPPED, 128 + signal.SIGTERM)


def test_a_kill_from_the_runner_needs_no_grace(init: Init) -> None:
    init.step("trap '' TERM; echo up; while :; do sleep 0.05; done", grace=60)
    init.read_until(b"up")
    init.send(wire.encode_kill(signal.SIGKILL))
    assert init.status() == 128 + signal.SIGKILL
    assert init.end().kind == wire.STOPPED


def test_another_signal_reaches_the_step_without_stopping_it(init: Init) -> None:
    init.step("trap 'echo got; exit 3' USR1; echo up; while :; do sleep 0.05; done")
    init.read_until(b"up")
    init.send(wire.encode_kill(signal.SIGUSR1))
    assert init.status() == 3
    assert init.end() == wire.End(wire.EXITED, 3)


def test_orphans_die_with_the_step_and_their_output_so_far_is_kept(init: Init) -> None:
    began = time.monotonic()
    init.step("(setsid sh -c 'echo orphan; sleep 60' &) ; sleep 0.3; echo done")
    assert init.status() == 0
    assert time.monotonic() - began < 10
    assert sorted(init.output().split()) == [b"done", b"orphan"]


@pytest.mark.parametrize("parked", [True, False])
def test_everything_dies_when_the_runner_goes_away(init: Init, *, parked: bool) -> None:
    if not parked:
        init.step("trap '' TERM HUP; echo up; sleep 60")
        init.read_until(b"up")
    assert init.process.stdin is not None
    init.process.stdin.close()
    assert init.status() == 128 + signal.SIGKILL


def test_secrets_are_files_that_only_the_owner_reads_and_variables_on_request(init: Init) -> None:
    secrets = (SecretValue("FILE", b"in\0file"), SecretValue("BOTH", b"in env", as_env=True))
    init.step(
        'cd /run/secrets; stat -c "%a %u %n" *; od -An -c FILE; cat BOTH; env | grep -e FILE -e BOTH',
        secrets=secrets,
    )
    assert init.status() == 0
    assert (
        init.output() == b"400 10001 BOTH\n400 10001 FILE\n   i   n  \\0   f   i   l   e\nin envBOTH=in env\n"
    )


@pytest.mark.parametrize("name", ["../../work/x", "", ".hidden", "a/b", "n" * 201])
def test_a_secret_with_a_name_that_leaves_its_folder_is_refused(init: Init, name: str) -> None:
    init.step("echo never", secrets=(SecretValue(name, b"v"),))
    assert init.status() == 125
    assert init.end().kind == wire.BAD_MESSAGE
    assert init.output() == b""


def test_frames_that_a_step_prints_stay_its_output(init: Init) -> None:
    forged = "Z\\000\\000\\000\\005\\000\\000\\000\\000\\000"
    init.step(f"printf '{forged}'; exit 9")
    assert init.status() == 9
    assert init.output() == b"Z\0\0\0\5\0\0\0\0\0"
    assert init.end() == wire.End(wire.EXITED, 9)


def test_a_step_cannot_open_the_runners_stream_or_look_into_pid_1(init: Init) -> None:
    init.step(
        "for f in fd/1 fd/0 environ mem; do cat /proc/1/$f && echo leaked; done; ls /proc/self/fd | wc -l; cat; pwd"
    )
    assert init.status() == 0
    assert init.output() == b"4\n/work\n"
    assert init.output(wire.STDERR).count(b"denied") == 4


def test_a_step_cannot_kill_or_stop_pid_1(init: Init) -> None:
    init.step("kill -KILL 1; kill -STOP 1; echo still here")
    assert init.status() == 0
    assert init.output() == b"still here\n"


def test_a_program_that_is_not_there_is_127_with_its_errno(init: Init) -> None:
    init.send(wire.encode_message(Message(("no-such-program",), {"PATH": "/bin"}, (), {}, 5, 5)))
    assert init.status() == 127
    assert init.end() == wire.End(wire.NOT_EXECUTED, 2)
    assert (wire.BEGAN, b"") not in init.frames


def test_a_program_that_cannot_run_is_126(init: Init) -> None:
    init.send(wire.encode_message(Message(("/work",), {}, (), {}, 5, 5)))
    assert init.status() == 126
    assert init.end() == wire.End(wire.NOT_EXECUTED, 13)


@pytest.mark.parametrize(
    "frames",
    [
        b"Q\0\0\0\0",
        b"R\0\0\0\0",
        b"A\x00\x10\x00\x01",
        b"A\xff\xff\xff\xff",
        b"A\0\0\0\3a\0b",
        b"E\0\0\0\3abc",
        b"E\0\0\0\2=b",
        b"T\0\0\0\1\0",
        b"T\0\0\0\x10" + b"\xff" * 16,
        b"S\0\0\0\0",
        b"S\0\0\0\2\0a",
        b"S\0\0\0\4\7a\0b",
        b"K\0\0\0\1\0",
        b"A\0\0\0\0" * 4097,
        (b"A\0\x10\0\0" + b"x" * (1 << 20)) * 9,
    ],
    ids=lambda frames: repr(frames[:8]),
)
def test_a_message_that_makes_no_sense_is_125(init: Init, frames: bytes) -> None:
    init.send(frames)
    assert init.status() == 125
    assert init.end().kind == wire.BAD_MESSAGE


def test_a_bad_frame_during_the_run_ends_the_step(init: Init) -> None:
    init.step("echo up; sleep 60")
    init.read_until(b"up")
    init.send(b"A\0\0\0\0")
    assert init.status() == 125


def test_a_large_output_arrives_whole_and_in_order(init: Init) -> None:
    init.step("seq 1 2000000")
    assert init.status() == 0
    expected = hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 2_000_001))).hexdigest()
    assert hashlib.sha256(init.output()).hexdigest() == expected


def test_it_does_nothing_outside_a_sandbox() -> None:
    ran = subprocess.run(
        [binary.path_for(platform.machine())], input=b"", capture_output=True, check=False, timeout=10
    )
    assert (ran.returncode, ran.stdout) == (125, b"")
