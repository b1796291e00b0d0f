"""What hostile steps ask the proxy for: by which way, with which bytes, and what must be answered and recorded.

``$API`` and its like stand for ports: of a host that is allowed, KEEPER of one whose requests get a header,
PLAIN of one without TLS, HIDDEN of one that is allowed but not on a private address, DB of a database, and
FORBIDDEN of one that no rule names.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from client_hellos import client_hello, records, sni

if TYPE_CHECKING:
    from collections.abc import Mapping

ALERT = "\x15\x03\x01\x00\x02\x021"


class Asked(NamedTuple):
    """``tunnel`` and ``tls`` name the host that is gone to first; ``place`` is another outlet than the proxy's."""

    send: str
    answer: str
    denied: str
    tunnel: str = ""
    tls: str = ""
    place: str = ""


def connect(where: str, status: int = 403, denied: str = "no rule allows", more: str = "") -> Asked:
    return Asked(f"CONNECT {where} HTTP/1.1\r\n{more}\r\n", f"HTTP/1.1 {status} ", denied)


def tunnel(first: bytes, denied: str) -> Asked:
    return Asked(first.decode("latin-1"), ALERT, denied, tunnel="localhost:$API")


def kept(request: str, status: int, denied: str, more: str = "Host: localhost:$KEEPER\r\n") -> Asked:
    """Ask the host for which a header is added."""
    return Asked(
        f"{request} HTTP/1.1\r\n{more}\r\n",
        f"HTTP/1.1 {status} ",
        denied,
        tunnel="localhost:$KEEPER",
        tls="localhost",
    )


def plain(request: str, status: int, denied: str) -> Asked:
    return Asked(request, f"HTTP/1.1 {status} ", denied)


