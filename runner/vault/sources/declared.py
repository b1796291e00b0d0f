"""What the operator's policy says under ``sources``.

::

    sources:
      identity: {issuer: https://runner.example}
      openbao:
        address: https://bao.example:8200
        ca: /etc/runner/bao-ca.pem                 # default: the system's
        login: {token: file:/etc/runner/bao.token}
        # login: {approle: {role_id: env:BAO_ROLE, secret_id: file:/etc/runner/bao.secret}}
        # login: {identity: {role: "{workflow}-{mode}", revoker: runner, audience: openbao}}
      postgres:
        warehouse:
          admin: file:/etc/runner/warehouse.url    # postgresql://runner:…@db.example/warehouse
          grants: [reporting, SELECT ON ALL TABLES IN SCHEMA public]

Secrets never stand there literally: a ``Reference`` says which other source has them. Paths are absolute: a
relative one would begin in the folder of a project, which is the author's.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from runner.errors import PolicyDenied
from runner.units import parse_duration


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("an address is https://HOST:PORT")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("secrets only go to another machine over https")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Reference = Annotated[str, Field(pattern=r"^(env:.|file:/.|store:.|command:.|sops:/.)")]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=60)]
Address = Annotated[str, AfterValidator(_address)]
Text = Annotated[str, Field(min_length=1)]
File = Annotated[str, Field(pattern=r"^/.")]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Identity(_Declared):
    """Runner as an issuer: the ``iss`` of its tokens."""

    issuer: Text


class TokenLogin(_Declared):
    """By a token of the operator's."""

    token: Reference


class AppRole(_Declared):
    """Which role, by which secret."""

    role_id: Reference
    secret_id: Reference
    mount: Text = "approle"


class AppRoleLogin(_Declared):
    """By AppRole: each time anew."""

    approle: AppRole


class WorkloadIdentity(_Declared):
    """``role`` is the steps', ``revoker`` Runner's own, both of the jwt method at ``mount``.

    ``{workflow}`` and ``{mode}`` in ``role`` stand for those of the step.
    """

    role: Text
    revoker: Text
    audience: Text
    mount: Text = "jwt"


class IdentityLogin(_Declared):
    """By the identity of the step that the secret is for."""

    identity: WorkloadIdentity


class OpenBao(_Declared):
    """A server of OpenBao or Vault, and how Runner comes in; ``timeout`` is for each call."""

    address: Address
    login: TokenLogin | AppRoleLogin | IdentityLogin
    ca: File | None = None
    namespace: Text | None = None
    timeout: Seconds = 5.0


class Postgres(_Declared):
    """A database in which steps get roles of their own.

    ``grants`` are roles, or privileges as they stand between GRANT and TO. ``owner`` gets what a step leaves;
    without one it is dropped. ``host`` and ``port`` are as steps see them, by default those of ``admin``.
    """

    admin: Reference
    grants: tuple[Text, ...] = Field((), strict=False)
    database: Text | None = None
    owner: Text | None = None
    host: Text | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    connections: Annotated[int, Field(ge=1, le=1000)] = 10
    timeout: Seconds = 5.0


class Declared(_Declared):
    """All that stands under ``sources``."""

    identity: Identity | None = None
    openbao: OpenBao | None = None
    postgres: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")], Postgres] = {}


def declared(data: dict[str, Any], where: str) -> Declared:
    """Return the declaration; raises ``PolicyDenied`` with every mistake and nothing of what stands there."""
    try:
        return Declared.model_validate(data)
    except ValidationError as error:
        found = {
            ".".join(["sources", *map(str, each["loc"])]) + f": {each['msg']}"
            for each in error.errors(include_input=False, include_url=False, include_context=False)
        }
        raise PolicyDenied(
            f"{where}: {'; '.join(sorted(found))}", cure="docs/secrets.md shows how sources are declared"
        ) from None
