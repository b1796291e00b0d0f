"""Credentials that a step never sees: the proxy ends its TLS, checks each request, and adds the header."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from runner.sandbox.egress.denial import Denied, Failed, answer, in_words
from runner.sandbox.egress.head import Head, parse_head, read_head, same_host
from runner.sandbox.egress.relay import Relay, forwarded
from runner.sandbox.egress.wires import PlainWire, TlsWire
from runner.vault.mask import Patterns
from runner.workflow.hosts import shown

if TYPE_CHECKING:
    import socket

    from runner.sandbox.egress.passage import Passage
    from runner.sandbox.egress.relay import Headers
    from runner.sandbox.egress.rules import Injection
    from runner.sandbox.egress.services import Attempt

_PART = 8
_TRICKS = re.compile(rb"//|\\|%(?![0-9A-Fa-f]{2})|%(2[ef]|5c|[01][0-9a-f]|7f|25(2[ef]|5c))", re.IGNORECASE)
_REFUSED = frozenset({b"CONNECT", b"TRACE", b"TRACK", b"PRI"})
_ENCODINGS = (b"", b"identity")


async def serve(wire: PlainWire, attempt: Attempt, passage: Passage) -> None:
    """Serve the TLS that a step has begun: each request goes by a server connection of its own."""
    injections = attempt.policy.injected(passage.host, passage.port)
    step = TlsWire(wire, attempt.services.authority().server(passage.host))
    async with asyncio.timeout(attempt.limits.hello_seconds):
        await step.handshake()
    patterns = _patterns(injections)
    more = True
    while more:
        try:
            raw, rest = await read_head(step, attempt.limits, step.taken())
            if not raw:
                break
            step.push_back(rest)
            passage.answered = False
            more = await _serve_one(step, parse_head(raw), attempt, (passage, injections, patterns))
        except (Denied, Failed) as error:
            passage.note(error)
            if not passage.answered:
                await step.send(answer(error))
                await step.finish()
            raise
    await step.finish()


def admitted(head: Head, host: str, port: int, injections: tuple[Injection, ...]) -> Headers:
    """Return the headers to send on for a request, the added ones among them; raises ``Denied``."""
    if not head.values(b"host") or not same_host(head, host, port):
        raise Denied(f"a request for {shown(host, port)} with the Host of another", status=421)
    if head.method in _REFUSED or head.values(b"upgrade"):
        raise Denied(f"{head.method.decode()[:20]} or Upgrade where a header is added")
    if not head.target.startswith("/") or "#" in head.target:
        raise Denied("a request target that is no path", status=400)
    fitting = [each for each in injections if _fits(head, each)]
    if not fitting:
        what = f"{head.method.decode()[:20]} {head.target[:200]}"
        raise Denied(
            f"{what}: the secret for {shown(host, port)} is not bound to it", "ask the operator to bind it"
        )
    own = {_likeness(each.header.encode()) for each in injections} | {b"accept-encoding"}
    kept = [(name, value) for name, value in forwarded(head) if _likeness(name) not in own]
    added = [(each.header.encode(), each.value) for each in fitting]
    return [*kept, (b"accept-encoding", b"identity"), *added]


def _fits(head: Head, injection: Injection) -> bool:
    """Whether a request is one that the header is for; with paths, one that no server can read as another."""
    if injection.methods and head.method.decode() not in injection.methods:
        return False
    if not injection.paths:
        return True
    path = head.target.partition("?")[0].encode()
    if _TRICKS.search(path) or any(part.partition(b";")[0] in (b".", b"..") for part in path.split(b"/")):
        return False
    try:
        plain = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return any(_glob(pattern).fullmatch(plain) for pattern in injection.paths)


def _glob(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile(
        "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts), re.DOTALL
    )


def _likeness(name: bytes) -> bytes:
    """Return what CGI and its heirs make of a header's name."""
    return name.lower().replace(b"_", b"-")


def _patterns(injections: tuple[Injection, ...]) -> Patterns:
    """Compile each value and its parts, the scheme before them aside (``Bearer``)."""
    values = [each.value for each in injections]
    parts = [part for value in values for part in value.split()[1:] if len(part) >= _PART]
    return Patterns([*values, *parts])


class Reflections:
    """A guard against a server that gives the added header back."""

    def __init__(self, patterns: Patterns, host: str) -> None:
        self._patterns = patterns
        self._host = host
        self._held = b""

    def admit(self, headers: Headers) -> None:
        """Look at a head; a compressed body could not be looked at."""
        self._scan(b"\n".join(name + b": " + value for name, value in headers))
        if any(name == b"content-encoding" and value.lower() not in _ENCODINGS for name, value in headers):
            raise Failed(
                f"{self._host} compresses its answer, which is not asked for where a header is added"
            )

    def feed(self, data: bytes) -> bytes:
        """Return what cannot be the beginning of the value."""
        data = self._held + data
        pending = self._scan(data)
        self._held = data[pending:]
        return data[:pending]

    def flush(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return held

    def _scan(self, data: bytes) -> int:
        if not self._patterns:
            return len(data)
        found, pending = self._patterns.scan(data)
        if found:
            raise Denied(
                f"{self._host} gave the secret back that was added for it", "tell the operator", status=502
            )
        return pending


async def _serve_one(
    step: TlsWire, head: Head, attempt: Attempt, given: tuple[Passage, tuple[Injection, ...], Patterns]
) -> bool:
    passage, injections, patterns = given
    headers = admitted(head, passage.host, passage.port, injections)
    assert passage.rule  # noqa: S101 - a passage has its rule before its tunnel
    with await attempt.dialer.connect(passage.rule, passage.host, passage.port) as peer:
        server = await _verified(peer, attempt, passage)
        relay = Relay(step, server, passage, attempt.limits)
        return await relay.run(head, head.target, headers, Reflections(patterns, passage.host))


async def _verified(peer: socket.socket, attempt: Attempt, passage: Passage) -> TlsWire:
    """Return TLS with the server itself; raises ``Failed`` when it cannot prove its name."""
    server = TlsWire(PlainWire(peer), attempt.services.client(), server_name=passage.host)
    try:
        async with asyncio.timeout(attempt.limits.connect_seconds):
            await server.handshake()
    except TimeoutError:
        raise Failed(f"{shown(passage.host, passage.port)} does not answer", status=504) from None
    except ssl.SSLCertVerificationError as error:
        where = shown(passage.host, passage.port)
        raise Failed(f"{where} does not prove its name: {error.verify_message}") from None
    except OSError as error:
        raise Failed(f"no TLS with {shown(passage.host, passage.port)}: {in_words(error)}") from None
    return server
