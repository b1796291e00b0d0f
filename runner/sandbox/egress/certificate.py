"""The two kinds of certificate that a run needs, written in DER (RFC 5280).

A library for certificates takes longer to load than most steps take to start.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Sign = Callable[[bytes], bytes]

_BEFORE = dt.timedelta(hours=1)
_AFTER = dt.timedelta(days=30)
_ISSUER = "Runner: the egress proxy of one run"
_SHORT = 0x80
_INTEGER, _BITS, _OCTETS, _OID, _TEXT, _TIME, _SEQUENCE, _SET = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x17, 0x30, 0x31
_VERSION_3 = bytes.fromhex("a003020102")
_TRUE = bytes.fromhex("0101ff")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("550403")
_KEY_IDENTIFIER, _KEY_USAGE, _ALTERNATIVE_NAME, _CONSTRAINTS, _AUTHORITY, _PURPOSES = 14, 15, 17, 19, 35, 37
_SIGNS_CERTIFICATES = bytes.fromhex("03020106")
_SIGNS_DATA = bytes.fromhex("03020780")
_NO_PATH_BELOW = bytes.fromhex("0101ff020100")
_SERVER = bytes.fromhex("06082b06010505070301")


def authority(key: bytes, sign: Sign) -> bytes:
    """Return the certificate (PEM) of an authority with the public ``key`` (SubjectPublicKeyInfo, DER)."""
    extensions = (
        _extension(_CONSTRAINTS, _der(_SEQUENCE, _NO_PATH_BELOW), critical=True),
        _extension(_KEY_USAGE, _SIGNS_CERTIFICATES, critical=True),
        _extension(_KEY_IDENTIFIER, _der(_OCTETS, _identifier(key))),
    )
    return _signed(_name(_ISSUER), key, extensions, sign)


def leaf(host: str, key: bytes, issuer_key: bytes, sign: Sign) -> bytes:
    """Return a server's certificate (PEM) for ``host``, signed by the authority with ``issuer_key``."""
    extensions = (
        _extension(_ALTERNATIVE_NAME, _der(_SEQUENCE, _alternative(host)), critical=True),
        _extension(_CONSTRAINTS, _der(_SEQUENCE), critical=True),
        _extension(_KEY_USAGE, _SIGNS_DATA, critical=True),
        _extension(_PURPOSES, _der(_SEQUENCE, _SERVER)),
        _extension(_AUTHORITY, _der(_SEQUENCE, _der(0x80, _identifier(issuer_key)))),
    )
    return _signed(_der(_SEQUENCE), key, extensions, sign)


def _signed(subject: bytes, key: bytes, extensions: tuple[bytes, ...], sign: Sign) -> bytes:
    now = dt.datetime.now(dt.UTC)
    valid = _der(_SEQUENCE, _time(now - _BEFORE), _time(now + _AFTER))
    serial = _der(_INTEGER, b"\x01" + secrets.token_bytes(15))
    listed = _der(0xA3, _der(_SEQUENCE, *extensions))
    said = _der(_SEQUENCE, _VERSION_3, serial, _ECDSA_SHA256, _name(_ISSUER), valid, subject, key, listed)
    whole = _der(_SEQUENCE, said, _ECDSA_SHA256, _der(_BITS, b"\0", sign(said)))
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(whole) + b"-----END CERTIFICATE-----\n"


def _der(tag: int, *parts: bytes) -> bytes:
    """Return one value: its tag, its length, its content (X.690, 8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < _SHORT:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT | len(length)]) + length + content


def _name(text: str) -> bytes:
    value = _der(_SEQUENCE, _der(_OID, _COMMON_NAME), _der(_TEXT, text.encode()))
    return _der(_SEQUENCE, _der(_SET, value))


def _time(moment: dt.datetime) -> bytes:
    return _der(_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())


def _extension(number: int, value: bytes, *, critical: bool = False) -> bytes:
    oid = _der(_OID, bytes([0x55, 0x1D, number]))
    return _der(_SEQUENCE, oid, _TRUE if critical else b"", _der(_OCTETS, value))


def _identifier(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:20]


def _alternative(host: str) -> bytes:
    try:
        return _der(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _der(0x82, host.encode())
