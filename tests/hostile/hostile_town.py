"""Real servers on loopback for hostile steps, the operator's policy for them, and what reached whom."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import egress_world
from egress_world import Server, read_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Command

CLOSED = 5433
SECRET = "town-secret-9d1f3a77c04b5e62"


class Forbidden:
    """One port that nobody may reach: by TCP on every address of the host, by UDP, and an abstract socket."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self._tcp = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - the gateway's address is one of them
        self.port = int(self._tcp.getsockname()[1])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("0.0.0.0", self.port))  # noqa: S104 - see above
        self._unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unix.bind(f"\0runner-hostile-{self.port}")
        self._unix.listen()
        for one in (self._tcp, self._udp, self._unix):
            threading.Thread(target=self._count, args=(one,), daemon=True).start()

    def _count(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                if one is self._udp:
                    data, whose = one.recvfrom(100)
                    self.reached.append(f"UDP {whose}: {data!r}")
                else:
                    peer, whose = one.accept()
                    self.reached.append(f"{one.family.name} {whose}")
                    peer.close()

    def close(self) -> None:
        for one in (self._tcp, self._udp, self._unix):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Town:
    """``api`` and the others are the servers of ``asked_of_the_proxy``; ``meeting`` lets steps wait for another."""

    def __init__(self, folder: Path) -> None:
        self.trust, certificate = egress_world.certificates(folder, "localhost")
        context = egress_world.server_context(certificate)
        self.meeting = threading.Barrier(2, timeout=60)
        self.forbidden = Forbidden()
        self.api = Server(self._talk, context)
        self.keeper = Server(self._keep, context)
        self.plain = Server(self._talk)
        self.hidden = Server(egress_world.hello, context)
        self.database = Server(self._database)

    @property
    def ports(self) -> dict[str, int]:
        return {
            "API": self.api.port,
            "KEEPER": self.keeper.port,
            "PLAIN": self.plain.port,
            "HIDDEN": self.hidden.port,
            "DB": self.database.port,
            "FORBIDDEN": self.forbidden.port,
            "CLOSED": CLOSED,
        }

    def _talk(self, peer: socket.socket, server: Server) -> None:
        """Answer ``/meet`` once two are there, ``/flood`` without end, ``/once`` so the first time, ``/hang`` never, else with hello."""
        while request := read_request(peer):
            server.heard.append(request)
            path = request.split(b" ", 2)[1]
            if path == b"/meet":
                self.meeting.wait()
            if path == b"/hang":
                peer.recv(1)
                return
            if path == b"/flood" or (path == b"/once" and server.connections == 1):
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    peer.sendall(bytes(65536))
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    @staticmethod
    def _keep(peer: socket.socket, server: Server) -> None:
        request = read_request(peer)
        if not request:
            return
        server.heard.append(request)
        path = request.split(b" ", 2)[1]
        header = request.partition(b"Bearer ")[2].partition(b"\r\n")[0]
        more = b"X-Echo: " + header + b"\r\n" if path.endswith(b"header") else b""
        body = request if path.endswith(b"echo") else b"hello"
        length = f"Content-Length: {len(body)}\r\n".encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\n" + more + length + b"\r\n" + body)

    @staticmethod
    def _database(peer: socket.socket, server: Server) -> None:
        while data := peer.recv(4096):
            server.heard.append(data)
            if data == bytes.fromhex("0000000804d2162f"):
                peer.sendall(b"N")

    def reach(self, name: str, scheme: str = "https", **more: Any) -> dict[str, Any]:
        where = f"{scheme}://localhost:{self.ports[name]}" if scheme else f"localhost:{self.ports[name]}"
        return {"host": where, "private": True, **more}

    def policy(self, runner: Command) -> None:
        """Write what the operator says: all but HIDDEN may be private."""
        private = [f"localhost:{self.ports[name]}" for name in ("API", "KEEPER", "PLAIN", "DB")]
        config = runner.home.parent / "config" / "runner"
        config.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"egress": {"ca": str(self.trust), "private": private}})
        (config / "policy.yaml").write_text(text)

    def bind(self, runner: Command, value: str = SECRET) -> None:
        """Bind the secret ``key`` to KEEPER, as a header."""
        runner("secrets", "set", "kept", stdin=value.encode())
        bound = ("--host", f"localhost:{self.keeper.port}", "--method", "GET", "--path", "/v1/**")
        assert runner("secrets", "bind", "key", "--from", "store:kept", *bound).code == 0

    def close(self) -> None:
        self.forbidden.close()
        for server in (self.api, self.keeper, self.plain, self.hidden, self.database):
            server.close()


@contextlib.contextmanager
def town(folder: Path) -> Iterator[Town]:
    folder.mkdir(parents=True, exist_ok=True)
    made = Town(folder)
    try:
        yield made
    finally:
        made.close()
