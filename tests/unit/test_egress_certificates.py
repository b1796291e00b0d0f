from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runner.sandbox.egress import certificate
from runner.sandbox.egress.authority import Authority, _public

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = [
    "api.example.com",
    "a_b.example",
    "x" * 60 + "." + "y" * 60 + "." + "z" * 60 + ".example.com",
    "127.0.0.1",
    "2606:4700::1111",
]


def _leaf(authority: Authority, host: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return certificate.leaf(host, _public(key), _public(authority._key), authority._sign)


@pytest.mark.parametrize("host", HOSTS)
def test_openssl_verifies_a_certificate_as_strictly_as_it_can(tmp_path: Path, host: str) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "leaf.pem").write_bytes(_leaf(authority, host))
    named = "-verify_ip" if host[0].isdigit() else "-verify_hostname"
    argv = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        "ca.pem",
        named,
        host,
        "leaf.pem",
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "leaf.pem: OK", done.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_a_certificate_says_what_it_should_and_nothing_else(host: str) -> None:
    authority = Authority()
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    leaf = x509.load_pem_x509_certificate(_leaf(authority, host))
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(issuer)
    constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (False, True, True)
    names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    wanted = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    assert names == [wanted]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < dt.timedelta(days=31)
    assert leaf.serial_number != issuer.serial_number


def test_a_key_never_has_a_file_and_two_runs_share_none() -> None:
    one, other = Authority(), Authority()
    assert isinstance(one.server("a.example"), ssl.SSLContext)
    assert one.server("a.example") is one.server("a.example")
    numbers = [each._key.private_numbers().private_value for each in (one, other)]
    assert numbers[0] != numbers[1]
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    assert one._key.private_bytes(*form) not in one.certificate
