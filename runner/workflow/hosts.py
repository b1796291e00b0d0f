"""Hosts that a step may reach: one spelling for each, and the rule that an author's line stands for."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_ENTRY = re.compile(r"(?:(https?|tcp)://)?(\[[^\[\]]*\]|[^\[\]:/@?#%\\\s]+)(?::([0-9]{1,5}))?/?")
_KEYS = ("host", "insecure", "private", "max_bytes", "reason")
_PORTS = {"https": 443, "http": 80, "tcp": 0}
_LAST_PORT = 65535
_LONGEST = 253
_UNLIKE = "\u00df\u03c2\u200c\u200d"
_SHARED = frozenset(
    {
        *("amazonaws.com", "appspot.com", "awsapprunner.com", "azureedge.net", "azurefd.net"),
        *("azurewebsites.net", "b-cdn.net", "backblazeb2.com", "blogspot.com", "cloudapp.net"),
        *("cloudfront.net", "cloudfunctions.net", "deno.dev", "digitaloceanspaces.com"),
        *("elasticbeanstalk.com", "fastly.net", "firebaseapp.com", "fly.dev", "github.io"),
        *("githubusercontent.com", "gitlab.io", "glitch.me", "googleapis.com", "googleusercontent.com"),
        *("herokuapp.com", "hf.space", "koyeb.app", "myshopify.com", "netlify.app", "ngrok-free.app"),
        *("ngrok.app", "ngrok.io", "nip.io", "now.sh", "ondigitalocean.app", "onrender.com", "pages.dev"),
        *("r2.dev", "railway.app", "repl.co", "replit.app", "replit.dev", "run.app", "sslip.io"),
        *("supabase.co", "surge.sh", "trycloudflare.com", "vercel.app", "web.app", "webflow.io"),
        *("windows.net", "wordpress.com", "workers.dev"),
    }
)
_SECOND_LEVEL = frozenset(
    {"ac", "co", "com", "edu", "gob", "gov", "go", "mil", "ne", "net", "nom", "or", "org", "sch"}
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One host that a step may reach; ``written`` is the line that says so.

    ``host`` is in lower case without a final dot: a name, an address, or ``*.`` and a name. ``kind`` is
    ``web`` (by the proxy) or ``tcp`` (an outlet of its own). Only TLS passes unless ``insecure``; only public
    addresses are connected to unless ``private``. ``most`` is how many bytes may pass in all, 0 for any.
    """

    host: str
    port: int
    kind: str = "web"
    insecure: bool = False
    private: bool = False
    most: int = 0
    written: str = ""

    def covers(self, host: str, port: int) -> bool:
        """Whether a canonical host and a port are this rule's; ``*.`` stands for one or more labels."""
        if port != self.port:
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


def canonical_host(text: str) -> str:
    """Return the one spelling of a name or an address; raises ``ValueError`` in plain words.

    Names come in lower case and ASCII (IDNA), without a final dot; IPv4 in four decimals however it was
    disguised (``0x7f.1``, ``2130706433``), IPv6 compressed and without brackets, an IPv4-mapped one as IPv4.
    """
    if text.startswith("["):
        return _six(text)
    name = _ascii(text).lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _four(text, labels)
    if len(name) > _LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{text[:_LONGEST]} is no host name")
    return name


