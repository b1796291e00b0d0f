"""Steps on the network, in real sandboxes: ``python tests/bench/egress_steps.py``, alone, on loopback.

Prints what a rule and a header secret add to a step, the throughput of a download in a sandbox ÷ that of the
same client beside the server, and the runner's memory after many connections.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))

import conftest
from egress import server
from egress_world import certificates

if TYPE_CHECKING:
    from conftest import Command

STEPS = 10
PAIRS = 7
ROUNDS = 5
MANY = 1000
BARS = {"docker": 0.5, "bubblewrap": 0.5, "gvisor": 0.15}
CLIENT = """
import socket, ssl, sys, time
way, port, size, cafile = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
context = ssl.create_default_context(cafile=cafile)
def connect():
    if way == "direct":
        return socket.create_connection(("127.0.0.1", port))
    peer = socket.create_connection(("127.0.0.1", 3128))
    peer.sendall(f"CONNECT localhost:{port} HTTP/1.1\\r\\nHost: localhost:{port}\\r\\n\\r\\n".encode())
    answer = peer.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return peer
def ask(request, size):
    buffer, got = bytearray(1 << 18), 0
    with context.wrap_socket(connect(), server_hostname="localhost") as tls:
        tls.sendall(request)
        began = time.perf_counter()
        while got < size and (more := tls.recv_into(buffer)):
            got += more
        assert got >= size, (got, size)
        return got / (time.perf_counter() - began)
if size:
    print("RATE", ask(b"GET /big HTTP/1.1\\r\\n\\r\\n", size), flush=True)
else:
    for _ in range(int(sys.argv[5])):
        ask(b"GET / HTTP/1.1\\r\\n\\r\\n", 5)
    print("RATE done", flush=True)
    time.sleep(30)
"""


class World:
    """A server, a command in a state folder of its own, and the operator's word that both may meet."""

    def __init__(self, folder: Path, trust: Path, port: int) -> None:
        self.trust, self.port = trust, port
        self.runner: Command = conftest.make_command(folder / "world")
        config = self.runner.home.parent / "config" / "runner"
        config.mkdir(parents=True)
        policy = {"egress": {"ca": str(trust), "private": [f"localhost:{port}"]}}
        (config / "policy.yaml").write_text(json.dumps(policy))
        (self.runner.project / "client.py").write_text(CLIENT)
        self.runner("secrets", "set", "kept", stdin=b"s3cr3t-of-the-bench")
        self.runner("secrets", "bind", "key", "--from", "store:kept", "--host", f"localhost:{port}")
        self.reach = {"host": f"https://localhost:{port}", "private": True}

    def write(self, name: str, steps: dict[str, Any]) -> str:
        whole = {"name": name, "secrets": ["key"], "staging": {"egress": [self.reach]}, "steps": steps}
        return self.runner.workflow(json.dumps(whole), f"{name}.yaml")

    def client(self, size: int, *more: str) -> dict[str, Any]:
        argv = ["python3", "/app/client.py", "through", str(self.port), str(size)]
        return {
            "run": [*argv, "/run/secrets/ca-certificates.crt", *more],
            "sandbox": "python",
            "mounts": ["./client.py:/app/client.py"],
            "effects": "read",
            "egress": [self.reach],
        }


def plain(steps: int, **more: Any) -> dict[str, Any]:
    """Return steps that do nothing, one after the other."""
    named = {f"s{number}": {"run": ["true"], "effects": "read", **more} for number in range(steps)}
    for number in range(1, steps):
        named[f"s{number}"]["needs"] = [f"s{number - 1}"]
    return named


def took(world: World, path: str, engine: str) -> float:
    """Return the milliseconds of one run."""
    began = time.perf_counter()
    done = world.runner("run", path, "--engine", engine, "--json")
    assert done.code == 0, done.err
    return (time.perf_counter() - began) * 1000


def added(world: World, engine: str, steps: int) -> str:
    """Compare runs without a way out, with one, and with a header secret, each beside the others."""
    rule = {"egress": [world.reach]}
    header = {**rule, "secrets": {"KEY": {"secret": "key", "as": "header"}}}
    paths = [
        world.write(name, plain(steps, **more))
        for name, more in (("none", {}), ("rule", rule), ("header", header))
    ]
    for path in paths:
        took(world, path, engine)
    rows = [[took(world, path, engine) for path in paths] for _ in range(PAIRS)]
    by_rule, by_header = (statistics.median(row[at] - row[0] for row in rows) / steps for at in (1, 2))
    base = statistics.median(row[0] for row in rows) / steps
    many = "a run of one step" if steps == 1 else f"each of {steps} steps"
    return (
        f"{engine:10} {many:18} {base:.0f} ms; a rule adds {by_rule:.1f} ms (bar ≤ 15), "
        f"a header secret {by_header:.1f} ms (bar ≤ 30)"
    )


def rate(text: str) -> float:
    """Return the bytes per second that a client printed."""
    return float(text.partition("RATE ")[2].split()[0])


def throughput(world: World, engine: str) -> str:
    """Compare a download in a sandbox with the same client's on the host, one after the other."""
    size = (128 if engine == "gvisor" else 512) << 20
    path = world.write("download", {"a": world.client(size)})
    direct = [sys.executable, str(world.runner.project / "client.py"), "direct", str(world.port)]
    pairs = []
    for _ in range(ROUNDS):
        argv = [*direct, str(size), str(world.trust)]
        beside = rate(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        done = world.runner("run", path, "--engine", engine, "--json")
        assert done.code == 0, done.err
        pairs.append((rate(done.err), beside))
    ratio = statistics.median(through / beside for through, beside in pairs)
    shown = " ".join(f"{through / 1e6:.0f}/{beside / 1e6:.0f}" for through, beside in pairs)
    return f"{engine:10} download ÷ direct TLS {ratio:.2f} (bar ≥ {BARS[engine]})   MB/s {shown}"


def memory(world: World, engine: str) -> str:
    """Return the runner's memory after many connections of one step."""
    path = world.write("many", {"a": world.client(0, str(MANY))})
    child = world.runner.begin("run", path, "--engine", engine, "--json")
    try:
        conftest.until(child, "RATE done")
        status = Path(f"/proc/{child.pid}/status").read_text()
        now, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    finally:
        child.terminate()
        child.communicate(timeout=60)
    return f"{engine:10} runner after {MANY} connections {now:.1f} MiB, at most {peak:.1f} (bar ≤ 60)"


def main() -> None:
    """Print a line for each number."""
    engines = [engine for engine in BARS if not conftest.missing(engine)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trust, certificate = certificates(folder, "localhost")
        with server(certificate) as port:
            world = World(folder, trust, port)
            for engine in engines:
                for steps in (1, STEPS) if engine != "gvisor" else ():
                    print(added(world, engine, steps), flush=True)
                print(throughput(world, engine), flush=True)
                print(memory(world, engine), flush=True)


if __name__ == "__main__":
    main()
