"""Real servers for secrets: OpenBao in its development mode, and PostgreSQL, on loopback, ended by their pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_TOKEN = "root-token-of-the-test"
ADMIN_PASSWORD = "admin password: 100% of tests/@"
_QUIET = ("fsync=off", "log_statement=all", "max_prepared_transactions=5", "shared_buffers=16MB")


@dataclass
class Server:
    """A process that was started here, and where it answers."""

    child: subprocess.Popen[bytes]
    folder: Path
    port: int
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it take connections and answer nothing."""
        pids = [self.child.pid, *_children(self.child.pid)]
        try:
            for pid in pids:
                with suppress(ProcessLookupError):  # a session may end meanwhile
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_bao() -> str | None:
    return shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs: Debian puts them beside the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        program = shutil.which("postgres")
        return Path(program).resolve().parent if program else None
    return found[-1].parent


@contextmanager
def openbao() -> Iterator[Server]:
    """Serve OpenBao over TLS, with its state in memory and ``ROOT_TOKEN``."""
    program = find_bao()
    assert program
    with tempfile.TemporaryDirectory(prefix="bao-") as name:
        folder, port = Path(name), free_port()
        argv = [
            *_bound(signal.SIGTERM),
            program,
            "server",
            "-dev",
            "-dev-tls",
            f"-dev-tls-cert-dir={folder}",
            "-dev-no-store-token",
        ]
        argv += [f"-dev-listen-address=127.0.0.1:{port}", f"-dev-root-token-id={ROOT_TOKEN}"]
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                argv, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": name}
            )
        server = Server(child, folder, port, {"ca": folder / "vault-ca.pem"})
        yield from _serving(server, "OpenBao server started!", signal.SIGTERM)


@contextmanager
def postgres() -> Iterator[Server]:
    """Serve a new PostgreSQL cluster whose superuser is ``postgres`` with ``ADMIN_PASSWORD``."""
    programs = find_postgres()
    assert programs
    who: dict[str, Any] = (
        {"user": "postgres", "group": "postgres", "extra_groups": []} if not os.geteuid() else {}
    )
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(ADMIN_PASSWORD)
        for path in (folder, folder / "password"):
            if who:
                shutil.chown(path, "postgres", "postgres")
        made = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=scram-sha-256", "-N"]
        subprocess.run(
            [*made, f"--pwfile={folder}/password"],
            check=True,
            capture_output=True,
            timeout=60,
            cwd="/",
            **who,
        )
        argv: list[str | Path] = [
            *_bound(signal.SIGINT),
            programs / "postgres",
            "-D",
            folder / "data",
            "-h",
            "127.0.0.1",
        ]
        argv += ["-p", str(port), "-k", str(folder), *(word for each in _QUIET for word in ("-c", each))]
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/", **who)
        yield from _serving(Server(child, folder, port), "ready to accept connections", signal.SIGINT)


def _bound(end: signal.Signals) -> list[str]:
    """Return what to put before a command so that it ends with the tests, however they end."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", end.name.removeprefix("SIG")] if program else []


def _serving(server: Server, words: str, end: signal.Signals) -> Iterator[Server]:
    try:
        deadline = time.monotonic() + 60
        while words not in server.log:
            assert server.child.poll() is None, server.log
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)
        yield server
    finally:
        server.child.send_signal(end)
        try:
            server.child.wait(20)
        except subprocess.TimeoutExpired:
            server.child.kill()
            server.child.wait()


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if (
                entry.name.isdecimal()
                and int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid
            ):
                found.append(int(entry.name))
    return found
