"""An outlet with one host behind it: TLS from the first byte, or PostgreSQL's request for it (55.2.10)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied, Failed
from runner.sandbox.egress.dial import entry
from runner.sandbox.egress.greeting import expect_hello, patience
from runner.sandbox.egress.wires import PlainWire

if TYPE_CHECKING:
    from runner.sandbox.egress.passage import Passage
    from runner.sandbox.egress.rules import Rule
    from runner.sandbox.egress.services import Attempt

_TLS = 22
_REQUEST = 8
_SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
_GSS_REQUEST = bytes.fromhex("00000008 04d21630")
_STARTUP = bytes.fromhex("00030000")
_ROUNDS = 3


async def serve(wire: PlainWire, rule: Rule, attempt: Attempt) -> None:
    """Carry one connection to the rule's host."""
    with attempt.passage() as passage:
        passage.host, passage.port = rule.host, rule.port
        if rule not in attempt.policy.rules:
            raise Denied(f"{rule.host} is not under staging.egress", f"add there: {entry(rule)}")
        passage.rule = rule
        with await attempt.dialer.connect(rule, rule.host, rule.port) as server:
            if not rule.insecure:
                await _secure(wire, PlainWire(server), passage, attempt.limits.hello_seconds)
            await attempt.tunnel(wire, server, passage)


async def _secure(wire: PlainWire, server: PlainWire, passage: Passage, seconds: float) -> None:
    """Return when the step begins TLS, its first bytes still unread; raises ``Denied`` if it does not."""
    assert passage.rule  # noqa: S101 - set by the caller, for the type's sake
    cure = f"add to the step: {entry(replace(passage.rule, insecure=True))}"
    async with patience(wire, passage, seconds, cure):
        await _negotiate(wire, server, passage, cure)
        await expect_hello(wire, passage.host, cure, named=False)


async def _negotiate(wire: PlainWire, server: PlainWire, passage: Passage, cure: str) -> None:
    """Answer PostgreSQL's requests until TLS is agreed on; anything but TLS is denied."""
    for _ in range(_ROUNDS):
        start = await _start(wire)
        if not start or start[0] == _TLS:
            return wire.push_back(start)
        if start == _SSL_REQUEST:
            if await _ask(wire, server, passage) == b"S":
                return None
        elif start == _GSS_REQUEST:
            passage.up(len(start))
            passage.down(1)
            await wire.send(b"N")
        else:
            break
    why = f"what was sent to {passage.host} is not TLS"
    if start[4:] == _STARTUP:
        raise Denied(why, cure, alert=_postgres_error(f"runner: egress denied: {why}. {cure}"))
    raise Denied(why, cure)


async def _start(wire: PlainWire) -> bytes:
    """Return the first bytes: eight where they may be PostgreSQL's, fewer where they cannot be."""
    data = b""
    while len(data) < _REQUEST and data[:1] in (b"", b"\0"):
        more = await wire.receive(_REQUEST - len(data))
        if not more:
            break
        data += more
    return data


async def _ask(wire: PlainWire, server: PlainWire, passage: Passage) -> bytes:
    """Forward a request for TLS, and the server's one byte of an answer."""
    passage.up(len(_SSL_REQUEST))
    await server.send(_SSL_REQUEST)
    answer = await server.receive(1)
    if answer not in (b"S", b"N"):
        raise Failed(f"{passage.host} does not answer as PostgreSQL does")
    passage.down(1)
    await wire.send(answer)
    return answer


def _postgres_error(text: str) -> bytes:
    fields = b"SFATAL\0VFATAL\0C28000\0M" + text.encode() + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
