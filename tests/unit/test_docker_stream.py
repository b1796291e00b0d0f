from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given, strategies

from runner.errors import EngineUnavailable, ImageMissing, LimitUnenforceable, SandboxError
from runner.sandbox.docker import translate
from runner.sandbox.docker.api import EngineApi, engine_address
from runner.sandbox.docker.driver import _gaps
from runner.sandbox.docker.stream import Demultiplexer, Wire
from runner.sandbox.verdict import Evidence, judge
from runner.sandbox.wire import (
    BAD_MESSAGE,
    EXITED,
    NO_OUTLET,
    NOT_EXECUTED,
    NOT_PROVED,
    SIGNALLED,
    STOPPED,
    TIMED_OUT,
    End,
)

PIECES = strategies.lists(strategies.tuples(strategies.sampled_from([1, 2]), strategies.binary(max_size=40)))


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@given(PIECES, strategies.integers(1, 60))
def test_the_engines_frames_come_off_wherever_the_stream_is_cut(
    pieces: list[tuple[int, bytes]], size: int
) -> None:
    data = b"".join(frame(*piece) for piece in pieces)
    reader = Demultiplexer()
    got = b"".join(reader.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert got == b"".join(payload for stream, payload in pieces if stream == 1)
    assert reader.complaint == b"".join(payload for stream, payload in pieces if stream == 2)[-1000:]


def test_a_wire_gives_frames_then_a_timeout_then_the_end() -> None:
    near, far = socket.socketpair()
    wire = Wire(near, frame(1, b"H\0\0\0\4\0\0\0\1"))
    assert wire.receive(1) == [(ord("H"), b"\0\0\0\1")]
    with pytest.raises(TimeoutError):
        wire.receive(0.01)
    far.sendall(frame(1, b"O\0\0\0\2h"))
    assert wire.receive(1) == []
    far.sendall(frame(1, b"i"))
    assert wire.receive(1) == [(ord("O"), b"hi")]
    far.close()
    assert wire.receive(1) is None
    assert wire.receive(1) is None
    wire.close()


def test_a_wire_that_another_thread_hung_up_has_ended() -> None:
    near, far = socket.socketpair()
    with far:
        wire = Wire(near, b"")
        near.close()
        assert wire.receive(1) is None


@pytest.mark.parametrize(
    ("evidence", "reason", "code"),
    [
        (Evidence(0, final=End(EXITED, 0)), None, 0),
        (Evidence(3, final=End(EXITED, 3)), "exit", 3),
        (Evidence(127, final=End(NOT_EXECUTED, 2)), "exit", 127),
        (Evidence(139, final=End(SIGNALLED, 11)), "exit", 139),
        (Evidence(124, final=End(TIMED_OUT, 124)), "timeout", 124),
        (Evidence(124, final=End(EXITED, 124)), "exit", 124),
        (Evidence(137, overdue=True), "timeout", 137),
        (Evidence(137, out_of_memory=True, final=End(SIGNALLED, 9)), "out-of-memory", 137),
        (Evidence(1, out_of_memory=True, final=End(EXITED, 1)), "out-of-memory", 137),
        (Evidence(1, over_output=True, final=End(EXITED, 1)), "output-limit", 1),
        (Evidence(143, final=End(STOPPED, 143), stopped=True), "exit", 143),
        (Evidence(125, final=End(NO_OUTLET, 13)), "infra", 125),
        (Evidence(125, final=End(NOT_PROVED, 1)), "infra", 125),
        (Evidence(137), "infra", 137),
        (Evidence(137, guarded=False), "exit", 137),
        (Evidence(0, guarded=False), "infra", 0),
        (Evidence(0), "infra", 0),
        (Evidence(None), "infra", None),
    ],
)
def test_the_engines_code_decides_and_the_last_frame_only_hints(
    evidence: Evidence, reason: str | None, code: int | None
) -> None:
    verdict = judge(evidence)
    assert (verdict.reason, verdict.code) == (reason, code)


def test_only_a_sandbox_that_refused_its_step_says_so_and_why() -> None:
    assert not judge(Evidence(125, final=End(EXITED, 125))).refused
    assert not judge(Evidence(125, final=End(BAD_MESSAGE, 7))).refused
    closed, port = (judge(Evidence(125, final=End(*told))) for told in ((NOT_PROVED, 2), (NO_OUTLET, 13)))
    assert closed.refused
    assert "not run: its sandbox could not be proved closed: the network outside" in closed.detail
    assert port.refused
    assert port.detail.endswith("cannot listen on an outlet: Permission denied")


def test_a_command_that_is_not_there_is_named_in_words() -> None:
    assert os.strerror(2) in judge(Evidence(127, final=End(NOT_EXECUTED, 2))).detail


def test_what_the_engine_says_becomes_one_of_our_errors() -> None:
    assert isinstance(translate.refused(404, "No such image: x:1", "create"), ImageMissing)
    low = translate.refused(400, "Minimum memory limit allowed is 6MB", "create")
    assert isinstance(low, LimitUnenforceable)
    other = translate.refused(500, "oops", "start a container")
    assert type(other) is SandboxError
    assert other.retryable


def test_a_remote_engine_is_refused_in_words() -> None:
    with pytest.raises(EngineUnavailable, match="not built yet"):
        engine_address({"DOCKER_HOST": "tcp://10.0.0.1:2375"})
    assert engine_address({"DOCKER_HOST": "unix:///run/x.sock"}) == "/run/x.sock"


def test_what_the_kernel_cannot_limit_is_a_gap_with_its_cure() -> None:
    well_kept = {"SwapLimit": True, "PidsLimit": True, "SecurityOptions": ["name=seccomp,profile=default"]}
    assert _gaps(well_kept) == ()
    lacking = _gaps({"SwapLimit": False, "PidsLimit": False, "SecurityOptions": ["name=rootless"]})
    assert [gap.what for gap in lacking] == ["memory", "pids", "seccomp", "outputs"]
    assert all(gap.cure for gap in lacking)


def test_an_engine_that_is_not_there_names_the_cure(tmp_path: object) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        EngineApi(f"{tmp_path}/none.sock").ask("GET", "/info")
    assert "DOCKER_HOST" in caught.value.cure


def test_an_engine_that_hangs_is_given_up(tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s.sock")
        server.listen()
        with pytest.raises(EngineUnavailable, match="in time"):
            EngineApi(f"{tmp_path}/s.sock", timeout=0.1).ask("GET", "/info")


@pytest.mark.parametrize(("said", "first"), [(b"\x01", True), (b"\x02", False), (b"", False)])
def test_only_what_pid_1_writes_counts_as_its_word(said: bytes, *, first: bool) -> None:
    near, far = socket.socketpair()
    other, silent = socket.socketpair()
    with near, far, other, silent:
        far.sendall(said)
        far.shutdown(socket.SHUT_WR)
        assert Wire(near, b"").speaks_before(other.fileno(), 5) is first


def test_the_engines_refusal_comes_first_when_pid_1_is_silent() -> None:
    near, far = socket.socketpair()
    other, engine = socket.socketpair()
    with near, far, other, engine:
        engine.sendall(b"HTTP/1.0 500 no")
        assert not Wire(near, b"").speaks_before(other.fileno(), 5)


def test_an_answer_that_was_cut_off_is_no_answer(tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s.sock")
        server.listen()
        question = EngineApi(f"{tmp_path}/s.sock").begin("GET", "/info")
        peer, _ = server.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"Runtimes": {')
        with pytest.raises(EngineUnavailable, match="broke off"):
            question.answer()
        question.settle()
