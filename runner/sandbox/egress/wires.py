"""Streams of bytes over non-blocking sockets, plain or as TLS, with one face."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from abc import ABC, abstractmethod
from typing import Protocol

_CHUNK = 1 << 17
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 24


class Wire(Protocol):
    """A stream in both directions. Every error of the network is an ``OSError``."""

    async def receive(self, most: int = _CHUNK) -> bytes:
        """Return some bytes, none at the end."""
        ...

    def push_back(self, data: bytes) -> None:
        """Have ``data`` received again, before everything else."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of ``data``; returns when the socket has taken it."""
        ...

    async def finish(self) -> None:
        """Say that nothing more is sent."""
        ...


class _Readable(ABC):
    """What was read too much is read again."""

    _first = b""

    def push_back(self, data: bytes) -> None:
        """Have ``data`` received again, before everything else."""
        self._first = data + self._first

    def taken(self) -> bytes:
        """Return what was pushed back and not received."""
        data, self._first = self._first, b""
        return data

    async def receive(self, most: int = _CHUNK) -> bytes:
        """Return some bytes, none at the end; raises ``OSError``."""
        if self._first:
            data, self._first = self._first[:most], self._first[most:]
            return data
        return await self._read(most)

    @abstractmethod
    async def _read(self, most: int) -> bytes: ...


class PlainWire(_Readable):
    """The bytes of a socket as they are."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self._loop = asyncio.get_running_loop()

    async def _read(self, most: int) -> bytes:
        return await self._loop.sock_recv(self.peer, most)

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        await self._loop.sock_sendall(self.peer, data)

    async def finish(self) -> None:
        """Say that nothing more is sent."""
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_WR)

    async def part(self) -> None:
        """Finish, and read on for a moment: a peer that still sends would lose our last words to a reset."""
        await self.finish()
        left = _LINGER_BYTES
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0 and (data := await self.receive()):
                    left -= len(data)


class TlsWire(_Readable):
    """TLS over a plain wire, from memory to memory: nothing is buffered beyond one read."""

    def __init__(self, under: PlainWire, context: ssl.SSLContext, *, server_name: str = "") -> None:
        """Be the client of ``server_name``, or the server where there is none."""
        self._under = under
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        name = server_name or None
        self._tls = context.wrap_bio(self._in, self._out, server_side=name is None, server_hostname=name)
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        """Agree on keys; raises ``ssl.SSLError`` (an ``OSError``) when the peer is not who it should be."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                return await self._flush()

    async def _read(self, most: int) -> bytes:
        while True:
            try:
                data = self._tls.read(most)
                return data + self._decrypted(most - len(data))
            except ssl.SSLWantReadError:
                await self._flush()
                await self._more()
            except (ssl.SSLZeroReturnError, ssl.SSLSyscallError):
                return b""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:_CHUNK]) :]
            await self._flush()

    async def finish(self) -> None:
        """Say that nothing more is sent."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            await self._flush()
        await self._under.finish()

    def _decrypted(self, most: int) -> bytes:
        """Return what else of the last read is whole: to hand on each small record would cost more."""
        parts = []
        with contextlib.suppress(ssl.SSLError):
            while most and self._in.pending:
                parts.append(self._tls.read(most))
                most -= len(parts[-1])
        return b"".join(parts)

    async def _more(self) -> None:
        data = await self._under.receive()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._out.read():
                await self._under.send(data)
