"""Secrets: hidden by default, encrypted at rest, handed only to those that the operator named."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import threading
from typing import TYPE_CHECKING

import pytest

from runner.clock import SystemClock
from runner.errors import PolicyDenied, StoreError, UsageError
from runner.vault.binding import Binding, Terms
from runner.vault.bindings import Bindings, asked
from runner.vault.lease import Holder
from runner.vault.leases import Leases
from runner.vault.opened import secret_of
from runner.vault.secret import Secret, without_newline
from runner.vault.sources.env import EnvSource
from runner.vault.sources.file import FileSource
from runner.vault.sources.store import StoreSource
from runner.vault.store import SecretStore, StoredSecret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.events import Event


def holder(workflow: str, mode: str) -> Holder:
    return Holder("r1", workflow, mode, "step", 1, "run", "d" * 64, "p" * 64)


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "home", tmp_path / "config")


@dataclasses.dataclass
class Journal:
    """Remembers what was recorded."""

    events: list[Event] = dataclasses.field(default_factory=list)

    def record(self, events: Sequence[Event]) -> None:
        self.events += events


def opened(bindings: Bindings, name: str, workflow: str, mode: str) -> Secret:
    """Open a secret for one attempt, as a run does."""
    who = holder(workflow, mode)
    binding = bindings.find(name, workflow, mode, who.definition)
    leases = Leases(who, Journal().record, SystemClock())
    return secret_of(binding, leases.take(name, asked(binding, who), bindings.source(binding.scheme), 60))


@pytest.fixture
def bindings(tmp_path: Path, store: SecretStore) -> Bindings:
    return Bindings(
        tmp_path / "config",
        store,
        SystemClock(),
        {"env": EnvSource({"TOKEN": "from-env"}), "file": FileSource(), "store": StoreSource(store)},
    )


def test_a_secret_hides_from_everything_but_reveal() -> None:
    secret = Secret("token", b"hunter22")
    assert secret.reveal() == b"hunter22"
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert "hunter22" not in shown
        assert "token" in shown
    holder = dataclasses.make_dataclass("Holder", ["secret"])(secret)
    attempts = (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars)
    for attempt in attempts:
        with pytest.raises(TypeError) as caught:
            attempt(secret)  # type: ignore[operator]
        assert "hunter22" not in str(caught.value)
    with pytest.raises(TypeError):
        dataclasses.asdict(holder)


def test_one_line_loses_its_end_and_many_keep_theirs() -> None:
    assert without_newline(b"abc\r\n") == b"abc"
    assert without_newline(b"abc\n") == b"abc"
    assert without_newline(b"a\nb\n") == b"a\nb\n"
    assert without_newline(b"abc\n\n") == b"abc\n\n"


def test_a_value_comes_back_and_lies_encrypted(store: SecretStore, tmp_path: Path) -> None:
    assert store.get("token") is None
    assert store.set("token", b"\x00hunter22") == 1
    assert store.get("token") == b"\x00hunter22"
    assert store.get("token", "production") is None
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            assert path.read_bytes().startswith(b"age-encryption.org/v1")
            assert path.stat().st_mode & 0o777 == 0o600
        else:
            assert path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "config" / "identity.age").stat().st_mode & 0o777 == 0o600


def test_each_value_is_a_new_version(store: SecretStore, tmp_path: Path) -> None:
    assert [store.set("token", b"v%d" % number) for number in range(12)] == list(range(1, 13))
    store.set("token", b"prod", "production")
    assert store.get("token") == b"v11"
    assert store.list() == [StoredSecret("token", "production", 1), StoredSecret("token", "staging", 12)]
    assert len(list((tmp_path / "home" / "secrets" / "token").iterdir())) == 13


def test_setting_at_once_loses_no_version(store: SecretStore) -> None:
    versions: list[int] = []
    threads = [
        threading.Thread(target=lambda: versions.append(store.set("token", b"value"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    assert store.get("token") == b"value"


def test_another_identity_cannot_open_the_store(store: SecretStore, tmp_path: Path) -> None:
    store.set("token", b"value")
    with pytest.raises(StoreError, match="cannot be opened"):
        SecretStore(tmp_path / "home", tmp_path / "other").get("token")


def test_an_identity_that_others_can_read_is_refused(store: SecretStore, tmp_path: Path) -> None:
    store.set("token", b"value")
    (tmp_path / "config" / "identity.age").chmod(0o644)
    with pytest.raises(StoreError, match="read by others") as caught:
        store.get("token")
    assert "chmod 600" in caught.value.cure


def test_a_damaged_identity_is_a_clear_error(store: SecretStore, tmp_path: Path) -> None:
    store.set("token", b"value")
    (tmp_path / "config" / "identity.age").write_bytes(b"# nothing\n")
    with pytest.raises(StoreError, match="no age identity"):
        store.get("token")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "1a", "a" * 65, "a\n", "ü"])
def test_what_is_no_name_is_refused(store: SecretStore, name: str) -> None:
    with pytest.raises(UsageError, match="not a secret's name"):
        store.set(name, b"value")


def test_an_unbound_secret_is_denied_with_the_command_that_binds_it(bindings: Bindings) -> None:
    with pytest.raises(PolicyDenied, match="not bound") as caught:
        opened(bindings, "token", "digest", "production")
    assert "runner secrets bind token --from" in caught.value.cure
    assert "--mode production" in caught.value.cure


def test_a_binding_holds_for_its_mode_alone(bindings: Bindings) -> None:
    bindings.bind(Binding("token", "env:TOKEN"))
    assert opened(bindings, "token", "digest", "staging").reveal() == b"from-env"
    with pytest.raises(PolicyDenied):
        opened(bindings, "token", "digest", "production")


def test_a_binding_for_one_workflow_is_not_for_another(bindings: Bindings, store: SecretStore) -> None:
    store.set("token", b"from-store")
    bindings.bind(Binding("token", "env:TOKEN", workflows=("digest",)))
    assert opened(bindings, "token", "digest", "staging").reveal() == b"from-env"
    with pytest.raises(PolicyDenied):
        opened(bindings, "token", "other", "staging")


def test_the_workflows_own_binding_comes_before_the_general_one(bindings: Bindings, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(b"from-file\n")
    bindings.bind(Binding("token", f"file:{tmp_path / 'value'}", workflows=("digest",)))
    bindings.bind(Binding("token", "env:TOKEN"))
    assert opened(bindings, "token", "digest", "staging").reveal() == b"from-file"
    assert opened(bindings, "token", "other", "staging").reveal() == b"from-env"


def test_a_set_value_needs_no_binding(bindings: Bindings, store: SecretStore) -> None:
    store.set("token", b"from-store")
    assert opened(bindings, "token", "digest", "staging").reveal() == b"from-store"
    with pytest.raises(PolicyDenied):
        opened(bindings, "token", "digest", "production")


def test_a_store_binding_reads_the_value_of_its_own_mode(bindings: Bindings, store: SecretStore) -> None:
    store.set("shared", b"staging-value")
    bindings.bind(Binding("token", "store:shared", mode="production"))
    with pytest.raises(PolicyDenied, match="no value of shared for production"):
        opened(bindings, "token", "digest", "production")
    store.set("shared", b"production-value", "production")
    assert opened(bindings, "token", "digest", "production").reveal() == b"production-value"


def test_binding_again_replaces_and_unbinding_forgets(bindings: Bindings) -> None:
    bindings.bind(Binding("token", "env:OLD"))
    bindings.bind(Binding("token", "env:TOKEN", terms=Terms(("api.example.com",))))
    assert [(each.source, each.terms.hosts) for each in bindings.list()] == [
        ("env:TOKEN", ("api.example.com",))
    ]
    assert bindings.unbind("token") == 1
    assert bindings.list() == []


def test_values_are_read_afresh_each_time(bindings: Bindings, tmp_path: Path) -> None:
    path = tmp_path / "value"
    bindings.bind(Binding("token", f"file:{path}"))
    for value in (b"first", b"second"):
        path.write_bytes(value)
        assert opened(bindings, "token", "digest", "staging").reveal() == value


@pytest.mark.parametrize("source", ["", "env:", "TOKEN", "http://x", "store:../x", "file:a\0b"])
def test_what_is_no_source_is_refused(bindings: Bindings, source: str) -> None:
    with pytest.raises(UsageError):
        bindings.bind(Binding("token", source))
    assert bindings.list() == []


def test_a_source_without_a_value_is_denied_with_a_cure(bindings: Bindings, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for source in (
        "env:MISSING",
        f"file:{tmp_path / 'none'}",
        f"file:{tmp_path}",
        f"file:{tmp_path / 'empty'}",
    ):
        bindings.bind(Binding("token", source))
        with pytest.raises(PolicyDenied) as caught:
            opened(bindings, "token", "digest", "staging")
        assert caught.value.cure


def test_binding_at_once_loses_none(bindings: Bindings) -> None:
    threads = [
        threading.Thread(target=bindings.bind, args=(Binding(f"token{number}", "env:TOKEN"),))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bindings.list()) == 8


def test_a_damaged_bindings_file_is_a_clear_error(bindings: Bindings, tmp_path: Path) -> None:
    bindings.bind(Binding("token", "env:TOKEN"))
    path = tmp_path / "config" / "bindings.json"
    for content in (
        b"{",
        b"[]",
        b'{"version": 1, "bindings": [{"who": 1}]}',
        b'{"version": 9, "bindings": []}',
    ):
        path.write_bytes(content)
        with pytest.raises(StoreError):
            opened(bindings, "token", "digest", "staging")
