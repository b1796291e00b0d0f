"""What a sandbox with a way out is told: where the proxy is, and whom to trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.sandbox.egress.rules import PROXY_ADDRESS, PROXY_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "ca-certificates.crt"
_PLACE = f"/run/secrets/{FILE}"
_PROXY = f"http://{PROXY_ADDRESS}:{PROXY_PORT}"
_OWN = ("localhost", "127.0.0.1", "::1")
_LONGEST = 1 << 20
_SYSTEM = (  # where Go's crypto/x509 looks on Linux
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
)
_NAMES = (  # OpenSSL and Python, curl, requests, Node, git, pip, the AWS SDKs
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
)
_WEB = {
    **{name: _PROXY for each in ("http_proxy", "https_proxy", "all_proxy") for name in (each, each.upper())},
    **dict.fromkeys(_NAMES, _PLACE),
}


def environment(hosts: Iterable[str]) -> dict[str, str]:
    """Return the variables that lead programs to the proxy, but to the step's own loopback directly.

    ``hosts`` are those of the rules: one of them may be called localhost.
    """
    reached = set(hosts)
    own = ",".join(name for name in _OWN if name not in reached)
    return {**_WEB, "no_proxy": own, "NO_PROXY": own}


def authorities(own: Path | None, *more: bytes) -> bytes:
    """Return the certificates of the system, of the operator's file ``own`` and ``more``, as PEM.

    Raises ``PolicyDenied`` where they cannot be had: the policy names a file that is gone, or too large.
    """
    system = next((path for path in map(Path, _SYSTEM) if path.is_file()), None)
    try:
        parts = [path.read_bytes() for path in (system, own) if path]
    except OSError as error:
        raise PolicyDenied(
            f"{error.filename}: cannot be read: {error.strerror}", cure="correct egress.ca in policy.yaml"
        ) from error
    whole = b"\n".join([*parts, *more])
    if len(whole) > _LONGEST:
        raise PolicyDenied(
            f"{own} and the system's certificates are larger than 1 MiB together",
            cure="name a file of fewer certificates under egress.ca in policy.yaml",
        )
    return whole
