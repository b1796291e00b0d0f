"""Calls to an OpenBao server, each with a timeout and each error in Runner's words.

What a server says is repeated only where it refuses a request, and never with what we sent in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hvac.adapters
import requests
from hvac import exceptions

from runner.errors import PolicyDenied, SourceUnavailable

if TYPE_CHECKING:
    from runner.vault.sources.declared import OpenBao

_WORDS = 200
_SECRET = ("jwt", "secret_id")


class Client:
    """One server, for one operation: calls after the first one share its connection."""

    def __init__(self, server: OpenBao) -> None:
        """Ask ``server``; nothing of the environment (proxies, .netrc, VAULT_TOKEN) counts."""
        self.address = server.address
        session = requests.Session()
        session.trust_env = False
        session.verify = server.ca or True
        self._adapter = hvac.adapters.JSONAdapter(
            base_uri=server.address,
            timeout=server.timeout,
            allow_redirects=False,
            session=session,
            namespace=server.namespace,
        )

    def read(self, path: str, token: str) -> dict[str, Any]:
        """Return what stands or is made at ``path``."""
        return self._call("get", path, token, {})

    def write(self, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send ``body``; return what was answered, empty for nothing."""
        return self._call("post", path, token, body)

    def _call(self, method: str, path: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        more = {"json": body} if body else {}
        self._adapter.token = token
        try:
            answer = self._adapter.request(method, f"/v1/{path}", **more)
        except exceptions.VaultError as error:
            raise self._translated(error, path, [token, *(body.get(name, "") for name in _SECRET)]) from None
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        if isinstance(answer, dict):
            return answer
        if answer.status_code == requests.codes.no_content:
            return {}
        raise SourceUnavailable(
            f"what answers at {self.address} is no OpenBao that serves (status {answer.status_code})",
            cure="name the active server itself in sources.openbao.address",
        )

    def _translated(
        self, error: exceptions.VaultError, path: str, sent: list[str]
    ) -> PolicyDenied | SourceUnavailable:
        here = f"OpenBao at {self.address}"
        if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
            return PolicyDenied(
                f"{here} does not permit {path}",
                cure="let the policies of Runner's login (sources.openbao.login) permit that path, "
                "or see whether the login still lives",
            )
        if isinstance(error, exceptions.InvalidPath):
            return PolicyDenied(f"{here} has nothing at {path}", cure="bind the secret to another path")
        if isinstance(error, exceptions.InvalidRequest):
            said = "; ".join(map(str, error.errors or ["no reason"])).replace("\n", " ")
            for value in filter(None, sent):
                said = said.replace(value, "***")
            return PolicyDenied(f"{here} refuses {path}: {said[:_WORDS]}", cure="see its audit log")
        if isinstance(error, exceptions.VaultDown):
            return SourceUnavailable(
                f"{here} is sealed or in maintenance", cure="unseal it: bao operator unseal"
            )
        return SourceUnavailable(f"{here} cannot serve {path}: {type(error).__name__}", cure="see its log")

    def _unreachable(self, error: requests.RequestException) -> SourceUnavailable:
        here = f"OpenBao at {self.address}"
        if isinstance(error, requests.exceptions.SSLError):
            return SourceUnavailable(
                f"{here} shows a certificate that is not trusted", cure="name its CA in sources.openbao.ca"
            )
        if isinstance(error, requests.exceptions.Timeout):
            return SourceUnavailable(f"{here} does not answer in time", cure="see whether it is overloaded")
        return SourceUnavailable(f"{here} cannot be reached", cure="see whether it runs, and its address")