HOST = "Host: localhost:$PLAIN\r\n"
ASKED = {
    "another host": connect("evil.example:443"),
    "another port": connect("localhost:$FORBIDDEN"),
    "capitals": connect("LOCALHOST:$FORBIDDEN"),
    "a final dot": connect("localhost.:$FORBIDDEN"),
    "two final dots": connect("localhost..:$API", 400, "is no host name"),
    "an address": connect("127.0.0.1:$FORBIDDEN"),
    "the allowed port by address": connect("127.0.0.1:$API"),
    "a short address": connect("127.1:$FORBIDDEN"),
    "a decimal address": connect("2130706433:$FORBIDDEN"),
    "a hexadecimal address": connect("0x7f000001:$FORBIDDEN"),
    "an octal address": connect("0177.0.0.1:$FORBIDDEN"),
    "nowhere": connect("0.0.0.0:$FORBIDDEN"),
    "IPv6": connect("[::1]:$FORBIDDEN"),
    "IPv6 that is IPv4": connect("[::ffff:127.0.0.1]:$FORBIDDEN"),
    "metadata": connect("169.254.169.254:80"),
    "metadata by name": connect("metadata.google.internal:80"),
    "the gateway": connect("172.17.0.1:$FORBIDDEN"),
    "the engine": connect("172.17.0.1:2375"),
    "a name that leads to loopback": connect("localhost:$HIDDEN", 403, "not a public address"),
    "a user before the host": connect("localhost:$API@127.0.0.1:$FORBIDDEN", 400, "is no host"),
    "a null byte": connect("localhost\0.evil.example:$API", 400, ""),
    "a space": connect("localhost:$FORBIDDEN localhost:$API", 400, ""),
    "no port": connect("localhost", 400, ""),
    "the Host of another": connect("localhost:$API", 421, "Host of another", "Host: evil.example\r\n"),
    "two Hosts": connect(
        "localhost:$API", 400, "two Host headers", "Host: localhost:$API\r\nHost: evil.example\r\n"
    ),
    "CONNECT with a body": connect("localhost:$API", 400, "with a body", "Content-Length: 4\r\n"),
    "a head without an end": plain("CONNECT localhost:$API HTTP/1.1\r\nX: " + "x" * 20_000, 431, ""),
    "a bare line feed": plain("CONNECT localhost:$API HTTP/1.1\nHost: evil.example\n\n", 400, ""),
    "https by GET": plain("GET https://localhost:$API/ HTTP/1.1\r\n\r\n", 400, "not for a proxy"),
    "as if it were a server": plain("GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 400, "not for a proxy"),
    "ftp": plain("GET ftp://localhost:$FORBIDDEN/ HTTP/1.1\r\n\r\n", 400, "not for a proxy"),
    "plain to a TLS host": plain(
        "GET http://localhost:$API/ HTTP/1.1\r\nHost: localhost:$API\r\n\r\n", 403, "is for TLS only"
    ),
    "plain to the host with a header": plain(
        "GET http://localhost:$KEEPER/v1/x HTTP/1.1\r\nHost: localhost:$KEEPER\r\n\r\n", 403, "TLS only"
    ),
    "plain to metadata": plain(
        "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 403, "no rule allows"
    ),
    "plain with the Host of another": plain(
        "GET http://localhost:$PLAIN/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 421, "Host of another"
    ),
    "two lengths": plain(
        f"POST http://localhost:$PLAIN/ HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 9\r\n\r\nx", 400, ""
    ),
    "a length and chunks": plain(
        f"POST http://localhost:$PLAIN/ HTTP/1.1\r\n{HOST}Content-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        400,
        "",
    ),
    "a folded header": plain(f"GET http://localhost:$PLAIN/ HTTP/1.1\r\n{HOST}X: a\r\n b\r\n\r\n", 400, ""),
    "fronting": tunnel(records(client_hello(sni("evil.example"))), "asks for evil.example"),
    "no server name": tunnel(records(client_hello()), "names no server"),
    "an encrypted server name": tunnel(
        records(client_hello(sni("localhost"), (0xFE0D, bytes(64)))), "hides its server name"
    ),
    "HTTP in a tunnel": tunnel(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not TLS"),
    "SSH in a tunnel": tunnel(b"SSH-2.0-x\r\n", "not TLS"),
    "a path that is not bound": kept("GET /v2/x", 403, "not bound to it"),
    "a path that climbs": kept("GET /v1/../v2/x", 403, "not bound to it"),
    "a method that is not bound": kept("DELETE /v1/x", 403, "not bound to it"),
    "TRACE": kept("TRACE /v1/x", 403, "TRACE"),
    "an upgrade": kept(
        "GET /v1/x", 403, "Upgrade", "Host: localhost:$KEEPER\r\nConnection: upgrade\r\nUpgrade: x\r\n"
    ),
    "the Host of another inside": kept("GET /v1/x", 421, "Host of another", "Host: evil.example\r\n"),
    "a whole URL inside": kept("GET https://evil.example/v1/x", 400, "no path"),
    "a server that answers with the secret": kept("GET /v1/echo", 200, "gave the secret back"),
    "a server that hides the secret in a header": kept("GET /v1/header", 502, "gave the secret back"),
    "a request behind a request": kept(
        "GET /v1/x",
        200,
        "not bound to it",
        "Host: localhost:$KEEPER\r\n\r\nGET /v2/smuggled HTTP/1.1\r\nHost: localhost:$KEEPER\r\n",
    ),
    "a request in two readings": kept(
        "GET /v1/x",
        400,
        "",
        "Host: localhost:$KEEPER\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /v2/smuggled HTTP/1.1\r\n",
    ),
    "another protocol at the database": Asked("SSH-2.0-x\r\n", ALERT, "is not TLS", place="localhost:$DB"),
    "HTTP at the database": Asked("GET / HTTP/1.1\r\n\r\n", ALERT, "is not TLS", place="localhost:$DB"),
    "the database without TLS": Asked("\0\0\0\x08\0\x03\0\0", "runner: egress denied", "is not TLS", place="localhost:$DB"),
    "a database that staging does not name": Asked(
        "\x16\x03\x01", "", "not under staging.egress", place="db.example:$CLOSED"
    ),
}  # fmt: skip


def table(ports: Mapping[str, int]) -> str:
    """Return the lines that the step reads, with the ports of this world."""

    def fill(text: str) -> str:
        for name, port in ports.items():
            text = text.replace(f"${name}", str(port))
        return text

    return json.dumps(
        [
            {
                "try": name,
                "send": fill(each.send),
                "tunnel": fill(each.tunnel),
                "tls": each.tls,
                "place": fill(each.place),
            }
            for name, each in ASKED.items()
        ]
    )
