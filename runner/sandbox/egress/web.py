"""The HTTP proxy of a sandbox: CONNECT for TLS, absolute targets for what may be plain."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied, Failed, answer
from runner.sandbox.egress.dial import entry
from runner.sandbox.egress.greeting import expect_hello, patience
from runner.sandbox.egress.head import parse_head, read_head, same_host, split_authority
from runner.sandbox.egress.rules import CANARY, Rule
from runner.sandbox.egress.wires import PlainWire
from runner.workflow.hosts import shown

if TYPE_CHECKING:
    from runner.sandbox.egress.head import Head
    from runner.sandbox.egress.passage import Passage
    from runner.sandbox.egress.services import Attempt

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_METHODS = frozenset(
    {b"CONNECT", b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"DELETE", b"TRACE"}
)
_URL = re.compile(r"[Hh][Tt][Tt][Pp]://([^/?#]+)([^#]*)")


async def serve(wire: PlainWire, attempt: Attempt) -> None:
    """Serve one connection of a step: one tunnel, or one plain request after the other."""
    more = True
    while more:
        more = False
        with attempt.passage() as passage:
            more = await _serve_one(wire, attempt, passage)


async def _serve_one(wire: PlainWire, attempt: Attempt, passage: Passage) -> bool:
    """Serve one request and return whether another may follow."""
    try:
        raw, rest = await read_head(wire, attempt.limits, wire.taken())
        if not raw:
            return False
        head = parse_head(raw)
        wire.push_back(rest)
        passage.method = head.method.decode() if head.method in _METHODS else "another"
        if head.method != b"CONNECT":
            return await _forward(wire, head, attempt, passage)
        rule = _admit_tunnel(head, attempt, passage)
        if attempt.policy.injected(passage.host, passage.port):
            server = None
        else:
            server = await attempt.dialer.connect(rule, passage.host, passage.port)
    except (Denied, Failed) as error:
        if not passage.answered:
            passage.note(error)
            await wire.send(answer(error))
        raise
    with server or contextlib.nullcontext():
        await wire.send(_ESTABLISHED)
        if not rule.insecure or not server:
            cure = f"add to the step: {entry(replace(rule, host=passage.host, insecure=True))}"
            async with patience(wire, passage, attempt.limits.hello_seconds, cure):
                await expect_hello(wire, passage.host, cure, named=True)
        if server:
            await attempt.tunnel(wire, server, passage)
        else:
            from runner.sandbox.egress import inject  # needs packages that few runs need

            await inject.serve(wire, attempt, passage)
    return False


def _admit_tunnel(head: Head, attempt: Attempt, passage: Passage) -> Rule:
    """Return the rule for a CONNECT; raises ``Denied``."""
    _aim(passage, *split_authority(head.target))
    if head.has_body:
        raise Denied("CONNECT with a body", status=400)
    if not same_host(head, passage.host, passage.port):
        raise Denied(f"CONNECT to {shown(passage.host, passage.port)} with the Host of another", status=421)
    return _rule(attempt, passage, insecure=False)


async def _forward(wire: PlainWire, head: Head, attempt: Attempt, passage: Passage) -> bool:
    """Forward one plain request; returns whether another may follow."""
    url = _URL.fullmatch(head.target)
    if not url:
        raise Denied(
            "a request that is not for a proxy: https goes by CONNECT, http by a whole URL", status=400
        )
    _aim(passage, *split_authority(url[1], 80))
    rule = _rule(attempt, passage, insecure=True)
    if not head.values(b"host") or not same_host(head, passage.host, passage.port):
        raise Denied(f"a request for {url[1][:255]} with the Host of another", status=421)
    from runner.sandbox.egress.relay import Relay, forwarded  # tunnels do not need it

    target = url[2] if url[2].startswith("/") else f"/{url[2]}"
    with await attempt.dialer.connect(rule, passage.host, passage.port) as server:
        relay = Relay(wire, PlainWire(server), passage, attempt.limits)
        return await relay.run(head, target, forwarded(head))


def _aim(passage: Passage, host: str, port: int) -> None:
    passage.host, passage.port = host, port
    if host == CANARY:
        passage.quiet = True
        raise Denied("this host is for the sandbox's own check")


def _rule(attempt: Attempt, passage: Passage, *, insecure: bool) -> Rule:
    """Return the rule for where a passage goes; raises ``Denied`` with the line that is missing."""
    host, port = passage.host, passage.port
    rule = attempt.policy.web(host, port)
    wanted = Rule(host, port, insecure=insecure)
    if rule is None:
        raise Denied(f"no rule allows {shown(host, port)}", f"add to the step: {entry(wanted)}")
    passage.rule = rule
    if insecure and not rule.insecure:
        raise Denied(f"{shown(host, port)} is for TLS only", f"add to the step: {entry(wanted)}")
    return rule
