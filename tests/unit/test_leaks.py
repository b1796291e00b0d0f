"""Where cutting text could leave part of a secret that no mask knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.engine.outputs import read_outputs
from runner.engine.pump import Pump
from runner.sandbox.base import Chunk
from runner.vault.mask import Masker

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"s3cret" * 16


def test_a_line_of_the_output_file_is_masked_before_it_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "outputs"
    file.write_bytes(b"Bearer " + SECRET + b"\nrows=1\n")
    values, bad = read_outputs(file, Masker([SECRET]).mask)
    assert values == {"rows": "1"}
    assert bad == ["line 1 of $RUNNER_OUTPUT is no key=value: 'Bearer ***'"]


def test_a_secret_is_no_name_of_an_output(tmp_path: Path) -> None:
    file = tmp_path / "outputs"
    file.write_bytes(SECRET + b"=1\n")
    values, bad = read_outputs(file, Masker([SECRET]).mask)
    assert not values
    assert bad == ["line 1 of $RUNNER_OUTPUT is no key=value: '***=1'"]


def test_a_secret_that_the_log_limit_cuts_in_two_is_not_shown() -> None:
    written: list[bytes] = []
    full: list[bool] = []
    pump = Pump(Masker([SECRET]), lambda _, data: written.append(data), 50, lambda: full.append(True))
    pump.run([Chunk("stdout", b"key: " + SECRET)])
    assert (b"".join(written), full) == (b"key: ", [True])


def test_what_is_held_back_is_shown_when_the_step_ends_within_the_limit() -> None:
    written: list[bytes] = []
    pump = Pump(Masker([SECRET]), lambda _, data: written.append(data), 50, lambda: None)
    pump.run([Chunk("stdout", b"key: s3cr")])
    assert b"".join(written) == b"key: s3cr"
