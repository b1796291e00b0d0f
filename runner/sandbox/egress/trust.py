"""What a sandbox with a way out is told: where the proxy is, and whom to trust."""

from __future__ import annotations

from pathlib import Path

from runner.errors import UsageError
from runner.sandbox.egress.rules import PROXY_ADDRESS, PROXY_PORT

FILE = "ca-certificates.crt"
_PLACE = f"/run/secrets/{FILE}"
_PROXY = f"http://{PROXY_ADDRESS}:{PROXY_PORT}"
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
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.0/8,::1"),
    **dict.fromkeys(_NAMES, _PLACE),
}


def environment() -> dict[str, str]:
    """Return the variables that lead programs to the proxy."""
    return dict(_WEB)


def authorities(own: Path | None, *more: bytes) -> bytes:
    """Return the certificates of the system, of the operator's file ``own`` and ``more``, as PEM."""
    system = next((path for path in map(Path, _SYSTEM) if path.is_file()), None)
    parts = [path.read_bytes() for path in (system, own) if path]
    whole = b"\n".join([*parts, *more])
    if len(whole) > _LONGEST:
        raise UsageError(f"{own} and the system's certificates are larger than 1 MiB together")
    return whole
