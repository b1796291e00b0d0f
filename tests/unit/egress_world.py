"""A small Internet on loopback: servers with certificates of an authority of their own, and one attempt's gate."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runner.sandbox.egress.passage import Limits
from runner.sandbox.egress.proxy import Proxy
from runner.sandbox.egress.rules import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runner.sandbox.egress.gate import Gate
    from runner.sandbox.egress.rules import Connection, Injection, Rule

QUICK = Limits(
    head_seconds=2.0, hello_seconds=2.0, connect_seconds=5.0, resolve_seconds=5.0, idle_seconds=20.0
)


def need(found: object, package: str) -> None:
    """Skip where a server is not installed, save where everything has to be proved."""
    import pytest  # the bench has none

    if not found and os.environ.get("CI"):
        pytest.fail(f"{package} is not installed")
    if not found:
        pytest.skip(f"{package} is not installed: apt-get install {package}")


def certificates(folder: Path, *names: str) -> tuple[Path, Path]:
    """Make an authority and a server certificate for ``names``; return the files of both (PEM)."""
    key, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the world's own authority")])
    authority = _signed(
        issuer, issuer, key.public_key(), key, x509.BasicConstraints(ca=True, path_length=None)
    )
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    leaf = _signed(x509.Name([]), issuer, own.public_key(), key, alternatives)
    pem = serialization.Encoding.PEM
    private = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    trust, server = folder / "authority.pem", folder / "server.pem"
    trust.write_bytes(authority.public_bytes(pem))
    server.write_bytes(leaf.public_bytes(pem) + private)
    return trust, server


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=2))
    return builder.add_extension(extension, critical=True).sign(key, hashes.SHA256())


class Server:
    """A real server on loopback that keeps what reached it: ``heard`` holds each connection's bytes."""

    def __init__(
        self, talk: Callable[[socket.socket, Server], None], context: ssl.SSLContext | None = None
    ) -> None:
        self.talk = talk
        self.context = context
        self.connections = 0
        self.heard: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=600)
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.settimeout(20)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is None:
                self.talk(peer, self)
                return
            with self.context.wrap_socket(peer, server_side=True) as wrapped:
                self.talk(wrapped, self)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def read_request(peer: socket.socket) -> bytes:
    """Read one request with its body, if it has a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    chunked = b"transfer-encoding: chunked" in head.lower()
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


def hello(peer: socket.socket, server: Server) -> None:
    """Answer each request with ``hello``."""
    while request := read_request(peer):
        server.heard.append(request)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class World:
    """A proxy, one gate, and names that lead to loopback unless ``names`` says otherwise."""

    def __init__(self, trust: Path | None = None, limits: Limits = QUICK) -> None:
        self.names: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.reports: list[Connection] = []
        self.proxy = Proxy(resolver=self.resolve, trust=trust, limits=limits)
        self.proxy.start()
        self.gate: Gate
        self.listener: socket.socket | None = None

    def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.names.get(host, ("127.0.0.1",))

    def open(self, *rules: Rule, injections: tuple[Injection, ...] = ()) -> Gate:
        """Make the gate: outlet 0 is the proxy, then one for each ``tcp`` rule."""
        outlets = (None, *(rule for rule in rules if rule.kind == "tcp"))
        self.gate = self.proxy.gate(Policy(rules, injections), outlets, self.reports.append)
        return self.gate

    def connect(self, outlet: int = 0) -> socket.socket:
        """Return the step's end of a connection to an outlet."""
        ours, theirs = socket.socketpair()
        self.gate.carry(outlet, theirs)
        ours.settimeout(10)
        return ours

    def listen(self, outlet: int = 0) -> int:
        """Return a port for real clients: each connection to it is carried to the outlet."""
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._carry, args=(listener, outlet), daemon=True).start()
        self.listener = listener
        return int(listener.getsockname()[1])

    def _carry(self, listener: socket.socket, outlet: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                self.gate.carry(outlet, peer)

    def reported(self, count: int = 1) -> list[Connection]:
        """Wait until so many connections were reported."""
        end = time.monotonic() + 10
        while len(self.reports) < count and time.monotonic() < end:
            time.sleep(0.005)
        assert len(self.reports) >= count, self.reports
        return self.reports

    def close(self) -> None:
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        self.proxy.close()


@contextlib.contextmanager
def world(trust: Path | None = None, limits: Limits = QUICK) -> Iterator[World]:
    made = World(trust, limits)
    try:
        yield made
    finally:
        made.close()


def everything(peer: socket.socket) -> bytes:
    """Read until the end, or until the peer resets."""
    data = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while more := peer.recv(65536):
            data += more
    return data


def head_of(peer: socket.socket) -> bytes:
    """Read one head, byte by byte."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = peer.recv(1)
        if not more:
            break
        data += more
    return data
