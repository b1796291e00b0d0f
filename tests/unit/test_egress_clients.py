"""Real clients through the proxy: curl, Python, openssl; and nginx behind an added header."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from egress_world import Server, World, certificates, hello, need, server_context, world

from runner.sandbox.egress.rules import Injection
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API = "api.example.com"
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name api.example.com;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location / {{
      if ($http_authorization != "Bearer 0123456789abcdef") {{ return 401; }}
      root {folder}/www;
    }}
    location /put/ {{ root {folder}/www; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def nginx(folder: Path, certificate: Path) -> Iterator[int]:
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    need(binary, "nginx-light")
    assert binary
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "www").mkdir()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, certificate=certificate, user=user))
    process = subprocess.Popen([binary, "-c", str(config), "-e", str(folder / "error.log")])
    try:
        end = time.monotonic() + 10
        while not _answers(port):
            assert time.monotonic() < end, (folder / "error.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[tuple[World, Server, Path]]:
    trust, certificate = certificates(tmp_path, API)
    server = Server(hello, server_context(certificate))
    with world(trust) as made:
        made.open(parse_rule({"host": f"https://{API}:{server.port}", "private": True}))
        yield made, server, trust
    server.close()


def curl(port: int, *argv: str) -> subprocess.CompletedProcess[str]:
    common = ["curl", "-sS", "--max-time", "20", "--proxy", f"http://127.0.0.1:{port}"]
    return subprocess.run([*common, *argv], capture_output=True, text=True, check=False, env={})


def test_curl_goes_through_a_tunnel_and_its_bytes_are_reported(town: tuple[World, Server, Path]) -> None:
    made, server, trust = town
    done = curl(made.listen(), "--cacert", str(trust), f"https://{API}:{server.port}/")
    assert done.stdout == "hello", done.stderr
    report = made.reported()[0]
    assert (report.host, report.port, report.denied, report.failed) == (API, server.port, "", "")
    assert report.sent > 100
    assert report.received > 500
    assert report.seconds > 0


def test_python_goes_through_a_tunnel(town: tuple[World, Server, Path]) -> None:
    made, server, trust = town
    client = http.client.HTTPSConnection(
        "127.0.0.1", made.listen(), context=ssl.create_default_context(cafile=trust)
    )
    client.set_tunnel(API, server.port)
    client.request("GET", "/")
    assert client.getresponse().read() == b"hello"
    client.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_goes_through_a_tunnel(
    town: tuple[World, Server, Path], tmp_path: Path, version: str
) -> None:
    made, _, trust = town

    def once(peer: socket.socket, _: Server) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")

    server = Server(once, server_context(tmp_path / "server.pem"))
    made.open(parse_rule({"host": f"https://{API}:{server.port}", "private": True}))
    argv = ["openssl", "s_client", "-proxy", f"127.0.0.1:{made.listen()}", "-connect", f"{API}:{server.port}"]
    argv += ["-servername", API, version, "-CAfile", str(trust), "-verify_return_error", "-quiet", "-ign_eof"]
    done = subprocess.run(argv, input=b"GET /\r\n", capture_output=True, check=False, timeout=20)
    assert done.stdout.endswith(b"hello"), done.stderr
    server.close()


def test_a_large_body_passes_a_tunnel_whole_both_ways(
    town: tuple[World, Server, Path], tmp_path: Path
) -> None:
    made, _, trust = town
    size = 20_000_000

    def mirror(peer: socket.socket, _: Server) -> None:
        while data := peer.recv(65536):
            peer.sendall(data)

    server = Server(mirror, server_context(tmp_path / "server.pem"))
    made.open(parse_rule({"host": f"https://{API}:{server.port}", "private": True}))
    with made.connect() as step:
        step.sendall(f"CONNECT {API}:{server.port} HTTP/1.1\r\n\r\n".encode())
        assert step.recv(4096).startswith(b"HTTP/1.1 200")
        with ssl.create_default_context(cafile=trust).wrap_socket(step, server_hostname=API) as tls:
            got = 0
            for at in range(size // 100_000):
                block = at.to_bytes(4, "big") * 25_000
                tls.sendall(block)
                back = b""
                while len(back) < len(block):
                    back += tls.recv(65536)
                assert back == block
                got += len(back)
    assert got == size
    server.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An nginx that wants a header which the proxy adds; yields its URL and how curl is called."""
    trust, certificate = certificates(tmp_path, API)
    with nginx(tmp_path, certificate) as target, world(trust) as made:
        rule = parse_rule({"host": f"https://{API}:{target}", "private": True})
        made.open(rule, injections=(Injection(API, target, "Authorization", b"Bearer 0123456789abcdef"),))
        (tmp_path / "run.pem").write_bytes(made.proxy.authority)
        (tmp_path / "www" / "big.bin").write_bytes(os.urandom(5_000_000))
        proxy = ["--proxy", f"http://127.0.0.1:{made.listen()}", "--cacert", str(tmp_path / "run.pem")]
        yield f"https://{API}:{target}", ["curl", "-sS", "--max-time", "20", *proxy]


