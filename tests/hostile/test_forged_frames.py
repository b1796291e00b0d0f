"""Frames in PID 1's name that PID 1 would not send, as a step in gVisor can write them: they cost the runner nothing."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.sandbox import wire
from runner.sandbox.egress.connections import Connections
from runner.sandbox.egress.streams import Streams

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

MIB = 1 << 20


class Holder:
    """A carrier that keeps what it is given and reads nothing."""

    def __init__(self) -> None:
        self.held: list[socket.socket] = []

    def carry(self, _outlet: int, connection: socket.socket) -> None:
        self.held.append(connection)

    def close(self) -> None:
        for connection in self.held:
            connection.close()


class Bench:
    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.carrier = Holder()
        self.connections = Connections(self.carrier)
        self.streams = Streams(self.said.append, self.connections)

    def open(self, number: int, window: int = MIB, outlet: int = 0) -> None:
        self.streams.take(wire.OPEN, number.to_bytes(4, "big") + bytes([outlet]) + window.to_bytes(4, "big"))

    def data(self, number: int, body: bytes) -> None:
        self.streams.take(wire.DATA, number.to_bytes(4, "big") + body)

    def heard(self, words: bytes) -> bool:
        end = time.monotonic() + 5
        while words not in b"".join(self.said) and time.monotonic() < end:
            time.sleep(0.01)
        return words in b"".join(self.said)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.connections.close()
    made.streams.close()
    made.carrier.close()


@pytest.mark.parametrize("size", [0, 3, 4, 5, 8, 10, 500])
@pytest.mark.parametrize("kind", sorted(wire.OF_STREAMS))
def test_frames_of_a_wrong_length_mean_nothing(bench: Bench, kind: int, size: int) -> None:
    bench.open(1)
    bench.streams.take(kind, b"\xff" * size)
    bench.data(1, b"still here")
    assert bench.carrier.held[0].recv(100) == b"still here"
    assert len(bench.carrier.held) == 1


def test_a_window_as_wide_as_can_be_is_not_given(bench: Bench) -> None:
    bench.open(1, 0xFFFFFFFF)
    bench.open(2)
    assert len(bench.carrier.held) == 1


def test_a_stream_that_there_is_cannot_be_opened_again(bench: Bench) -> None:
    for _ in range(1000):
        bench.open(1)
    assert len(bench.carrier.held) == 1


def test_more_streams_than_pid_1_carries_are_reset(bench: Bench) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1000):
        bench.open(number, 128 << 10)
    assert len(bench.carrier.held) <= 256
    assert bench.heard(wire.encode_reset(999))
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 600


def test_what_is_sent_beyond_the_window_is_not_kept(bench: Bench) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bench.open(1)
    for _ in range(200):
        bench.data(1, bytes(MIB))
    assert bench.heard(wire.encode_reset(1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_the_end_writes_to_no_descriptor_that_is_another_s_by_then() -> None:
    for _ in range(300):
        made = Bench()
        for number in range(20):
            made.open(number, 1 << 10)
        made.connections.close()
        made.streams.close()
        made.carrier.close()
