"""Bytes between two sockets, as fast as they go: no more is read than the other side takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from runner.sandbox.egress.denial import Denied, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

SCRATCH = 1 << 18


class Tunnel:
    """Two ways between a step and a server. All tunnels of a loop share a buffer, empty between events."""

    def __init__(self, scratch: memoryview, idle_seconds: float) -> None:
        """``scratch`` is where bytes pass; a tunnel in which nothing passes for ``idle_seconds`` ends."""
        self._scratch = scratch
        self._idle = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._open = 2
        self._last = self._loop.time()

    async def run(self, step: Direction, server: Direction) -> None:
        """Carry bytes until both sides have ended; raises ``Denied`` (no bytes left) or ``Failed`` (idle)."""
        ways = (step, server)
        self._timer = self._loop.call_later(self._idle, self._look)
        for way in ways:
            way.begin(self)
        try:
            await self._over
        finally:
            self._timer.cancel()
            for way in ways:
                way.stop()

    @property
    def scratch(self) -> memoryview:
        """Where the bytes of one read stand until they are sent."""
        return self._scratch

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that watches the sockets."""
        return self._loop

    def passed(self) -> None:
        """Note that something moved."""
        self._last = self._loop.time()

    def ended(self) -> None:
        """Note that one way came to its end."""
        self._open -= 1
        if not self._open:
            self.end()

    def end(self, error: Denied | Failed | None = None) -> None:
        """End both ways."""
        if self._over.done():
            return
        if error:
            self._over.set_exception(error)
        else:
            self._over.set_result(None)

    def _look(self) -> None:
        left = self._last + self._idle - self._loop.time()
        if left <= 0:
            self.end(Failed(f"nothing passed for {self._idle:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._look)


class Direction:
    """One direction: what ``source`` gives goes to ``sink``, and is counted."""

    def __init__(self, source: socket.socket, sink: socket.socket, count: Callable[[int], None]) -> None:
        """``count`` is told of every read and raises ``Denied`` when there may be no more."""
        self._source = source
        self._sink = sink
        self._count = count
        self._rest = memoryview(b"")

    def begin(self, tunnel: Tunnel) -> None:
        """Start to carry."""
        self._tunnel = tunnel
        self._loop = tunnel.loop
        self._loop.add_reader(self._source, self._read)

    def stop(self) -> None:
        """Watch the sockets no more."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._sink)

    def _read(self) -> None:
        scratch = self._tunnel.scratch
        try:
            size = self._source.recv_into(scratch)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._tunnel.end()
            return
        if not size:
            self._end()
            return
        self._tunnel.passed()
        try:
            self._count(size)
        except Denied as denied:
            self._tunnel.end(denied)
            return
        sent = self._send(scratch[:size])
        if sent < size:
            self._wait(bytes(scratch[sent:size]))

    def _end(self) -> None:
        self._loop.remove_reader(self._source)
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._tunnel.ended()

    def _send(self, data: memoryview) -> int:
        """Send what the sink takes now; a sink that is gone takes everything, and ends the tunnel."""
        try:
            return self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._tunnel.end()
            return len(data)

    def _wait(self, rest: bytes) -> None:
        self._rest = memoryview(rest)
        self._loop.remove_reader(self._source)
        self._loop.add_writer(self._sink, self._write)

    def _write(self) -> None:
        self._rest = self._rest[self._send(self._rest) :]
        self._tunnel.passed()
        if not self._rest:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._read)
