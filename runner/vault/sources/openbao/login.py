"""How Runner comes into OpenBao: by a token, by AppRole, or by the identity of the step.

Whatever is made for a step hangs on one token of the step's own, which Runner keeps for itself: ended, it
takes all with it.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runner.errors import PolicyDenied, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.vault.issuer import Issuer
    from runner.vault.lease import Holder
    from runner.vault.sources.declared import AppRole, WorkloadIdentity
    from runner.vault.sources.openbao.client import Client


@dataclass(frozen=True, slots=True)
class Token:
    """A token, the accessor by which others can end it, and the seconds that it lives."""

    value: str = field(repr=False)
    accessor: str = ""
    seconds: float = math.inf


class Login(Protocol):
    """Tokens to ask with."""

    def steps(self, client: Client, holder: Holder, ttl: float) -> Token:
        """Return a new token for the holder's attempt."""
        ...

    def reads(self, client: Client, holder: Holder) -> contextlib.AbstractContextManager[Token]:
        """Lend a token that reads what the holder may have."""
        ...

    def own(self, client: Client) -> contextlib.AbstractContextManager[Token]:
        """Lend a token that renews and revokes what others of this login made."""
        ...


def create(client: Client, parent: Token, holder: Holder, ttl: float, *policies: str) -> Token:
    """Return a child token without the default policy; without ``policies`` it may what its parent may."""
    body: dict[str, Any] = {
        "ttl": f"{math.ceil(ttl)}s",
        "no_default_policy": True,
        "display_name": f"runner-{holder.workflow}",
        "meta": {name: str(value) for name, value in asdict(holder).items()},
    }
    if policies:
        body["policies"] = list(policies)
    return _token(client.write("auth/token/create", parent.value, body))


class ByToken:
    """A token of the operator's; each step gets a child of it."""

    def __init__(self, token: Callable[[], str]) -> None:
        """``token`` is asked each time: it may be renewed in its file."""
        self._token = token

    def steps(self, client: Client, holder: Holder, ttl: float) -> Token:
        """Make a child."""
        return create(client, Token(self._token()), holder, ttl)

    @contextlib.contextmanager
    def reads(self, client: Client, holder: Holder) -> Iterator[Token]:
        """Lend the operator's."""
        del holder
        with self.own(client) as token:
            yield token

    @contextlib.contextmanager
    def own(self, client: Client) -> Iterator[Token]:
        """Lend the operator's."""
        del client
        yield Token(self._token())


class ByAppRole:
    """Log in anew for each step: a token kept for long would end, and take with it what was made by it."""

    def __init__(self, role: AppRole, ids: Callable[[], tuple[str, str]]) -> None:
        """``ids`` gives the role's id and its secret."""
        self._role, self._ids = role, ids

    def steps(self, client: Client, holder: Holder, ttl: float) -> Token:
        """Log in."""
        del holder, ttl
        role_id, secret_id = self._ids()
        body = {"role_id": role_id, "secret_id": secret_id}
        return _token(client.write(f"auth/{self._role.mount}/login", "", body))

    @contextlib.contextmanager
    def reads(self, client: Client, holder: Holder) -> Iterator[Token]:
        """Log in for a moment."""
        del holder
        with self.own(client) as token:
            yield token

    @contextlib.contextmanager
    def own(self, client: Client) -> Iterator[Token]:
        """Log in for a moment."""
        role_id, secret_id = self._ids()
        body = {"role_id": role_id, "secret_id": secret_id}
        with _moment(client, _token(client.write(f"auth/{self._role.mount}/login", "", body))) as token:
            yield token


class ByIdentity:
    """The step's own identity comes in, so that OpenBao decides by workflow, step, mode and definition."""

    def __init__(self, role: WorkloadIdentity, issuer: Issuer) -> None:
        """Let ``issuer`` sign."""
        self._role, self._issuer = role, issuer

    def steps(self, client: Client, holder: Holder, ttl: float) -> Token:
        """Log in as the step."""
        del ttl
        role = self._role.role.replace("{workflow}", holder.workflow).replace("{mode}", holder.mode)
        return self._login(client, role, self._issuer.token(holder, self._role.audience))

    @contextlib.contextmanager
    def reads(self, client: Client, holder: Holder) -> Iterator[Token]:
        """Log in as the step for a moment."""
        with _moment(client, self.steps(client, holder, 0)) as token:
            yield token

    @contextlib.contextmanager
    def own(self, client: Client) -> Iterator[Token]:
        """Log in as Runner itself for a moment."""
        jwt = self._issuer.own_token(self._role.audience)
        with _moment(client, self._login(client, self._role.revoker, jwt)) as token:
            yield token

    def _login(self, client: Client, role: str, jwt: bytes) -> Token:
        return _token(client.write(f"auth/{self._role.mount}/login", "", {"role": role, "jwt": jwt.decode()}))


@contextlib.contextmanager
def _moment(client: Client, token: Token) -> Iterator[Token]:
    try:
        yield token
    finally:
        with contextlib.suppress(RunnerError):  # a login that may not end itself ends by its TTL
            client.write("auth/token/revoke-self", token.value, {})


def _token(answer: dict[str, Any]) -> Token:
    auth = answer.get("auth") or {}
    if not auth.get("client_token"):
        raise PolicyDenied("OpenBao gives no token", cure="see whether the login asks for a second factor")
    return Token(auth["client_token"], auth.get("accessor", ""), auth.get("lease_duration") or math.inf)
