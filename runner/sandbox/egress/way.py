"""The way out of one sandbox: what its driver mounts, tells PID 1, and passes on of what PID 1 says."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from runner.errors import OutletImpossible, SandboxError
from runner.sandbox import wire
from runner.sandbox.egress.connections import Connections
from runner.sandbox.egress.handover import Handover
from runner.sandbox.egress.streams import Streams
from runner.sandbox.hosts import HOSTS, hosts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.sandbox.base import Carrier, Message, SandboxSpec

CARRIER = "/.runner/carrier"
MOST_OUTLETS = 32
_READABLE_BY_ALL = 0o644


class Way:
    """Carries the outlets of ``spec`` out: by a socket where one can be ``shared``, else on the wire.

    Calls: the constructor while the sandbox is made, ``begin`` before the message is sent, ``take`` for each
    frame of a stream, ``end`` when nothing in the sandbox lives, ``close``.
    """

    def __init__(self, spec: SandboxSpec, *, shared: bool) -> None:
        """Make the files to be mounted below the attempt's folder; raises ``SandboxError``."""
        _check(spec)
        self._outlets = spec.outlets
        self._hosts = spec.directory / "hosts"
        self._handover: Handover | None = None
        self._connections: Connections | None = None
        self._streams: Streams | None = None
        named = any(outlet.host for outlet in spec.outlets)
        try:
            if named:
                self._hosts.write_text(hosts(spec.outlets))
                self._hosts.chmod(_READABLE_BY_ALL)
            if shared:
                self._handover = Handover(spec.directory / "carrier", spec.outlets)
        except OSError as error:
            self.close()
            raise SandboxError(f"cannot make the sandbox's way out: {error}") from error
        socket = ((spec.directory / "carrier", CARRIER),) if shared else ()
        self.mounts: tuple[tuple[Path, str], ...] = (((self._hosts, HOSTS),) if named else ()) + socket

    def encode(self, message: Message) -> bytes:
        """Return the message with the outlets in it."""
        return wire.encode_message(message, self._outlets, by_socket=self._handover is not None)

    def begin(self, carrier: Carrier | None, send: Callable[[bytes], None]) -> None:
        """Carry from now on; ``send`` writes frames to PID 1 from any thread."""
        if carrier is None:
            raise SandboxError("the sandbox has outlets and nobody carries them")
        self._connections = Connections(carrier)
        self._streams = Streams(send, self._connections)
        if self._handover:
            self._handover.begin(self._connections)

    def take(self, kind: int, payload: bytes) -> None:
        """Obey a frame of a stream; one of another kind means nothing."""
        if self._streams and kind in wire.OF_STREAMS:
            self._streams.take(kind, payload)

    def end(self) -> None:
        """Take no more connections; those that there are may be read to their end."""
        if self._handover:
            self._handover.end()
        if self._streams:
            self._streams.end()

    def close(self) -> None:
        """End every connection and thread, and remove the files; may be called twice."""
        if self._streams:
            self._streams.close()
        if self._connections:
            self._connections.close()
        if self._handover:
            self._handover.close()
        self._hosts.unlink(missing_ok=True)


def _check(spec: SandboxSpec) -> None:
    if len(spec.outlets) > MOST_OUTLETS:
        raise OutletImpossible(f"a sandbox has at most {MOST_OUTLETS} outlets, not {len(spec.outlets)}")
    for outlet in spec.outlets:
        try:
            inside = IPv4Address(outlet.address).is_loopback
        except AddressValueError:
            inside = False
        if not inside:
            raise OutletImpossible(f"an outlet has an address of the loopback, not {outlet.address}")
    if any(one.host for one in spec.outlets) and any(mount.target == HOSTS for mount in spec.mounts):
        raise OutletImpossible(
            f"nothing can be mounted on {HOSTS}: the names that the step may connect to stand there",
            cure="mount it elsewhere",
        )
