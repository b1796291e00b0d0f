"""The forms in which a secret may show up in output: what GitHub's runner masks, and some more."""

from __future__ import annotations

import base64
import json
import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

MINIMUM = 4
_PASSWORD = re.compile(rb"\w://[^\s/:@]*:([^\s/]+)@")
_ASCII = 0x80
_WRAPS = (64, 76)
_HTML_IN_JSON = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def maskable(value: bytes) -> bool:
    """Whether hiding ``value`` would not ruin every log: four bytes or more, not only punctuation."""
    return len(value) >= MINIMUM and any(byte >= _ASCII or chr(byte).isalnum() for byte in value)


def forms(secret: bytes) -> frozenset[bytes]:
    """Return every form of a secret, its lines and a URL's password included, that is worth masking."""
    bodies = {secret, secret.strip(), *(line.strip() for line in re.split(rb"[\r\n]+", secret))}
    bodies |= {unquote_to_bytes(found) for found in _PASSWORD.findall(secret)}
    found: set[bytes] = set()
    for body in filter(maskable, bodies):
        found.update(_encoded(body))
    return frozenset(filter(maskable, found))


def _encoded(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.replace(b"\r\n", b"\n")
    yield value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield from _base64(value)
    yield from _url(value)
    yield from _shell_bytes(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for form in (*_json(text), *_xml(text)):
        yield form.encode(errors="replace")


def _base64(value: bytes) -> Iterator[bytes]:
    """Yield the characters that ``value`` fixes at each of the three alignments (RFC 4648)."""
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + value)
        first, last = -(-8 * shift // 6), 8 * (shift + len(value)) // 6
        for end in (last, len(coded.rstrip(b"=")), len(coded)):
            yield coded[first:end]
            yield coded[first:end].translate(bytes.maketrans(b"+/", b"-_"))
    whole = base64.b64encode(value)
    for width in _WRAPS:
        if len(whole) > width:
            yield from (whole[at : at + width] for at in range(0, len(whole), width))


def _url(value: bytes) -> Iterator[bytes]:
    for safe in ("", "/", "!'()*", "!*'(),/:;@$"):
        for form in (quote(value, safe=safe), quote_plus(value, safe=safe)):
            yield form.encode()
            yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), form).encode()


def _json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        form = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield form
        yield form.replace("/", "\\/")
        yield form.translate(_HTML_IN_JSON)
        yield form.replace("\\", "\\\\").replace('"', '\\"')


def _xml(text: str) -> Iterator[str]:
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for double in ('"', "&quot;", "&#34;"):
        for single in ("'", "&apos;", "&#39;", "&#x27;"):
            yield plain.replace('"', double).replace("'", single)


def _shell_bytes(value: bytes) -> Iterator[bytes]:
    text = value.decode("latin-1")
    for form in (
        shlex.quote(text).removeprefix("'").removesuffix("'"),
        text.replace("'", "'\\''"),
        re.sub(r"([^\w@%+=:,./\x80-\xff-])", r"\\\1", text),
        re.sub(r'([\\"$`])', r"\\\1", text),
        text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t"),
    ):
        yield form.encode("latin-1")
