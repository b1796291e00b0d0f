"""The first bytes of a connection that has to be TLS, looked at before a server gets them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied
from runner.sandbox.egress.hello import NotTls, read_hello
from runner.workflow.hosts import canonical_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runner.sandbox.egress.hello import Hello
    from runner.sandbox.egress.passage import Passage
    from runner.sandbox.egress.wires import PlainWire


@contextlib.asynccontextmanager
async def patience(wire: PlainWire, passage: Passage, seconds: float, cure: str) -> AsyncIterator[None]:
    """Wait so long for TLS to begin; who is denied gets an alert, which clients show."""
    try:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise Denied(f"no TLS began within {seconds:g} s", cure, status=408) from None
    except Denied as denied:
        passage.note(denied)
        with contextlib.suppress(OSError):
            await wire.send(denied.alert)
        raise


async def expect_hello(wire: PlainWire, host: str, cure: str, *, named: bool) -> None:
    """Wait for a ClientHello for ``host`` and leave it unread; raises ``Denied`` for anything else.

    ``named``: it must say the server's name, save where ``host`` is an address.
    """
    data = b""
    while (hello := _hello(data, cure)) is None:
        more = await wire.receive()
        if not more:
            raise Denied(f"what was sent to {host} is not TLS: it ended at once", cure)
        data += more
    wire.push_back(data)
    _check(hello, host, named=named)


def _hello(data: bytes, cure: str) -> Hello | None:
    try:
        return read_hello(data)
    except NotTls as error:
        raise Denied(f"what was sent is not TLS: {error}", cure) from None


def _check(hello: Hello, host: str, *, named: bool) -> None:
    if hello.encrypted:
        raise Denied(f"the TLS for {host} hides its server name (encrypted_client_hello)", "turn ECH off")
    if hello.name is None:
        if named and not _is_address(host):
            raise Denied(f"the TLS for {host} names no server", "let the client send the server name (SNI)")
        return
    try:
        name = canonical_host(hello.name)
    except ValueError:
        name = ""
    if name != host or _is_address(host):
        raise Denied(f"the TLS for {host} asks for {hello.name[:255]}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
