"""Every source of secrets with a real server behind it, set up as an operator would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hvac
import psycopg
from secret_servers import ADMIN_PASSWORD, ROOT_TOKEN, Server

from runner.settings import Settings
from runner.vault.lease import Holder, Minted
from runner.vault.sources.known import KnownSources
from runner.vault.store import SecretStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.vault.issuer import Issuer

ISSUER = "https://runner.example"
HOLDER = Holder("20261125-014456-ab12cd", "digest", "staging", "load[m=1]", 1, "run", "d" * 64, "e" * 64)
LOGINS = ("token", "approle", "identity")
STATIC = "a static value: 'ü'"
_LEASES = """
path "auth/token/revoke-accessor" {capabilities = ["update"]}
path "auth/token/renew-accessor" {capabilities = ["update"]}
path "sys/leases/revoke" {capabilities = ["update"]}
path "sys/leases/renew" {capabilities = ["update"]}
"""
_STEPS = """
path "database/creds/reader" {capabilities = ["read"]}
path "secret/data/*" {capabilities = ["read"]}
path "auth/token/create" {capabilities = ["update"]}
"""
_MADE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
    'GRANT pg_read_all_data TO "{{name}}"',
)
_UNMADE = (
    'ALTER ROLE "{{name}}" NOLOGIN',
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'DROP ROLE IF EXISTS "{{name}}"',
)


def admin_url(port: int, database: str = "postgres") -> str:
    return f"postgresql://postgres:{quote(ADMIN_PASSWORD, safe='')}@127.0.0.1:{port}/{database}"


@dataclass(frozen=True)
class Operator:
    """An operator's folders: policy, keys, and files with the secrets of the logins."""

    folder: Path

    def settings(self) -> Settings:
        return Settings.from_environment(
            {"HOME": str(self.folder), "RUNNER_POLICY": str(self.folder / "policy.yaml")}
        )

    def declare(self, text: str) -> Operator:
        (self.folder / "policy.yaml").write_text(f"sources:\n{text}")
        return self

    def keep(self, name: str, value: str) -> str:
        path = self.folder / name
        path.write_text(value)
        path.chmod(0o600)
        return f"file:{path}"

    def store(self) -> SecretStore:
        settings = self.settings()
        return SecretStore(settings.home, settings.config)

    def sources(self) -> KnownSources:
        """Return the sources as a new process would have them."""
        return KnownSources(self.settings(), self.store())

    def revoke_elsewhere(self, source: str, lease: str, expires: float) -> subprocess.CompletedProcess[str]:
        """Take a lease back in another process, which knows the policy and the lease alone."""
        scheme, _, reference = source.partition(":")
        words = (
            "import os, sys; from runner.settings import Settings; from runner.vault.lease import Lease\n"
            "from runner.vault.sources.known import KnownSources; from runner.vault.store import SecretStore\n"
            "settings = Settings.from_environment(os.environ)\n"
            "known = KnownSources(settings, SecretStore(settings.home, settings.config))\n"
            "known[sys.argv[1]].revoke(sys.argv[2], Lease(sys.argv[3], float(sys.argv[4])))\n"
        )
        env = {**os.environ, "HOME": str(self.folder), "RUNNER_POLICY": str(self.folder / "policy.yaml")}
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "RUNNER_HOME"):
            env.pop(name, None)
        argv = [sys.executable, "-P", "-c", words, scheme, reference, lease, str(expires)]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


@dataclass(frozen=True)
class Case:
    """One source: how it is bound, whether a value works, and how something stays open with it."""

    operator: Operator
    source: str
    works: Callable[[Minted], bool]
    opens: Callable[[Minted], Callable[[], object]] | None = None
    hidden: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return self.source.partition(":")[2]

    @staticmethod
    def value(minted: Minted) -> bytes:
        """Return the value that is hidden, whatever its field."""
        fields = [field for field in ("", "password", "token") if field in minted.values]
        return minted.values[fields[0]]

    def made(self) -> Any:
        return self.operator.sources()[self.source.partition(":")[0]]

    def mint(self, ttl: float = 60, holder: Holder = HOLDER) -> Minted:
        minted: Minted = self.made().mint(self.reference, holder, ttl)
        return minted


