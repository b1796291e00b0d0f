"""Every scheme that a binding can name, each made when it is first asked: some need slow packages."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, UsageError
from runner.settings import declared_sources
from runner.vault.extras import need
from runner.vault.lease import Holder
from runner.vault.sources.env import EnvSource
from runner.vault.sources.file import FileSource
from runner.vault.sources.store import StoreSource
from runner.vault.store import checked_mode, checked_name

if TYPE_CHECKING:
    from runner.settings import Settings
    from runner.vault.issuer import Issuer
    from runner.vault.sources.base import Source
    from runner.vault.sources.declared import Declared, OpenBao
    from runner.vault.sources.openbao.login import Login
    from runner.vault.store import SecretStore

FORMS = (
    "env:VAR",
    "file:PATH",
    "store:NAME",
    "command:PROGRAM ARGUMENT…",
    "sops:FILE#KEY",
    "identity:AUDIENCE",
    "openbao:kv/PATH#FIELD",
    "openbao:creds/PATH#FIELD",
    "openbao:token/POLICY,…",
    "postgres:NAME#FIELD",
)
SCHEMES = frozenset(form.partition(":")[0] for form in FORMS)
_REFERENCES = {"openbao": r"(kv|creds|token)/[^#]+(#[^#]+)?", "postgres": r"[a-z][a-z0-9_-]{0,30}(#[a-z]+)?"}
_NOBODY = Holder("", "", "", "", 0, "", "", "")


def canonical(source: str) -> str:
    """Return ``SCHEME:REFERENCE`` as it is kept in a binding; raises ``UsageError``."""
    scheme, _, reference = source.partition(":")
    if scheme not in SCHEMES or not reference or "\0" in reference:
        raise UsageError(f"{source!r} is not a source of secrets", cure=f"known sources: {', '.join(FORMS)}")
    if scheme in _REFERENCES and not re.fullmatch(_REFERENCES[scheme], reference):
        shown = ", ".join(form for form in FORMS if form.startswith(scheme))
        raise UsageError(f"{source!r} cannot be looked up", cure=f"write it as {shown}")
    if scheme == "store":
        checked_name(reference)
    if scheme in ("file", "sops"):
        reference = str(Path(reference).expanduser().absolute())
    return f"{scheme}:{reference}"


class KnownSources(Mapping[str, "Source"]):
    """Sources by scheme, as the operator's policy declares them."""

    def __init__(self, settings: Settings, store: SecretStore) -> None:
        """Read the policy that ``settings`` names, when a source needs it."""
        self._settings, self._lock = settings, threading.RLock()
        self._makers: dict[str, Callable[[], Source]] = {
            "env": EnvSource,
            "file": FileSource,
            "store": lambda: StoreSource(store),
            "command": _command,
            "sops": _sops,
            "identity": self._identity,
            "openbao": self._openbao,
            "postgres": self._postgres,
        }
        self._made: dict[str, Source] = {}
        self._read: Declared | None = None

    def __getitem__(self, scheme: str) -> Source:
        """Return the source; raises ``PolicyDenied`` when it is not declared or lacks its package."""
        with self._lock:
            if scheme not in self._made:
                self._made[scheme] = self._makers[scheme]()
            return self._made[scheme]

    def __contains__(self, scheme: object) -> bool:
        return scheme in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def issuer(self) -> Issuer:
        """Return Runner as an issuer of identities."""
        need("identity", "jwt", "cryptography")
        from runner.vault.issuer import Issuer

        identity = self._declared().identity
        return Issuer(self._settings.config, identity.issuer if identity else "")

    def _identity(self) -> Source:
        from runner.vault.sources.identity import IdentitySource

        return IdentitySource(self.issuer())

    def _openbao(self) -> Source:
        need("openbao", "hvac")
        from runner.vault.sources.openbao.source import OpenBaoSource

        server = self._declared().openbao
        if server is None:
            raise PolicyDenied(
                "the operator's policy declares no OpenBao",
                cure="sources: {openbao: {address: https://…, login: {token: file:/…}}}",
            )
        return OpenBaoSource(server, self._login(server))

    def _login(self, server: OpenBao) -> Login:
        from runner.vault.sources.declared import AppRoleLogin, TokenLogin
        from runner.vault.sources.openbao.login import ByAppRole, ByIdentity, ByToken

        login = server.login
        if isinstance(login, TokenLogin):
            return ByToken(lambda: self._resolve(login.token))
        if isinstance(login, AppRoleLogin):
            role = login.approle
            return ByAppRole(role, lambda: (self._resolve(role.role_id), self._resolve(role.secret_id)))
        return ByIdentity(login.identity, self.issuer())

    def _postgres(self) -> Source:
        need("postgres", "psycopg")
        from runner.vault.sources.postgres.source import PostgresSource

        return PostgresSource(self._declared().postgres, self._resolve)

    def _declared(self) -> Declared:
        if self._read is None:
            from runner.vault.sources.declared import declared

            try:
                data = declared_sources(self._settings)
            except UsageError as error:
                raise PolicyDenied(error.message, cure=error.cure) from None
            self._read = declared(data, str(self._settings.policy))
        return self._read

    def _resolve(self, reference: str) -> str:
        """Open a reference of the policy; ``store:MODE/NAME`` says the mode, since nothing else does."""
        scheme, _, what = reference.partition(":")
        if scheme == "store":
            mode, slash, name = what.partition("/")
            if not slash:
                raise PolicyDenied(f"{reference} names no mode", cure=f"write store:production/{what}")
            checked_mode(mode)
            checked_name(name)
        try:
            return self[scheme].mint(what, _NOBODY, 0).values[""].decode()
        except UnicodeDecodeError:
            raise PolicyDenied(f"{reference} is no text", cure="put the right value there") from None


def _command() -> Source:
    from runner.vault.sources.command import CommandSource

    return CommandSource()


def _sops() -> Source:
    from runner.vault.sources.sops import SopsSource

    return SopsSource()