def shown(host: str, port: int = 0) -> str:
    """Return a host, and its port if any, as URLs write them."""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def parse_rule(entry: str | Mapping[str, object]) -> Rule:
    """Return the rule of an entry of ``egress``; raises ``ValueError`` in plain words.

    An entry is ``https://HOST[:PORT]`` (``https://`` may be left out), ``tcp://HOST:PORT``, or a mapping with
    it under ``host`` and any of ``insecure``, ``private``, ``max_bytes`` and ``reason``; ``http://`` needs
    ``insecure: true``, and ``*.HOST`` a ``reason``.
    """
    given: Mapping[str, object] = {"host": entry} if isinstance(entry, str) else entry
    unknown = [str(key) for key in given if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]} is no key of an egress entry: write {', '.join(_KEYS)}")
    text = given.get("host")
    match = _ENTRY.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(
            f"{text} is no host: write https://HOST or https://HOST:PORT, without user, path or query"
        )
    insecure, private = _flag(given, "insecure"), _flag(given, "private")
    scheme, port = match[1] or "https", int(match[3] or 0)
    if scheme == "http" and not insecure:
        raise ValueError(f'{text} is not encrypted: write {{host: "{text}", insecure: true}}')
    if (match[3] and not 1 <= port <= _LAST_PORT) or (scheme == "tcp" and not match[3]):
        raise ValueError(f"{text} has no port between 1 and {_LAST_PORT}")
    host = _host(match[2], given.get("reason"))
    if scheme == "tcp" and (host.startswith("*.") or ":" in host or host.rpartition(".")[2].isdigit()):
        raise ValueError(f"{text}: programs find it by its name, so write one name")
    port, kind = port or _PORTS[scheme], "tcp" if scheme == "tcp" else "web"
    most = parse_size(given.get("max_bytes", 0))
    rule = Rule(host, port, kind=kind, insecure=insecure, private=private, most=most)
    return Rule(host, port, kind=kind, insecure=insecure, private=private, most=most, written=line(rule))


def line(rule: Rule) -> str:
    """Return the entry that stands for ``rule``, ready to be put into a list under ``egress``."""
    scheme = "tcp" if rule.kind == "tcp" else "http" if rule.insecure else "https"
    address = f"{scheme}://{shown(rule.host, 0 if rule.port == _PORTS[scheme] else rule.port)}"
    wild = ["reason: …"] if rule.host.startswith("*.") else []
    said = [f"{key}: true" for key in ("insecure", "private") if getattr(rule, key)] + wild
    return f'{{host: "{address}", {", ".join(said)}}}' if said else f'"{address}"'


def _host(text: str, reason: object) -> str:
    if "*" not in text:
        host = canonical_host(text)
        if _is_disguised(text, host):
            raise ValueError(f"{text} is the address {host}: write that")
        return host
    if text.strip("*.") == "":
        raise ValueError(f"{text} opens every host: name each one that the step needs")
    if not text.startswith("*."):
        raise ValueError(f"{text}: * stands for whole labels before a name, as in *.example.com")
    base = canonical_host(text.removeprefix("*."))
    if base.rpartition(".")[2].isdigit() or ":" in base:
        raise ValueError(f"{text}: there is nothing below an address")
    if _is_shared(base):
        raise ValueError(f"{text} opens hosts of strangers too: name each one that the step needs")
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(f'{text} needs a reason: write {{host: "https://{text}", reason: why}}')
    return f"*.{base}"


def _is_disguised(text: str, host: str) -> bool:
    """Whether an address was written in another way than its own."""
    return host[0].isdigit() and host.rpartition(".")[2].isdigit() and text != host


def _is_shared(base: str) -> bool:
    """Whether strangers may have names below ``base``: a public suffix, or a provider's for all customers."""
    labels = base.split(".")
    if len(labels) == 1 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL):  # noqa: PLR2004
        return True
    return any(".".join(labels[at:]) in _SHARED for at in range(len(labels)))


def _flag(given: Mapping[str, object], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is true or false")  # noqa: TRY004 - authors' mistakes are ValueErrors here
    return value


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    if any(mark in text for mark in _UNLIKE):
        raise ValueError(f"{text} is spelled differently by different programs: write its ASCII form (xn--…)")
    try:
        return text.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{text[:_LONGEST]} is no host name") from None


def _four(text: str, labels: list[str]) -> str:
    if all(map(_NUMBER.fullmatch, labels)):
        try:
            return socket.inet_ntoa(socket.inet_aton(".".join(labels)))
        except OSError:
            pass
    raise ValueError(f"{text[:_LONGEST]} is neither a name nor an address")


def _six(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text[1:-1] if text.endswith("]") else "")
    except ValueError:
        raise ValueError(f"{text[:_LONGEST]} is no IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError(f"{text[:_LONGEST]} names a zone of one machine")
    return str(address.ipv4_mapped or address)
