"""PostgreSQL's way to TLS, between a real psql and a real server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from client_hellos import client_hello, records, sni
from egress_world import Server, World, certificates, everything, hello, need, world

from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

DB = "db.example.com"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)
CANCEL = struct.pack("!iiii", 16, 80877102, 1, 2)
STARTUP = struct.pack("!ii", 23, 196608) + b"user\0postgres\0\0"


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    need(found and shutil.which("psql"), "postgresql")
    return found[-1].parent


def _as_its_user(*argv: str) -> list[str]:
    """PostgreSQL refuses to be root."""
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else list(argv)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    binaries, folder = _binaries(), tmp_path_factory.mktemp("postgres")
    trust, certificate = certificates(folder, DB)
    data = folder / "data"
    certificate.chmod(0o600)
    if os.geteuid() == 0:
        for path in (folder, certificate):
            shutil.chown(path, "postgres")
        for parent in list(folder.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        _as_its_user(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-N"),
        check=True,
        cwd="/",
        capture_output=True,
    )
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "ssl": "on", "ssl_cert_file": certificate,
        "ssl_key_file": certificate, "fsync": "off", "max_connections": 10, "shared_buffers": "1MB",
    }  # fmt: skip
    argv = [
        str(binaries / "postgres"),
        "-D",
        str(data),
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    process = subprocess.Popen(_as_its_user(*argv), cwd="/", stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port, trust
    finally:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, 3)
        process.wait(20)


def _wait(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as peer:
            peer.sendall(SSL_REQUEST)
            if peer.recv(1) == b"S":
                return
        time.sleep(0.1)
    pytest.fail("PostgreSQL did not start")


def psql(port: int, trust: Path, mode: str, query: str = "select 6 * 7") -> subprocess.CompletedProcess[str]:
    where = f"host={DB} hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres sslmode={mode} sslrootcert={trust} connect_timeout=10"
    argv = ["psql", "-X", "-At", "-c", query, where]
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=30, env={"PATH": os.environ["PATH"]}
    )


@pytest.fixture
def made() -> Iterator[World]:
    with world() as one:
        yield one


def test_psql_reaches_its_server_by_tls_through_its_own_outlet(
    database: tuple[int, Path], made: World
) -> None:
    target, trust = database
    made.open(parse_rule({"host": f"tcp://{DB}:{target}", "private": True}))
    done = psql(made.listen(1), trust, "verify-full")
    assert done.stdout.strip() == "42", done.stderr
    report = made.reported()[0]
    assert (report.host, report.port, report.denied) == (DB, target, "")
    assert report.received > 1000


def test_a_plain_session_is_denied_in_words_that_psql_shows(database: tuple[int, Path], made: World) -> None:
    target, trust = database
    made.open(parse_rule({"host": f"tcp://{DB}:{target}", "private": True}))
    done = psql(made.listen(1), trust, "disable")
    assert "egress denied" in done.stderr
    assert "insecure: true" in done.stderr
    assert "not TLS" in made.reported()[0].denied


def test_a_plain_session_passes_where_the_rule_says_insecure(database: tuple[int, Path], made: World) -> None:
    target, trust = database
    made.open(parse_rule({"host": f"tcp://{DB}:{target}", "private": True, "insecure": True}))
    assert psql(made.listen(1), trust, "disable").stdout.strip() == "42"


def test_a_session_for_another_server_name_is_denied(database: tuple[int, Path], made: World) -> None:
    target, trust = database
    made.open(parse_rule({"host": f"tcp://other.example.com:{target}", "private": True}))
    assert psql(made.listen(1), trust, "require").returncode
    assert f"asks for {DB}" in made.reported()[0].denied


def _replies(answer: bytes) -> Server:
    def talk(peer: socket.socket, server: Server) -> None:
        while data := peer.recv(65536):
            server.heard.append(data)
            peer.sendall(answer)

    return Server(talk)


WAYS = {
    "a plain start": ([STARTUP], b""),
    "a cancel request": ([CANCEL], b""),
    "encryption that is not TLS": ([GSS_REQUEST, STARTUP], b""),
    "a plain start where the server has no TLS": ([SSL_REQUEST, STARTUP], b"N"),
    "a plain start after TLS was agreed on": ([SSL_REQUEST, STARTUP], b"S"),
    "a plain start along with the request": ([SSL_REQUEST + STARTUP], b"S"),
    "TLS for another": ([SSL_REQUEST, records(client_hello(sni("evil.example")))], b"S"),
    "an encrypted hello": ([records(client_hello(sni(DB), (0xFE0D, b"x")))], b""),
    "requests without end": ([GSS_REQUEST] * 5, b""),
    "another protocol": ([b"PING\r\n"], b""),
    "HTTP": ([b"GET / HTTP/1.1\r\n\r\n"], b""),
    "half a request": ([SSL_REQUEST[:5]], b""),
    "nothing": ([b""], b""),
    "a server that answers with more": ([SSL_REQUEST, STARTUP], b"S" + b"x" * 100),
    "a server that answers with an error": ([SSL_REQUEST], b"E..."),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_tls_does_not_reach_a_server(made: World, way: str) -> None:
    sent, answer = WAYS[way]
    server = _replies(answer)
    made.open(parse_rule({"host": f"tcp://{DB}:{server.port}", "private": True}))
    with made.connect(1) as step:
        with contextlib.suppress(ConnectionError):
            for part in sent:
                step.sendall(part)
                time.sleep(0.05)
        everything(step)
    report = made.reported()[0]
    assert report.denied or report.failed
    assert b"".join(server.heard) in (b"", SSL_REQUEST)
    server.close()


def test_tls_without_postgresql_and_without_a_name_passes_an_outlet(made: World) -> None:
    server = _replies(b"answer")
    made.open(parse_rule({"host": f"tcp://{DB}:{server.port}", "private": True}))
    with made.connect(1) as step:
        step.sendall(records(client_hello()))
        assert step.recv(100) == b"answer"
    assert made.reported()[0].sent == len(records(client_hello()))
    server.close()


def test_an_outlet_leads_to_its_own_host_and_nowhere_else(made: World) -> None:
    one, other = Server(hello), Server(hello)
    made.names[DB] = ("10.1.1.1",)
    made.open(
        parse_rule(f"tcp://{DB}:{one.port}"),
        parse_rule({"host": f"tcp://b.example:{other.port}", "private": True}),
    )
    with made.connect(1) as step:
        everything(step)
    assert "not a public address" in made.reported()[0].denied
    with made.connect(7) as step:
        assert not everything(step) or True
    assert not one.connections
    assert not other.connections
    one.close()
    other.close()
