"""The egress proxy against a direct download: ``python tests/bench/egress.py``, alone, on loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from egress_world import World, certificates, server_context

from runner.sandbox.egress.passage import Limits
from runner.sandbox.egress.rules import Injection
from runner.workflow.hosts import parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "api.example.com"
SIZE = 1 << 29
BLOCK = bytes(1 << 18)
BIG = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % SIZE
ROUNDS = 5
MANY = 1000
START = """
import socket, sys, time
import runner.engine.executor, runner.app, runner.vault.mask, re2
began, used = time.perf_counter(), time.process_time() * 1000
from runner.sandbox.egress.proxy import Proxy
from runner.sandbox.egress.rules import Policy
proxy = Proxy()
proxy.start()
{more}
gate = proxy.gate(Policy(()), (None,), print)
waited = time.perf_counter() - began
ours, theirs = socket.socketpair()
gate.carry(0, theirs)
ours.sendall(b"CONNECT canary.runner.invalid:443 HTTP/1.1\\r\\n\\r\\n")
ours.recv(100)
print(waited * 1000, (time.perf_counter() - began) * 1000, time.process_time() * 1000 - used)
"""


def serve(certificate: Path) -> None:
    """Be a TLS server in a process of its own: each connection is told ``SIZE`` bytes, or ``hello`` if it asks."""
    context = server_context(certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            peer, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as tls:
                request = tls.recv(65536)
                if b" /big " in request:
                    tls.sendall(BIG)
                    for _ in range(SIZE // len(BLOCK)):
                        tls.sendall(BLOCK)
                else:
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@contextlib.contextmanager
def server(certificate: Path) -> Iterator[int]:
    """Start a server process and return its port."""
    argv = [sys.executable, __file__, "serve", str(certificate)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def download(peer: socket.socket, context: ssl.SSLContext, target: int) -> float:
    """Return the bytes per second of one download."""
    buffer = bytearray(1 << 18)
    with context.wrap_socket(peer, server_hostname=HOST) as tls:
        tls.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}:{target}\r\n\r\n".encode())
        began, got = time.perf_counter(), 0
        while got < SIZE and (size := tls.recv_into(buffer)):
            got += size
        assert got >= SIZE
        return got / (time.perf_counter() - began)


def tunnelled(port: int, target: int) -> socket.socket:
    """Return a connection through the proxy that listens on ``port``."""
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(f"CONNECT {HOST}:{target} HTTP/1.1\r\nHost: {HOST}:{target}\r\n\r\n".encode())
    answer = peer.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return peer


def proxied(trust: Path, port: int, authority: Path | None) -> None:
    """Be the proxy, in a process of its own, and say what it used when its input ends.

    With a file for its ``authority`` it adds a header.
    """
    world = World(trust, Limits())
    added = (Injection(HOST, port, "Authorization", b"Bearer 0123456789abcdef"),) if authority else ()
    world.open(parse_rule({"host": f"https://{HOST}:{port}", "private": True}), injections=added)
    if authority:
        authority.write_bytes(world.proxy.authority)
    print(world.listen(), flush=True)
    sys.stdin.read()
    world.gate.close()
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    print(int(peak.split()[1]) / 1024, sum(each.count for each in world.reports), flush=True)
    world.close()


@contextlib.contextmanager
def proxy(trust: Path, target: int, peaks: list[float], *authority: Path) -> Iterator[int]:
    """Start a proxy process, return its port, and note its peak of memory (MiB) at the end."""
    argv = [sys.executable, __file__, "proxied", str(trust), str(target), *map(str, authority)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
        out, _ = process.communicate(timeout=30)
        peaks.append(float(out.split()[0]))
    finally:
        process.kill()
        process.wait()


def throughput(trust: Path, target: int, *authority: Path) -> str:
    """Throughput through the proxy ÷ direct, the median of interleaved rounds; with a header if ``authority``."""
    direct_trust = ssl.create_default_context(cafile=trust)
    ratios, rates = [], []
    with proxy(trust, target, [], *authority) as port:
        step_trust = ssl.create_default_context(cafile=authority[0]) if authority else direct_trust
        for _ in range(ROUNDS):
            direct = download(socket.create_connection(("127.0.0.1", target)), direct_trust, target)
            through = download(tunnelled(port, target), step_trust, target)
            ratios.append(through / direct)
            rates.append(f"{through / 1e6:.0f}/{direct / 1e6:.0f}")
    return f"{statistics.median(ratios):.2f}   MB/s {' '.join(rates)}"


def memory(trust: Path, target: int) -> str:
    """Peak memory of a process with the proxy after many connections, a hundred open at once."""
    context = ssl.create_default_context(cafile=trust)
    peaks: list[float] = []
    began = time.perf_counter()
    with proxy(trust, target, peaks) as port:
        for _ in range(MANY // 100):
            with contextlib.ExitStack() as stack:
                peers = [stack.enter_context(tunnelled(port, target)) for _ in range(100)]
                for peer in peers:
                    with context.wrap_socket(peer, server_hostname=HOST) as tls:
                        tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                        assert tls.recv(65536)
    took = time.perf_counter() - began
    return (
        f"memory after {MANY} connections   {peaks[0]:.1f} MiB (bar ≤ 60)   {took / MANY * 1000:.1f} ms each"
    )


def started(more: str = "") -> str:
    """Milliseconds that the engine waits, that a first connection waits, and of CPU, with Runner loaded."""
    argv = [sys.executable, "-c", START.format(more=more)]
    done = [subprocess.run(argv, capture_output=True, text=True, check=True) for _ in range(9)]
    rows = [[float(number) for number in each.stdout.split()] for each in done]
    waited, answered, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
    return f"{waited:.1f} ms waited, {answered:.1f} ms to a first answer, {cpu:.1f} ms of CPU"


def main() -> None:
    """Print each ratio on a line."""
    with tempfile.TemporaryDirectory() as folder:
        trust, certificate = certificates(Path(folder), HOST)
        with server(certificate) as target:
            print(f"tunnel ÷ direct TLS (bar ≥ 0.5)   {throughput(trust, target)}")
            print(f"with a header ÷ direct TLS        {throughput(trust, target, Path(folder) / 'run.pem')}")
            print(memory(trust, target))
    print(f"start of the proxy (bar ≤ 15 ms)          {started()}")
    print(f"start with a header secret (bar ≤ 30 ms)  {started('proxy.authority')}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certificate]:
            serve(Path(certificate))
        case ["proxied", trust, port]:
            proxied(Path(trust), int(port), None)
        case ["proxied", trust, port, authority]:
            proxied(Path(trust), int(port), Path(authority))
        case _:
            main()