def _ran(argv: list[str], *more: str) -> str:
    done = subprocess.run([*argv, *more], capture_output=True, text=True, check=False, env={})
    assert not done.stderr
    return done.stdout


def test_a_header_is_added_for_nginx_which_wants_it(guarded: tuple[str, list[str]], tmp_path: Path) -> None:
    url, curl = guarded
    out = tmp_path / "out.bin"
    assert _ran(curl, "-o", str(out), "-w", "%{http_code} %{http_version}", f"{url}/big.bin") == "200 1.1"
    assert out.read_bytes() == (tmp_path / "www" / "big.bin").read_bytes()
    head = _ran(curl, "-I", f"{url}/big.bin", "--next", "-sS", *curl[4:], "-I", f"{url}/none")
    assert "content-length: 5000000" in head
    assert "404" in head
    authority = str(tmp_path / "authority.pem")
    direct = ["curl", "-sS", "--cacert", authority, "--connect-to", f"::127.0.0.1:{url.rpartition(':')[2]}"]
    assert _ran(direct, "-w", "%{http_code}", "-o", "/dev/null", f"{url}/big.bin") == "401"


@pytest.mark.parametrize("how", [[], ["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"]])
def test_a_body_streams_to_nginx(guarded: tuple[str, list[str]], tmp_path: Path, how: list[str]) -> None:
    url, curl = guarded
    body = tmp_path / "www" / "big.bin"
    assert _ran(curl, "-T", str(body), "-w", "%{http_code}", *how, f"{url}/put/a.bin") == "201"
    assert (tmp_path / "www" / "put" / "a.bin").read_bytes() == body.read_bytes()


def test_an_answer_before_the_whole_request_reaches_the_step(tmp_path: Path) -> None:
    trust, certificate = certificates(tmp_path, API)

    def refuse(peer: socket.socket, _: Server) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        time.sleep(0.5)  # without reading: the proxy has to listen while it cannot send
        while peer.recv(65536):
            pass

    server = Server(refuse, server_context(certificate))
    with world(trust) as made:
        rule = parse_rule({"host": f"https://{API}:{server.port}", "private": True})
        made.open(rule, injections=(Injection(API, server.port, "X-Key", b"0123456789abcdef"),))
        pem = tmp_path / "run.pem"
        pem.write_bytes(made.proxy.authority)
        (tmp_path / "big").write_bytes(bytes(3_000_000))
        done = curl(
            made.listen(),
            "--cacert",
            str(pem),
            "-H",
            "Expect:",
            "-T",
            str(tmp_path / "big"),
            "-w",
            "%{http_code}",
            f"https://{API}:{server.port}/x",
        )
        assert done.stdout == "no413", done.stderr
    server.close()
