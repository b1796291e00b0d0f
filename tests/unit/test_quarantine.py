"""Results with a secret are sealed: the operator alone can read them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pyrage
import pytest

from runner.errors import StoreError
from runner.events import AttemptStarted
from runner.store.layout import Layout
from runner.store.quarantine import Quarantine
from runner.vault.store import SecretStore

if TYPE_CHECKING:
    from pathlib import Path

VALUE = b"hunter2-hunter2" * 100_000


def test_a_sealed_result_opens_with_the_operators_identity_alone(tmp_path: Path) -> None:
    store = SecretStore(tmp_path / "home", tmp_path / "config")
    result = tmp_path / "result"
    result.write_bytes(VALUE)
    quarantine = Quarantine(Layout(tmp_path / "home"), "r1", lambda: store)
    sealed = [quarantine.seal(result, AttemptStarted("load[a=1]", 2)) for _ in range(2)]
    assert len(set(sealed)) == 2
    for path in sealed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"hunter2" not in path.read_bytes()
        text = (tmp_path / "config" / "identity.age").read_text().splitlines()[-1]
        assert pyrage.decrypt(path.read_bytes(), [pyrage.x25519.Identity.from_str(text)]) == VALUE
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(path.read_bytes(), [pyrage.x25519.Identity.generate()])


def test_a_result_that_cannot_be_sealed_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = SecretStore(tmp_path / "home", tmp_path / "config")
    quarantine = Quarantine(Layout(tmp_path / "home"), "r1", lambda: store)
    with pytest.raises(StoreError):
        quarantine.seal(tmp_path / "gone", AttemptStarted("load", 1))
    assert list((tmp_path / "home" / "runs" / "r1" / "quarantine").iterdir()) == []
