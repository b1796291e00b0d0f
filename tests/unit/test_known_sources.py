"""Which sources there are, how they are declared, and programs that give secrets."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from runner.errors import PolicyDenied, RunnerError, SourceUnavailable, UsageError
from runner.settings import Settings, choices
from runner.vault.lease import Holder
from runner.vault.sources.command import CommandSource
from runner.vault.sources.declared import declared
from runner.vault.sources.known import FORMS, KnownSources, canonical
from runner.vault.sources.sops import SopsSource
from runner.vault.store import SecretStore

HOLDER = Holder("r1", "digest", "staging", "load", 1, "run", "d" * 64, "e" * 64)
BAO = {"address": "https://bao.example", "login": {"token": "env:T"}}


def sources(folder: Path, policy: str = "") -> KnownSources:
    (folder / "policy.yaml").write_text(policy)
    settings = Settings.from_environment({"HOME": str(folder), "RUNNER_POLICY": str(folder / "policy.yaml")})
    return KnownSources(settings, SecretStore(settings.home, settings.config))


def test_every_form_that_is_shown_can_be_bound_and_has_a_source(tmp_path: Path) -> None:
    known = sources(tmp_path)
    for form in FORMS:
        scheme = form.partition(":")[0]
        assert canonical(form.lower()).startswith(f"{scheme}:")
        assert scheme in known
    assert {form.partition(":")[0] for form in FORMS} == set(known)


@pytest.mark.parametrize(
    "source",
    [
        *("", "env", "env:", ":X", "re:X", "vault:x", "store:a b", "env:A\0"),
        *("openbao:secret/data/api#token", "openbao:kv/", "postgres:A;B", "postgres:a#b#c"),
    ],
)
def test_what_is_no_source_is_refused_with_those_that_are(source: str) -> None:
    with pytest.raises(UsageError):
        canonical(source)


def test_a_file_is_kept_by_its_whole_path() -> None:
    assert canonical("file:x") == f"file:{Path.cwd()}/x"
    assert canonical("sops:x.yaml#a/b") == f"sops:{Path.cwd()}/x.yaml#a/b"


def test_a_project_cannot_say_where_secrets_come_from(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"HOME": str(tmp_path), "RUNNER_POLICY": str(tmp_path / "policy.yaml")}
    )
    (tmp_path / "runner.yaml").write_text("sources: {identity: {issuer: 'https://evil.example'}}\n")
    with pytest.raises(UsageError, match="the operator's alone"):
        choices(settings, tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"openbao": {**BAO, "address": "http://bao.example"}}, "sources.openbao.address: .*over https"),
        ({"openbao": {**BAO, "address": "https://me:secret-word@bao.example"}}, "sources.openbao.address"),
        ({"openbao": {**BAO, "login": {"token": "secret-word"}}}, "sources.openbao.login"),
        ({"openbao": {**BAO, "login": {}}}, "sources.openbao.login"),
        ({"openbao": {**BAO, "token": "secret-word"}}, "sources.openbao.token: Extra"),
        ({"postgres": {"main": {"admin": "postgresql://me:secret-word@db"}}}, "sources.postgres.main.admin"),
        ({"postgres": {"main": {"admin": "env:X", "timeout": "1h"}}}, "timeout"),
        ({"postgres": {"Main; DROP": {"admin": "env:X"}}}, "sources.postgres"),
        ({"postgres": {"main": {"admin": "openbao:kv/x"}}}, "admin"),
        ({"postgres": {"main": {"admin": "file:warehouse.url"}}}, "admin"),
        ({"openbao": {**BAO, "ca": "bao-ca.pem"}}, "sources.openbao.ca"),
    ],
)
def test_a_wrong_declaration_is_told_by_its_place_and_not_by_its_words(
    data: dict[str, object], words: str
) -> None:
    with pytest.raises(PolicyDenied, match=words) as caught:
        declared(data, "policy.yaml")
    assert "secret-word" not in str(caught.value)


def test_plain_http_is_for_this_machine_alone() -> None:
    for address in ("http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200"):
        assert declared({"openbao": {**BAO, "address": address}}, "policy.yaml").openbao


def test_a_source_that_is_not_declared_says_what_to_declare(tmp_path: Path) -> None:
    known = sources(tmp_path)
    for scheme, reference in (("openbao", "kv/x#y"), ("postgres", "main"), ("identity", "somebody")):
        with pytest.raises(PolicyDenied) as caught:
            known[scheme].mint(reference, HOLDER, 60)
        assert "sources" in caught.value.cure


@pytest.mark.parametrize(
    ("scheme", "module"), [("openbao", "hvac"), ("postgres", "psycopg"), ("identity", "jwt")]
)
def test_a_source_whose_package_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PolicyDenied, match=f"needs the package {module}") as caught:
        sources(tmp_path)[scheme]
    assert caught.value.cure == f"pip install 'runner[{scheme}]'"


def test_plain_sources_load_no_slow_package(tmp_path: Path) -> None:
    words = "import sys; from runner.vault.bindings import Bindings\n"
    words += (
        "print([name for name in ('hvac', 'psycopg', 'jwt', 'pydantic', 'requests') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_login_from_the_store_names_its_mode(tmp_path: Path) -> None:
    known = sources(tmp_path)
    with pytest.raises(PolicyDenied, match="names no mode"):
        known._resolve("store:admin")
    SecretStore(tmp_path / ".local/state/runner", tmp_path / ".config/runner").set(
        "admin", b"url", "production"
    )
    assert known._resolve("store:production/admin") == "url"


def test_a_command_is_split_like_a_shells_and_given_no_shell() -> None:
    source = CommandSource()
    assert source.mint("printf '%s|' 'a b' $HOME ;", HOLDER, 60).values[""] == b"a b|$HOME|;|"
    assert source.mint("echo one", HOLDER, 60).values[""] == b"one"
    assert source.mint("pwd", HOLDER, 60).values[""] == b"/"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("false", SourceUnavailable),
        ("true", PolicyDenied),
        ("head -c 2000000 /dev/zero", PolicyDenied),
        ("./evil", PolicyDenied),
        ("runner-test-no-such-program", PolicyDenied),
        ("sh -c 'echo secret-word; echo secret-word >&2; exit 3'", SourceUnavailable),
        ("'", PolicyDenied),
        ("''", PolicyDenied),
    ],
)
def test_a_command_that_gives_nothing_says_why_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, error: type[RunnerError]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil").write_text("#!/bin/sh\necho a project must not give secrets\n")
    (tmp_path / "evil").chmod(0o755)
    with pytest.raises(error) as caught:
        CommandSource().mint(command, HOLDER, 60)
    assert caught.value.cure
    assert "secret-word" not in str(caught.value).replace(command, "")


def test_a_command_that_hangs_ends_in_time_with_all_that_it_began() -> None:
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="too long"):
        CommandSource(0.5).mint("sh -c 'echo early; sleep 4242.5 & sleep 4242.5'", HOLDER, 60)
    assert time.monotonic() - began < 3
    assert _is_gone("sleep 4242.5")


def test_what_a_command_leaves_running_ends_with_it() -> None:
    assert CommandSource().mint("sh -c 'sleep 4243.5 >/dev/null & echo v'", HOLDER, 60).values[""] == b"v"
    assert _is_gone("sleep 4243.5")


def _is_gone(words: str) -> bool:
    deadline = time.monotonic() + 5
    while _running(words) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _running(words)


def _running(words: str) -> list[str]:
    """Return the processes with this command line that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").startswith(words):
                found.append(entry.parent.name)
    return found


def test_what_is_no_file_of_sops_is_denied_or_unavailable_in_words(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("a: secret-word\n")
    for reference in (f"{tmp_path}/none.yaml#a", f"{tmp_path}/plain.yaml#a", f"{tmp_path}/plain.yaml"):
        with pytest.raises(RunnerError) as caught:
            SopsSource().mint(reference, HOLDER, 60)
        assert caught.value.cure
        assert "secret-word" not in str(caught.value)
