"""The certificate authority of one run: its keys live in memory and end with it."""

from __future__ import annotations

import os
import ssl

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runner.sandbox.egress import certificate


class Authority:
    """Signs certificates for the hosts whose TLS the proxy ends; steps trust its ``certificate`` (PEM)."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = certificate.authority(_public(self._key), self._sign)
        self._servers: dict[str, ssl.SSLContext] = {}

    def server(self, host: str) -> ssl.SSLContext:
        """Return what makes the proxy ``host`` for those who trust ``certificate``."""
        if host not in self._servers:
            self._servers[host] = self._context(host)
        return self._servers[host]

    def _context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate.leaf(host, _public(key), _public(self._key), self._sign)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        _load(context, leaf + _private(key))
        return context

    def _sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a certificate and its key to ``ssl``, which reads files only: from one in memory."""
    memory = os.memfd_create("egress")
    try:
        os.write(memory, pem)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
