"""What is OpenBao's own: tokens with no policy but those that were named, and a server that is sealed."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import hvac
import pytest
import secret_servers
import source_bench as bench
from source_bench import HOLDER, Operator

from runner.errors import PolicyDenied, SourceUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from secret_servers import Server


def declared(operator: Operator, bao: Server, login: str = "token") -> Operator:
    words, _ = bench.login_words(login, operator, bao)
    return operator.declare(bench.bao_words(f"https://127.0.0.1:{bao.port}", bao.more["ca"], words))


@pytest.mark.parametrize("login", bench.LOGINS)
def test_a_steps_token_has_the_named_policies_and_no_other(
    operator: Operator, bao: Server, login: str
) -> None:
    source = declared(operator, bao, login).sources()["openbao"]
    minted = source.mint("token/reader", HOLDER, 60)
    assert minted.lease
    token = minted.values[""].decode()
    found = bench.bao_client(bao).auth.token.lookup(token)["data"]
    assert found["policies"] == ["reader"]
    assert 0 < found["ttl"] <= 60
    assert found["meta"]["run"] == HOLDER.run
    assert found["meta"]["step"] == HOLDER.step
    with pytest.raises(hvac.exceptions.Forbidden):  # which the default policy would permit
        bench.bao_client(bao, token).auth.token.renew_self()
    with pytest.raises(hvac.exceptions.Forbidden):
        bench.bao_client(bao, token).write_data("auth/token/create", data={})
    source.revoke("token/reader", minted.lease)  # type: ignore[attr-defined]


@pytest.mark.parametrize("login", ["approle", "identity"])
def test_a_login_for_a_moment_leaves_no_token_behind(operator: Operator, bao: Server, login: str) -> None:
    source = declared(operator, bao, login).sources()["openbao"]
    root = bench.bao_client(bao)
    before = set(root.list("auth/token/accessors")["data"]["keys"])
    assert source.mint("kv/secret/data/api", HOLDER, 60)
    with pytest.raises(PolicyDenied):
        source.mint("kv/secret/data/nothing", HOLDER, 60)
    minted = source.mint("creds/database/creds/reader", HOLDER, 60)
    assert minted.lease
    source.revoke("creds/database/creds/reader", minted.lease)  # type: ignore[attr-defined]
    assert set(root.list("auth/token/accessors")["data"]["keys"]) == before


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("kv/secret/data/nothing", "has nothing at secret/data/nothing"),
        ("kv/sys/policy", "does not permit sys/policy"),
        ("creds/database/creds/other", "does not permit"),
        ("creds/secret/data/api", "makes nothing with a lease"),
        ("token/root", "refuses auth/token/create"),
        ("token/", "names no policy"),
        ("secret/data/api", "of no known kind"),
    ],
)
def test_what_cannot_be_had_is_denied_in_words_and_leaves_nothing(
    operator: Operator, bao: Server, reference: str, words: str
) -> None:
    source, root = declared(operator, bao).sources()["openbao"], bench.bao_client(bao)
    before = set(root.list("auth/token/accessors")["data"]["keys"])
    with pytest.raises(PolicyDenied, match=words) as caught:
        source.mint(reference, HOLDER, 60)
    assert caught.value.cure
    assert set(root.list("auth/token/accessors")["data"]["keys"]) == before


def test_a_reader_that_is_not_trusted_is_told_how_to_trust_it(operator: Operator, bao: Server) -> None:
    policy = declared(operator, bao).settings().policy
    policy.write_text(re.sub(r"ca: '[^']*',", "", policy.read_text()))
    with pytest.raises(SourceUnavailable, match="not trusted"):
        operator.sources()["openbao"].mint("kv/secret/data/api", HOLDER, 60)


@pytest.mark.parametrize("status", [200, 204, 302, 307, 400, 404, 429, 500, 503])
def test_what_is_no_openbao_gives_no_value_and_cannot_make_runner_tell_the_token(
    tmp_path: Path, status: int
) -> None:
    asked: list[str] = []

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Type", "application/json")
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            words = json.dumps({"errors": [f"no {self.headers['X-Vault-Token']} with {sent}"]}).encode()
            self.send_header("Content-Length", str(len(words) if status != 204 else 0))
            self.end_headers()
            self.wfile.write(words if status != 204 else b"")

        do_POST = do_GET  # noqa: N815 - the standard library's name

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        operator = Operator(tmp_path)
        login = f"{{token: '{operator.keep('t', secret_servers.ROOT_TOKEN)}'}}"
        operator.declare(f"  openbao: {{address: 'http://127.0.0.1:{server.server_port}', login: {login}}}\n")
        for reference in ("kv/secret/data/api", "creds/database/creds/reader", "token/reader"):
            with pytest.raises((SourceUnavailable, PolicyDenied)) as caught:
                operator.sources()["openbao"].mint(reference, HOLDER, 60)
            assert secret_servers.ROOT_TOKEN not in str(caught.value)
        server.shutdown()
        thread.join()
    assert "/elsewhere" not in asked


def test_a_login_that_has_ended_is_denied(operator: Operator, bao: Server) -> None:
    source = declared(operator, bao).sources()["openbao"]
    token = (operator.folder / "bao.token").read_text()
    bench.bao_client(bao).auth.token.revoke(token)
    with pytest.raises(PolicyDenied, match="does not permit") as caught:
        source.mint("kv/secret/data/api", HOLDER, 60)
    assert token not in str(caught.value)


def test_a_sealed_server_is_unavailable_until_it_is_opened(tmp_path: Path) -> None:
    with secret_servers.openbao() as server:
        root, operator = bench.bao_client(server), Operator(tmp_path)
        root.secrets.kv.v2.create_or_update_secret("api", {"token": "a value"})
        login = f"{{token: '{operator.keep('t', secret_servers.ROOT_TOKEN)}'}}"
        operator.declare(bench.bao_words(f"https://127.0.0.1:{server.port}", server.more["ca"], login))
        source = operator.sources()["openbao"]
        root.sys.seal()
        with pytest.raises(SourceUnavailable, match="sealed") as caught:
            source.mint("kv/secret/data/api", HOLDER, 60)
        assert secret_servers.ROOT_TOKEN not in str(caught.value)
        found = re.search(r"Unseal Key: (\S+)", server.log)
        assert found
        root.sys.submit_unseal_key(found[1])
        assert source.mint("kv/secret/data/api", HOLDER, 60).values["token"] == b"a value"