def logs_in(minted: Minted, port: int) -> bool:
    name, password = (minted.values[field].decode() for field in ("username", "password"))
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, user=name, password=password, dbname="postgres"
        ) as made:
            return made.execute("SELECT current_user").fetchone() == (name,)
    except psycopg.OperationalError:
        return False


def session(minted: Minted, port: int) -> psycopg.Connection:
    name, password = (minted.values[field].decode() for field in ("username", "password"))
    return psycopg.connect(
        host="127.0.0.1", port=port, user=name, password=password, dbname="postgres", autocommit=True
    )


def bao_client(server: Server, token: str = ROOT_TOKEN) -> hvac.Client:
    return hvac.Client(f"https://127.0.0.1:{server.port}", token, verify=str(server.more["ca"]))


def reads_api(server: Server, token: str) -> bool:
    """Whether a token reads what the policy ``reader`` permits."""
    try:
        bao_client(server, token).secrets.kv.v2.read_secret_version("api", raise_on_deleted_version=True)
    except hvac.exceptions.Forbidden:
        return False
    return True


def furnish(bao: Server, postgres_port: int, issuer: Issuer) -> None:
    """Put engines, values, policies and logins into a new OpenBao."""
    client = bao_client(bao)
    client.secrets.kv.v2.create_or_update_secret("api", {"token": STATIC, "other": {"a": 1}})
    client.sys.enable_secrets_engine("database")
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres_port}/postgres?sslmode=disable"
    client.write_data(
        "database/config/main",
        data={
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["reader"],
            "connection_url": url,
            "username": "postgres",
            "password": ADMIN_PASSWORD,
        },
    )
    role = {"db_name": "main", "creation_statements": list(_MADE), "revocation_statements": list(_UNMADE)}
    client.write_data("database/roles/reader", data={**role, "default_ttl": "20s", "max_ttl": "1h"})
    policies = {
        "reader": 'path "secret/data/api" {capabilities = ["read"]}',
        "steps": _STEPS,
        "runner": _STEPS + _LEASES,
        "revoker": _LEASES,
    }
    for name, text in policies.items():
        client.sys.create_or_update_policy(name, text)
    client.sys.enable_auth_method("approle")
    client.auth.approle.create_or_update_approle(
        "runner", token_policies=["runner", "reader"], token_ttl="10m"
    )
    client.sys.enable_auth_method("jwt")
    client.write_data(
        "auth/jwt/config", data={"jwt_validation_pubkeys": issuer.pems(), "bound_issuer": ISSUER}
    )
    common = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"], "token_ttl": "10m"}
    bound = {name: getattr(HOLDER, name) for name in ("workflow", "mode", "definition")}
    steps = {"bound_claims": bound, "token_policies": ["steps", "reader"]}
    client.write_data("auth/jwt/role/steps", data={**common, **steps})
    own = {"bound_subject": "runner", "token_policies": ["revoker"]}
    client.write_data("auth/jwt/role/runner", data={**common, **own})


def login_words(kind: str, operator: Operator, bao: Server) -> tuple[str, tuple[str, ...]]:
    """Return the policy's words for a login, and the secrets behind them."""
    client = bao_client(bao)
    if kind == "token":
        token = client.auth.token.create(policies=["runner", "reader"], ttl="1h")["auth"]["client_token"]
        return f"{{token: '{operator.keep('bao.token', token)}'}}", (token,)
    if kind == "approle":
        role = client.auth.approle.read_role_id("runner")["data"]["role_id"]
        secret = client.auth.approle.generate_secret_id("runner")["data"]["secret_id"]
        ids = operator.keep("role", role), operator.keep("secret", secret)
        return f"{{approle: {{role_id: '{ids[0]}', secret_id: '{ids[1]}'}}}}", (secret,)
    return "{identity: {role: steps, revoker: runner, audience: openbao}}", ()


def bao_words(address: str, ca: Path, login: str) -> str:
    return (
        f"  identity: {{issuer: '{ISSUER}'}}\n"
        f"  openbao: {{address: '{address}', ca: '{ca}', login: {login}, timeout: 2s}}\n"
    )


def postgres_words(admin: str, more: str = "grants: [pg_read_all_data]") -> str:
    return f"  postgres: {{main: {{admin: '{admin}', timeout: 3s, {more}}}}}\n"
