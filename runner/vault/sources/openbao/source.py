"""What a binding can name in OpenBao, and how it is taken back."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runner.errors import PolicyDenied, RunnerError, SourceUnavailable
from runner.vault.lease import Lease, Minted
from runner.vault.sources.openbao.client import Client
from runner.vault.sources.openbao.login import create

if TYPE_CHECKING:
    from runner.vault.lease import Holder
    from runner.vault.sources.declared import OpenBao
    from runner.vault.sources.openbao.login import Login, Token


class OpenBaoSource:
    """Three kinds of reference, each with a path or a list.

    ``kv/PATH`` reads what stands at PATH (``secret/data/api`` for version 2), ``creds/PATH`` has credentials
    made at PATH (``database/creds/reader``), ``token/POLICY,…`` makes a token with these policies and no
    other. PATH is what OpenBao's own policies call it. A lease is the accessor of the step's token,
    and what hangs on it: the id of OpenBao's own lease, or the accessor of the token that was handed out.
    """

    def __init__(self, server: OpenBao, login: Login) -> None:
        """Ask ``server``, coming in by ``login``."""
        self._server, self._login = server, login

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Return the values; raises ``PolicyDenied``, ``SourceUnavailable``."""
        kind, _, path = reference.partition("/")
        client = Client(self._server)
        if kind == "kv":
            with self._login.reads(client, holder) as token:
                return Minted(_static(client.read(path, token.value), path))
        made = {"creds": _credentials, "token": _child}.get(kind)
        if made is None:
            raise PolicyDenied(
                f"openbao:{reference} is of no known kind",
                cure="bind kv/PATH#FIELD, creds/PATH#FIELD or token/POLICY",
            )
        now = time.time()
        anchor = self._login.steps(client, holder, ttl)
        lease = Lease(anchor.accessor, now + min(anchor.seconds, ttl))
        try:
            values, more, seconds = made(client, anchor, path, holder, ttl)
            lease = Lease(f"{anchor.accessor} {more}", now + min(anchor.seconds, seconds))
            minted = Minted(values, self._lengthened(reference, lease, ttl))
        except RunnerError:
            with suppress(SourceUnavailable):  # unfinished, it ends by its TTL at the latest
                self.revoke(reference, lease)
            raise
        return minted

    def renew(self, reference: str, lease: Lease, ttl: float) -> Lease:
        """Return the lease with what OpenBao grants of ``ttl`` seconds, perhaps less."""
        accessor, _, more = lease.id.partition(" ")
        client, now, increment = Client(self._server), time.time(), f"{math.ceil(ttl)}s"
        by_accessor = "auth/token/renew-accessor"
        with self._login.own(client) as token:
            answers = [client.write(by_accessor, token.value, {"accessor": accessor, "increment": increment})]
            if reference.startswith("token/"):
                body = {"accessor": more, "increment": increment}
                answers.append(client.write(by_accessor, token.value, body))
            elif more:
                body = {"lease_id": more, "increment": increment}
                answers.append(client.write("sys/leases/renew", token.value, body))
        return Lease(lease.id, now + min(map(_granted, answers)))

    def revoke(self, reference: str, lease: Lease) -> None:
        """End the step's token and, before it and at once, what it made."""
        accessor, _, more = lease.id.partition(" ")
        client = Client(self._server)
        try:
            with self._login.own(client) as token:
                if more and not reference.startswith("token/"):
                    # Ending the token would end this too, but in a queue of OpenBao's.
                    body = {"lease_id": more, "sync": True}
                    client.write("sys/leases/revoke", token.value, body)
                _end(client, token, accessor)
        except PolicyDenied as error:
            raise SourceUnavailable(
                f"what was made for a step cannot be taken back: {error.message}", cure=error.cure
            ) from None

    def _lengthened(self, reference: str, lease: Lease, ttl: float) -> Lease:
        """Ask for the rest where a default of OpenBao's is shorter than what is needed."""
        if lease.expires >= time.time() + ttl - 1:
            return lease
        with suppress(PolicyDenied):
            return self.renew(reference, lease, ttl)
        return lease


def _static(answer: dict[str, Any], path: str) -> dict[str, bytes]:
    data = answer.get("data") or {}
    versioned = isinstance(data.get("data"), dict) and "metadata" in data
    values = _values(data["data"] if versioned else data)
    if not values:
        raise PolicyDenied(f"OpenBao has no value at {path}", cure="bind the secret to another path")
    return values


def _credentials(
    client: Client, anchor: Token, path: str, holder: Holder, ttl: float
) -> tuple[dict[str, bytes], str, float]:
    del holder, ttl
    answer = client.read(path, anchor.value)
    if not answer.get("lease_id"):
        raise PolicyDenied(
            f"openbao:creds/{path} makes nothing with a lease", cure=f"bind openbao:kv/{path}#FIELD"
        )
    return _values(answer.get("data") or {}), answer["lease_id"], answer["lease_duration"]


def _child(
    client: Client, anchor: Token, policies: str, holder: Holder, ttl: float
) -> tuple[dict[str, bytes], str, float]:
    named = [name for name in policies.split(",") if name]
    if not named:
        raise PolicyDenied("openbao:token/ names no policy", cure="bind openbao:token/POLICY,…")
    token = create(client, anchor, holder, ttl, *named)
    return {"": token.value.encode()}, token.accessor, token.seconds


def _values(data: dict[str, Any]) -> dict[str, bytes]:
    return {
        name: (value if isinstance(value, str) else json.dumps(value)).encode()
        for name, value in data.items()
    }


def _granted(answer: dict[str, Any]) -> float:
    return float((answer.get("auth") or answer)["lease_duration"])


def _end(client: Client, token: Token, accessor: str) -> None:
    try:
        client.write("auth/token/revoke-accessor", token.value, {"accessor": accessor})
    except PolicyDenied as error:
        if "invalid accessor" not in error.message:
            raise
