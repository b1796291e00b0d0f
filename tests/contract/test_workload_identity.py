"""Identities of steps, judged by OpenBao's own jwt method: only what the operator bound comes in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import hvac
import pytest
import source_bench as bench
from source_bench import HOLDER, Operator

from runner.errors import PolicyDenied
from runner.vault.issuer import Issuer

if TYPE_CHECKING:
    from secret_servers import Server

    from runner.vault.lease import Holder
    from runner.vault.sources.base import Source


@pytest.fixture
def source(operator: Operator, bao: Server) -> Source:
    login, _ = bench.login_words("identity", operator, bao)
    operator.declare(bench.bao_words(f"https://127.0.0.1:{bao.port}", bao.more["ca"], login))
    return operator.sources()["openbao"]


def test_the_step_that_was_bound_comes_in_from_any_run_and_attempt(source: Source) -> None:
    for holder in (HOLDER, replace(HOLDER, run="other", step="other", attempt=7, plan="f" * 64)):
        assert source.mint("kv/secret/data/api", holder, 60).values["token"]


@pytest.mark.parametrize(
    "holder",
    [
        replace(HOLDER, workflow="payroll"),
        replace(HOLDER, mode="production"),
        replace(HOLDER, definition="c" * 64),
        replace(HOLDER, workflow="digest:step:x", mode="staging:workflow:digest"),
    ],
    ids=["workflow", "mode", "definition", "words with colons"],
)
@pytest.mark.parametrize("reference", ["kv/secret/data/api", "creds/database/creds/reader", "token/reader"])
def test_another_workflow_mode_or_definition_is_refused(
    source: Source, holder: Holder, reference: str
) -> None:
    with pytest.raises(PolicyDenied, match="refuses auth/jwt/login") as caught:
        source.mint(reference, holder, 60)
    assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "audience"),
    [(bench.ISSUER, "other"), ("https://other.example", "openbao")],
    ids=["audience", "issuer"],
)
def test_a_token_for_another_audience_or_from_another_issuer_is_refused(
    operator: Operator, bao: Server, name: str, audience: str
) -> None:
    token = Issuer(operator.settings().config, name).token(HOLDER, audience).decode()
    with pytest.raises(hvac.exceptions.InvalidRequest):
        _log_in(bao, token)


def test_a_token_signed_by_a_key_that_was_not_published_is_refused(
    operator: Operator, bao: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert _log_in(bao, Issuer(operator.settings().config, bench.ISSUER).token(HOLDER, "openbao").decode())
    stranger = Issuer(tmp_path_factory.mktemp("stranger"), bench.ISSUER).token(HOLDER, "openbao").decode()
    with pytest.raises(hvac.exceptions.InvalidRequest):
        _log_in(bao, stranger)


def test_a_step_cannot_come_in_as_runner_itself(operator: Operator, bao: Server) -> None:
    issuer = Issuer(operator.settings().config, bench.ISSUER)
    for holder in (HOLDER, replace(HOLDER, workflow="runner"), replace(HOLDER, step="runner")):
        with pytest.raises(hvac.exceptions.InvalidRequest):
            _log_in(bao, issuer.token(holder, "openbao").decode(), "runner")


def _log_in(bao: Server, token: str, role: str = "steps") -> object:
    return bench.bao_client(bao, "").auth.jwt.jwt_login(role, token, use_token=False)
