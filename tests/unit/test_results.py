"""Results that hold a secret of the run are not kept, and fail their step."""

from __future__ import annotations

import base64
import gzip
from typing import TYPE_CHECKING

import pytest
from memory_stores import MemoryStores
from scripted_engine import Bench, Inside, ScriptedDriver, step

from runner.engine.results import Leaks, Results
from runner.errors import StoreError
from runner.events import AttemptEnded
from runner.planning.plan import Retry, SecretUse
from runner.sandbox.base import Collected
from runner.store.artifacts import Artifacts
from runner.vault.mask import Masker
from runner.vault.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

VALUE = b"correct-horse/battery+staple"
FORMS = [
    VALUE,
    VALUE.hex().encode(),
    base64.b64encode(b"x:" + VALUE),
    VALUE.replace(b"/", b"%2F").replace(b"+", b"%2B"),
]


def ended(bench: Bench) -> AttemptEnded:
    last: AttemptEnded = bench.events(AttemptEnded)[-1]
    return last


def leaking(bench: Bench, content: bytes, name: str = "report", secret: bytes = VALUE) -> None:
    """Run a step that has a secret and writes ``content`` as one result beside another."""

    def script(inside: Inside) -> int:
        (inside.out / name).write_bytes(content)
        (inside.out / "clean").write_bytes(b"nothing here")
        return 0

    bench.stores.values["token"] = secret
    uses = (SecretUse("TOKEN", "token"),)
    again = Retry(max_attempts=3, backoff=0, on=("exit", "secret-leak"))
    one = step("a", secrets=uses, outputs=(name, "clean"), retry=again)
    bench.run(ScriptedDriver({"a": script}), one)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run", MemoryStores(tmp_path))


@pytest.mark.parametrize("form", FORMS)
def test_a_result_with_a_secret_in_any_form_is_not_kept_and_fails_the_step_once(
    bench: Bench, form: bytes, tmp_path: Path
) -> None:
    leaking(bench, b"before " + form + b" after")
    assert ended(bench).reason == "secret-leak"
    assert ended(bench).detail == "report: holds the secret token, and is sealed in a.1.age"
    assert [kept.name for kept in ended(bench).artifacts] == ["clean"]
    assert len(bench.events(AttemptEnded)) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and form in path.read_bytes()]


@pytest.mark.parametrize("before", [(1 << 20) - 9, (1 << 20) - 1, 3 << 20])
def test_a_secret_across_two_pieces_of_a_large_result_is_found(bench: Bench, before: int) -> None:
    leaking(bench, b"x" * before + VALUE + b"y" * (2 << 20))
    assert ended(bench).reason == "secret-leak"


def test_a_step_that_uses_its_secret_and_keeps_it_to_itself_succeeds(bench: Bench) -> None:
    leaking(bench, b"rows: 20\n" * 100_000)
    assert ended(bench).reason is None
    assert [kept.name for kept in ended(bench).artifacts] == ["clean", "report"]


def test_a_value_too_short_to_tell_from_chance_fails_no_step(bench: Bench) -> None:
    leaking(bench, b"the port is 5432\n", secret=b"5432")
    assert ended(bench).reason is None


@pytest.mark.parametrize("line", [b"key=%s\n", b"%s\n", b"a=1\nkey<<E\n%s\nE\n"])
def test_a_value_for_later_steps_with_a_secret_fails_the_step(bench: Bench, line: bytes) -> None:
    leaking(bench, line % VALUE, ".runner-output")
    assert ended(bench).reason == "secret-leak"
    assert ended(bench).detail.startswith("$RUNNER_OUTPUT: holds the secret token")
    assert ended(bench).outputs == {}


def test_the_name_of_a_result_is_looked_at_too(bench: Bench) -> None:
    leaking(bench, b"nothing", "correct-horse-battery", b"correct-horse-battery")
    assert ended(bench).reason == "secret-leak"
    assert "correct-horse" not in str(ended(bench))


def test_a_later_step_cannot_keep_a_secret_of_an_earlier_one(bench: Bench) -> None:
    def script(inside: Inside) -> int:
        (inside.out / "report").write_bytes(VALUE)
        return 0

    bench.stores.values["token"] = VALUE
    first = step("a", secrets=(SecretUse("TOKEN", "token"),))
    bench.run(ScriptedDriver({"b": script}), first, step("b", "a", outputs=("report",)))
    assert ended(bench).reason == "secret-leak"


def test_what_is_masked_for_safety_alone_is_no_leak(tmp_path: Path) -> None:
    secret = Secret("db", b"long-password", [b"long-password"], [b"db.example.com"])
    (tmp_path / "report").write_bytes(b"connected to db.example.com")
    leaks = Leaks([secret], Masker)
    assert leaks.in_file(tmp_path / "report") == ""
    assert leaks.in_text("long-password") == "db"


def test_what_nobody_can_read_is_no_form_of_a_secret(bench: Bench) -> None:
    leaking(bench, gzip.compress(VALUE))
    assert ended(bench).reason is None  # compressed, encrypted: that is said in the documentation


def test_a_result_that_cannot_be_sealed_is_kept_nowhere_and_ends_no_run(tmp_path: Path) -> None:
    def full(_: Path) -> str:
        raise StoreError("the disk is full")

    (tmp_path / "report").write_bytes(VALUE)
    leaks = Leaks([Secret("db", VALUE)], Masker)
    found = Results(Masker([]), leaks, Artifacts(tmp_path / "home"), full)
    found.take(Collected("report", tmp_path / "report", len(VALUE)))
    assert found.kept == []
    assert found.leaked.startswith("report: holds the secret db, and was not kept")
    assert found.leaked.endswith("the disk is full")
