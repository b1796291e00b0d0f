"""The way to a server: its name is looked up once, every address judged, and only those connected to."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sandbox.egress.addresses import refusal
from runner.sandbox.egress.denial import Denied, Failed, in_words
from runner.workflow.hosts import line, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.sandbox.egress.passage import Limits
    from runner.sandbox.egress.rules import Rule

    Resolver = Callable[[str, int], Sequence[str]]

_LOOKUPS = 8
_LOOKUPS_OF_ONE = 4


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name as the host's own resolver gives them; raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class Lookups:
    """Asks a blocking resolver, a few questions at a time, without waiting longer than is good."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._turns = asyncio.Semaphore(_LOOKUPS)

    def of_one_attempt(self) -> Callable[[str, int], asyncio.Future[Sequence[str]]]:
        """Return a way to ask that leaves others their turn: for one attempt."""
        own = asyncio.Semaphore(_LOOKUPS_OF_ONE)

        async def ask(host: str, port: int) -> Sequence[str]:
            async with own:
                await self._turns.acquire()
                return await asyncio.shield(self._begin(host, port))

        return lambda host, port: asyncio.ensure_future(ask(host, port))

    def _begin(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        """Ask in a thread that a stuck name server cannot make the runner wait for; it keeps its turn."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str] | OSError) -> None:
            self._turns.release()
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
                answer.exception()
            else:
                answer.set_result(found)

        def work() -> None:
            found: Sequence[str] | OSError
            try:
                found = self._resolver(host, port)
            except (OSError, UnicodeError) as error:
                found = OSError(str(error))
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=work, name="egress-lookup", daemon=True).start()
        return answer


class Dialer:
    """Connects one attempt to the servers of its rules."""

    def __init__(self, lookups: Lookups, limits: Limits) -> None:
        self._ask = lookups.of_one_attempt()
        self._limits = limits

    async def connect(self, rule: Rule, host: str, port: int) -> socket.socket:
        """Return a connected socket; raises ``Denied`` if any address is not allowed, else ``Failed``."""
        addresses = await self._addresses(host, port)
        for address in addresses:
            wrong = refusal(address, rule)
            if wrong:
                where = shown(host, port) if address == host else f"{shown(host, port)} is {address}, which"
                raise Denied(f"{where} is {wrong}", _cure(rule, host, address))
        return await self._first(addresses, host, port)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        with contextlib.suppress(ValueError):
            return (str(ipaddress.ip_address(host)),)
        try:
            async with asyncio.timeout(self._limits.resolve_seconds):
                found = await self._ask(host, port)
            addresses = [str(ipaddress.ip_address(each)) for each in found]
        except TimeoutError:
            raise Failed(f"no name server said in time where {host} is", status=504) from None
        except (OSError, ValueError) as error:
            raise Failed(f"{host} is not found: {error}") from None
        if not addresses:
            raise Failed(f"{host} has no address")
        return addresses

    async def _first(self, addresses: Sequence[str], host: str, port: int) -> socket.socket:
        wrong = Failed(f"{shown(host, port)} cannot be reached")
        for address in addresses:
            try:
                return await self._reach(address, port)
            except TimeoutError:
                wrong = Failed(f"{shown(host, port)} does not answer at {address}", status=504)
            except OSError as error:
                wrong = Failed(f"{shown(host, port)} cannot be reached at {address}: {in_words(error)}")
        raise wrong

    async def _reach(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        try:
            server.settimeout(0)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            async with asyncio.timeout(self._limits.connect_seconds):
                await asyncio.get_running_loop().sock_connect(server, (address, port))
        except BaseException:
            server.close()
            raise
        return server


def _cure(rule: Rule, host: str, address: str) -> str:
    if rule.private:
        return f"add to the step: {entry(replace(rule, host=address))}"
    return f"add to the step: {entry(replace(rule, host=host, private=True))}"


def entry(rule: Rule) -> str:
    """Return the line of a workflow that would allow what ``rule`` says."""
    return f"egress: [{line(rule)}]"
