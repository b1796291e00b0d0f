"""The frames: what is said is what is heard, however the stream is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import SandboxError
from runner.sandbox import wire
from runner.sandbox.base import Message, SecretValue


def _frame(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack(">I", len(payload)) + payload


def _read(stream: bytes, sizes: list[int]) -> list[tuple[int, bytes]]:
    reader, frames = wire.FrameReader(), []
    for size in [*sizes, len(stream)]:
        chunk, stream = stream[:size], stream[size:]
        frames += [(kind, bytes(payload)) for kind, payload in reader.feed(chunk)]
    assert not reader.unfinished
    return frames


@given(
    st.lists(st.tuples(st.sampled_from([b"O", b"E", b"B"]), st.binary(max_size=300)), max_size=20),
    st.lists(st.integers(0, 400), max_size=60),
)
def test_any_chunking_gives_the_same_frames(frames: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    stream = b"".join(_frame(kind, payload) for kind, payload in frames)
    assert _read(stream, sizes) == [(kind[0], payload) for kind, payload in frames]


def test_single_bytes_give_the_same_frames() -> None:
    stream = _frame(b"H", b"\0\0\0\1") + _frame(b"O", b"x" * 1000) + _frame(b"B", b"")
    assert _read(stream, [1] * len(stream)) == [
        (ord("H"), b"\0\0\0\1"),
        (ord("O"), b"x" * 1000),
        (ord("B"), b""),
    ]


def test_a_frame_above_the_limit_is_an_error_before_its_payload_arrives() -> None:
    reader = wire.FrameReader()
    with pytest.raises(SandboxError, match="frame of 1048577 bytes"):
        reader.feed(b"O" + struct.pack(">I", wire.MAX_PAYLOAD + 1))


def test_the_largest_frame_passes() -> None:
    payload = b"y" * wire.MAX_PAYLOAD
    assert _read(_frame(b"O", payload), [100_000] * 11) == [(wire.STDOUT, payload)]


def test_a_cut_stream_is_seen_as_unfinished() -> None:
    reader = wire.FrameReader()
    assert reader.feed(_frame(b"O", b"abc")[:-1]) == []
    assert reader.unfinished


def test_a_message_is_argv_env_secrets_times_and_run_in_this_order() -> None:
    secrets = (SecretValue("KEY", b"a\0b"), SecretValue("TOKEN", b"t", as_env=True))
    message = Message(("sh", "-c"), {"A": "ö=1"}, secrets, {}, seconds=1.5, grace=0.25)
    assert _read(wire.encode_message(message), []) == [
        (ord("A"), b"sh"),
        (ord("A"), b"-c"),
        (ord("E"), "A=ö=1".encode()),
        (ord("S"), b"\0KEY\0a\0b"),
        (ord("S"), b"\1TOKEN\0t"),
        (ord("T"), struct.pack(">QQ", 1500, 250)),
        (ord("R"), b""),
    ]


def test_endless_time_is_ten_years() -> None:
    message = Message(("true",), {}, (), {}, seconds=float("inf"), grace=-1)
    assert struct.pack(">QQ", 315_576_000_000, 0) in wire.encode_message(message)


def test_a_secret_that_is_too_long_is_named_but_not_shown() -> None:
    message = Message(("true",), {}, (SecretValue("BIG", b"s3" * wire.MAX_PAYLOAD),), {}, seconds=1, grace=1)
    with pytest.raises(SandboxError) as caught:
        wire.encode_message(message)
    assert "BIG" in str(caught.value)
    assert "s3" not in str(caught.value)


def test_a_kill_carries_its_signal() -> None:
    assert wire.encode_kill(15) == b"K\0\0\0\1\x0f"


def test_the_end_is_read_with_its_sign_and_refused_at_another_length() -> None:
    assert wire.decode_end(struct.pack(">Bi", 1, -9)) == wire.End(wire.SIGNALLED, -9)
    with pytest.raises(SandboxError):
        wire.decode_end(b"\0")


def test_half_a_character_from_an_output_is_refused_and_no_crash() -> None:
    with pytest.raises(SandboxError, match="surrogate"):
        wire.encode_message(Message(("true",), {"X": "\ud800"}, (), {}, 1.0, 1.0))
