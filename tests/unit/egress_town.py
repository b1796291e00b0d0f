"""Servers that a step may reach and one that it may not, with one gate before them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egress_world import Server, World, certificates, hello, server_context, world

from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API, PLAIN, OTHER = "api.example.com", "plain.example.com", "other.example.com"


@dataclass
class Town:
    """One allowed TLS server, one allowed plain server, and one that nothing may reach."""

    world: World
    api: Server
    plain: Server
    forbidden: Server
    trust: Path

    def fill(self, text: str) -> bytes:
        """Put the ports of this run into what a step sends."""
        for name, server in (("API", self.api), ("PLAIN", self.plain), ("BAD", self.forbidden)):
            text = text.replace(f"${name}", str(server.port))
        return text.encode("latin-1")


@contextlib.contextmanager
def town_of(tmp_path: Path) -> Iterator[Town]:
    """Build the town with names that lead where a step should not come."""
    trust, certificate = certificates(tmp_path, API, OTHER)
    servers = [Server(hello, server_context(certificate)), Server(hello), Server(hello)]
    with world(trust) as made:
        api, plain, forbidden = servers
        made.open(
            parse_rule({"host": f"https://{API}:{api.port}", "private": True}),
            parse_rule({"host": f"http://{PLAIN}:{plain.port}", "private": True, "insecure": True}),
            parse_rule(f"https://inner.example.com:{forbidden.port}"),
            parse_rule({"host": f"https://link.example.com:{forbidden.port}", "private": True}),
            parse_rule({"host": f"https://*.wild.example.com:{forbidden.port}", "reason": "one host each"}),
        )
        made.names |= {
            "link.example.com": ("169.254.169.254",),
            "both.wild.example.com": ("1.1.1.1", "127.0.0.1"),
            "mapped.wild.example.com": ("::ffff:127.0.0.1",),
            "nat64.wild.example.com": ("64:ff9b::7f00:1",),
            "six.wild.example.com": ("::1",),
            "any.wild.example.com": ("0.0.0.0",),  # noqa: S104 - an answer, not a place to listen
            "odd.wild.example.com": ("127.1",),
        }
        yield Town(made, api, plain, forbidden, trust)
    for server in servers:
        server.close()


def connect_head(target: str, *headers: str, version: str = "1.1") -> str:
    return "\r\n".join((f"CONNECT {target} HTTP/{version}", *headers, "", ""))


def get_head(url: str, *headers: str, method: str = "GET") -> str:
    return "\r\n".join((f"{method} {url} HTTP/1.1", *headers, "", ""))
