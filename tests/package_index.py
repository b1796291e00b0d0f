"""A package index (PEP 503) of the tests' own, by HTTPS on loopback, and wheels made for it."""

from __future__ import annotations

import base64
import hashlib
import io
import ssl
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from egress_world import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

LINK = 0o120777 << 16
"""The attributes of a zip entry that says it is a symbolic link."""


def wheel(
    name: str, files: Mapping[str, bytes], *, entry_points: str = "", needs: tuple[str, ...] = ()
) -> bytes:
    """Return a wheel of version 1.0 that holds ``files``, with the attributes of a link where a name ends in @."""
    info = f"{name}-1.0.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points.encode()
    rows = [f"{path.removesuffix('@')},{_digest(data)},{len(data)}" for path, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            entry = zipfile.ZipInfo(path.removesuffix("@"))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = LINK if path.endswith("@") else 0o100644 << 16
            archive.writestr(entry, data)
    return whole.getvalue()


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


@dataclass
class Index:
    """Serves ``files`` (names of wheels to their bytes); ``asked`` is every path that was asked for."""

    trust: Path
    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    elsewhere: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, data: bytes) -> str:
        """Serve a wheel; return its line in a lock file."""
        self.files[f"{name}-1.0-py3-none-any.whl"] = data
        return f"{name}==1.0 --hash=sha256:{hashlib.sha256(data).hexdigest()}\n"

    @property
    def policy(self) -> str:
        """What the operator's policy says about it."""
        return (
            f"egress: {{ca: {self.trust}, private: ['127.0.0.1:{self.port}']}}\n"
            f"python: {{index: 'https://127.0.0.1:{self.port}/simple', max_bytes: 16MiB}}\n"
        )

    def answer(self, path: str) -> bytes | None:
        """Return what stands at a path."""
        parts = path.strip("/").split("/")
        if parts[0] == "files":
            return self.files.get(parts[-1])
        found = [name for name in self.files if name.partition("-")[0] == parts[-1].replace("-", "_")]
        links = "".join(f'<a href="{self.elsewhere}/files/{name}">{name}</a>\n' for name in found)
        return f"<!DOCTYPE html><html><body>\n{links}</body></html>\n".encode() if links else None


def serving(folder: Path) -> AbstractContextManager[Index]:
    """Serve an index while the context lasts."""
    from contextlib import contextmanager

    @contextmanager
    def context() -> Iterator[Index]:
        trust, certificate = certificates(folder, "127.0.0.1")
        index = Index(trust)
        index.hold.set()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
        server.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        index.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield index
        finally:
            index.hold.set()
            server.shutdown()
            thread.join()
            server.server_close()

    return context()


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.hold.wait(30)
            data = None if index.down else index.answer(self.path)
            self.send_response(503 if index.down else 200 if data is not None else 404)
            kind = "text/html" if self.path.startswith("/simple") else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def do_HEAD(self) -> None:
            self.send_response(405)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
