"""One HTTP request and its response, understood (h11) and written anew: nothing is passed on as it came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import h11

from runner.sandbox.egress.denial import Denied, Failed

if TYPE_CHECKING:
    from runner.sandbox.egress.head import Head
    from runner.sandbox.egress.passage import Limits, Passage
    from runner.sandbox.egress.wires import Wire

Headers = list[tuple[bytes, bytes]]
_OF_ONE_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"upgrade"),
    }
)
_KEPT = frozenset({b"host", b"content-length", b"transfer-encoding"})
_RESPONSE_HEAD = 65_536
_SWITCHING = 101


class Guard(Protocol):
    """Looks at a response before the step gets it; raises ``Denied`` to cut it off."""

    def admit(self, headers: Headers) -> None:
        """Look at a head."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Look at a part of the body and return what may go on now."""
        ...

    def flush(self) -> bytes:
        """Return what was held back: the body has ended."""
        ...


class Open:
    """A guard that lets everything through."""

    def admit(self, headers: Headers) -> None:
        """Look at a head."""

    def feed(self, data: bytes) -> bytes:
        """Return ``data``."""
        return data

    def flush(self) -> bytes:
        """Return nothing."""
        return b""


def forwarded(head: Head) -> Headers:
    """Return a request's headers without those that concern one connection only."""
    return _passed_on([(name, value) for name, value in head.headers if name != b"expect" or _waits(value)])


def _waits(value: bytes) -> bool:
    return value.lower() == b"100-continue"


def _passed_on(headers: Headers) -> Headers:
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = _OF_ONE_HOP | (named - _KEPT)
    return [(name, value) for name, value in headers if name not in dropped]


class Relay:
    """A step's connection and a server's, for one request: bodies stream both ways at once."""

    def __init__(self, step: Wire, server: Wire, passage: Passage, limits: Limits) -> None:
        self._step = step
        self._server = server
        self._passage = passage
        self._idle = limits.idle_seconds
        self._down = h11.Connection(h11.SERVER)
        self._up = h11.Connection(h11.CLIENT, max_incomplete_event_size=_RESPONSE_HEAD)
        self._guard: Guard = Open()

    async def run(self, head: Head, target: str, headers: Headers, guard: Guard | None = None) -> bool:
        """Relay one request; returns whether the step's connection may carry another."""
        self._guard = guard or self._guard
        self._passage.up(len(head.raw))
        self._down.receive_data(head.raw)
        try:
            self._down.next_event()
            headers = [*headers, (b"connection", b"close")]
            request = h11.Request(method=head.method, target=target.encode(), headers=headers)
            first = self._up.send(request) or b""
        except h11.ProtocolError as error:
            raise Denied(f"a request that is not proper HTTP: {error}", status=400) from None
        await self._server.send(first)
        try:
            await self._both()
        except h11.LocalProtocolError as error:
            raise Failed(f"the answer cannot be passed on: {error}") from None
        if self._down.our_state is not h11.DONE or self._down.their_state is not h11.DONE:
            return False
        self._step.push_back(self._down.trailing_data[0])
        return True

    async def _both(self) -> None:
        """Carry both bodies; a response may end before its request has."""
        body = asyncio.create_task(self._carry_body())
        response = asyncio.create_task(self._carry_response())
        try:
            await asyncio.wait({body, response}, return_when=asyncio.FIRST_COMPLETED)
            if body.done() and not response.done():
                wrong = body.exception()
                if wrong and not isinstance(wrong, OSError):
                    raise wrong
            await response
        finally:
            for task in (body, response):
                task.cancel()
            await asyncio.gather(body, response, return_exceptions=True)

    async def _carry_body(self) -> None:
        while True:
            event = self._next(self._down)
            if event is h11.NEED_DATA:
                data = await self._read(self._step)
                if not data:
                    raise Failed("the step broke off its request")
                self._passage.up(len(data))
                self._down.receive_data(data)
            elif isinstance(event, h11.Data):
                await self._server.send(self._up.send(event) or b"")
            else:
                await self._server.send(self._up.send(h11.EndOfMessage()) or b"")
                return

    async def _carry_response(self) -> None:
        while True:
            event = self._next(self._up)
            if event is h11.NEED_DATA:
                self._up.receive_data(await self._read(self._server))
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                await self._carry_head(event)
            elif isinstance(event, h11.Data):
                await self._say_data(self._guard.feed(bytes(event.data)))
            else:
                await self._say_data(self._guard.flush())
                await self._say(h11.EndOfMessage())
                return

    async def _carry_head(self, event: h11.InformationalResponse | h11.Response) -> None:
        headers: Headers = [*event.headers]
        if event.status_code == _SWITCHING:
            raise Failed("the server changes the protocol, which nobody asked for")
        self._guard.admit([*headers, (b"", event.reason)])
        passed = [(name, value) for name, value in _passed_on(headers) if name != b"transfer-encoding"]
        await self._say(type(event)(status_code=event.status_code, headers=passed, reason=event.reason))

    async def _say_data(self, data: bytes) -> None:
        if data:
            await self._say(h11.Data(data=data))

    async def _say(self, event: h11.Event) -> None:
        data = self._down.send(event)
        if data:
            self._passage.down(len(data))
            self._passage.answered = True
            await self._step.send(data)

    async def _read(self, wire: Wire) -> bytes:
        try:
            async with asyncio.timeout(self._idle):
                return await wire.receive()
        except TimeoutError:
            raise Failed(f"nothing came for {self._idle:g} s", status=504) from None

    def _next(self, side: h11.Connection) -> object:
        try:
            return side.next_event()
        except h11.RemoteProtocolError as error:
            if side is self._down:
                raise Denied(f"a request that is not proper HTTP: {error}", status=400) from None
            raise Failed(f"the server does not speak proper HTTP: {error}") from None
