"""Runner as an issuer of identities: signed, short-lived words about which step of which workflow runs.

The tokens are JSON Web Tokens (RFC 7519) signed with ES256; the keys that verify them are a JWK set (RFC
7517). ``CONFIG/issuer.json`` holds the private keys, each with the moment from which on it signs: a new key
can be published before it is used, and an old one stays published while its tokens live.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import PolicyDenied, StoreError
from runner.vault.files import one_at_a_time, own_folder, read_private, replace, write_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.vault.lease import Holder

LIFE = 300.0
_FORMAT = 1
_EARLY = 5.0  # seconds that another machine's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Key:
    """A private key in PEM, its public name, and when it began or begins to sign, in seconds since 1970."""

    kid: str
    signs_from: float
    pem: str = field(repr=False)


class Issuer:
    """Signs tokens as ``name`` (``iss``, a URL of the operator's policy)."""

    def __init__(self, config: Path, name: str = "", now: Callable[[], float] = time.time) -> None:
        """Keep the keys in ``config``; without a name it only publishes them."""
        self._file = config / "issuer.json"
        self._name, self._now = name, now

    def token(self, holder: Holder, audience: str, ttl: float = LIFE) -> bytes:
        """Return a token for the holder's attempt that lives ``ttl`` seconds, five minutes at most."""
        subject = f"mode:{holder.mode}:workflow:{holder.workflow}:step:{holder.step}"
        return self._signed({"sub": subject, **asdict(holder)}, audience, ttl)

    def own_token(self, audience: str) -> bytes:
        """Return a token for Runner itself, which takes back what it got for its steps."""
        return self._signed({"sub": "runner"}, audience, LIFE)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK set, the one that signs now first."""
        from jwt.algorithms import ECAlgorithm

        found = []
        for key in self._published():
            jwk = ECAlgorithm.to_jwk(_private(key).public_key(), as_dict=True)
            found.append({**jwk, "kid": key.kid, "alg": "ES256", "use": "sig"})
        return {"keys": found}

    def pems(self) -> list[str]:
        """Return the public keys in PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return [_private(key).public_key().public_bytes(*form).decode() for key in self._published()]

    def rotate(self, after: float) -> None:
        """Make a key that signs ``after`` seconds from now on, and drop those whose tokens are dead."""
        with one_at_a_time(self._file.with_name(".issuer.lock")):
            now = self._now()
            replace(self._file, _text([_new(now + after), *_live(self._keys(), now)]))

    def _signed(self, claims: dict[str, object], audience: str, ttl: float) -> bytes:
        if not self._name:
            raise PolicyDenied(
                "identities are not set up",
                cure="say who issues them in the operator's policy: sources: {identity: {issuer: https://…}}",
            )
        import jwt

        now = self._now()
        key = next(key for key in _live(self._keys(), now) if key.signs_from <= now)
        times = {"iat": int(now), "nbf": int(now - _EARLY), "exp": int(now + min(ttl, LIFE))}
        words = {**claims, "iss": self._name, "aud": audience, "jti": os.urandom(16).hex(), **times}
        return jwt.encode(words, _private(key), algorithm="ES256", headers={"kid": key.kid}).encode()

    def _published(self) -> list[Key]:
        now = self._now()
        live = _live(self._keys(), now)
        return sorted(live, key=lambda key: (key.signs_from > now, -key.signs_from))

    def _keys(self) -> list[Key]:
        """Return every key, newest first; the first one is made here, by one of all who ask at once."""
        own_folder(self._file.parent)
        with contextlib.suppress(FileNotFoundError):
            return self._read()
        with contextlib.suppress(FileExistsError):
            write_new(self._file, _text([_new(0.0)]))
        return self._read()

    def _read(self) -> list[Key]:
        try:
            data = json.loads(read_private(self._file))
            keys = [Key(**item) for item in data["keys"]] if data["version"] == _FORMAT else []
        except (ValueError, TypeError, KeyError):
            keys = []
        if not keys:
            raise StoreError(
                f"{self._file} is damaged or of another Runner",
                cure="put it back, or remove it and give the new `runner keys jwks` to all who verify",
            )
        return keys


def _live(keys: list[Key], now: float) -> list[Key]:
    """Return the keys, newest first, save those that a newer one replaced longer ago than a token lives."""
    ordered = sorted(keys, key=lambda key: -key.signs_from)
    replaced = [math.inf, *(key.signs_from for key in ordered)]
    return [key for key, end in zip(ordered, replaced, strict=False) if end + LIFE > now]


def _text(keys: list[Key]) -> bytes:
    return json.dumps({"version": _FORMAT, "keys": [asdict(key) for key in keys]}, indent=1).encode() + b"\n"


def _new(signs_from: float) -> Key:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Key(os.urandom(8).hex(), signs_from, pem.decode())


def _private(key: Key) -> Any:  # noqa: ANN401 - one of many kinds for the types, one for us
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(key.pem.encode(), None)
