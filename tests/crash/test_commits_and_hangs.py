"""Two servers that commit and do not say so: one hangs past the step's timeout, one answers 500."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any

import pytest
from bank import crash_runner
from conftest import make_command, need

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
WORKFLOW = """
name: ledger
metadata: {{owner: tests}}
defaults: {{sandbox: python, timeout: 3s, mounts: ["./post:/app"]}}
steps:
  pay:
    effects: write
    staging: {{run: &pay python3 /app/post.py /effects/socket pay}}
    run: *pay
    retry: {{max_attempts: 3, backoff: 10ms, on: [timeout, exit]}}
    {declared}
"""
DECLARED = {
    "nothing": "",
    "idempotent": "idempotent: true",
    "compensate": "compensate: {run: python3 /app/post.py /effects/socket undo}",
}
LEDGERS = {"nothing": ["pay"], "idempotent": ["pay"], "compensate": ["pay", "undo", "pay"]}
ASKED = {"nothing": 1, "idempotent": 2, "compensate": 3}
CODES = {"nothing": 6, "idempotent": 0, "compensate": 0}


@dataclass
class Ledger:
    """What the server committed and under which keys it was asked; the first answer never says so."""

    hangs: bool
    knows_keys: bool
    committed: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def take(self, what: str, key: str) -> int:
        """Commit, unless the key is one that this server knows; return the answer's status."""
        if not (self.knows_keys and key in self.keys):
            self.committed.append(what)
        self.keys.append(key)
        if len(self.keys) > 1:
            return 200
        if self.hangs:
            self.closing.wait(60)
        return 500


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that was killed while it waited."""


@contextmanager
def serving(ledger: Ledger, path: Path) -> Iterator[None]:
    """Serve the ledger on a socket that every user may connect to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(ledger.take(self.path[1:], self.headers["Idempotency-Key"]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "a sandbox"

        def log_message(self, *_: Any) -> None:
            pass

    with Server(str(path), Handler) as server:
        path.chmod(0o666)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        ledger.closing.set()
        server.shutdown()


@dataclass
class Case:
    """A workflow with one write, on its way to the server."""

    folder: Path
    declared: str

    def __post_init__(self) -> None:
        self.command = make_command(self.folder)
        self.effects = self.folder / "effects"
        self.effects.mkdir()
        self.effects.chmod(0o755)
        shutil.copytree(HERE / "post", self.command.project / "post")
        self.file = self.command.workflow(WORKFLOW.format(declared=DECLARED[self.declared]))

    def go(self, *words: str) -> int:
        process: subprocess.Popen[bytes] = crash_runner(self.command, self.effects, 0, *words)
        _, told = process.communicate(timeout=120)
        assert process.returncode in {0, 6}, told.decode()
        return process.returncode


def prove(folder: Path, engine: str, declared: str, *, hangs: bool) -> None:
    """Run the write against a server that does not confirm it, and look at the server's own ledger."""
    case, ledger = Case(folder, declared), Ledger(hangs, declared == "idempotent")
    with serving(ledger, case.effects / "socket"):
        assert case.go("start", engine, case.file) == CODES[declared]
        if declared == "nothing":
            run = case.command("show", "latest", "--json").report["run"]
            assert case.go("resume", run) == 6, "only a person may go on"
    report = case.command("show", "latest", "--json").report
    assert report["status"] == ("held" if declared == "nothing" else "succeeded")
    assert ledger.committed == LEDGERS[declared]
    assert len(ledger.keys) == ASKED[declared]
    assert len(set(ledger.keys)) == 1, "the key changed between attempts"


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("server", ["hangs", "says-500"])
def test_a_write_that_was_committed_and_not_confirmed_is_done_once(
    tmp_path: Path, declared: str, server: str
) -> None:
    need("bubblewrap")
    prove(tmp_path, "bubblewrap", declared, hangs=server == "hangs")


@pytest.mark.soak
@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("server", ["hangs", "says-500"])
def test_a_write_that_was_committed_and_not_confirmed_is_done_once_on_docker_too(
    tmp_path: Path, declared: str, server: str
) -> None:
    need("docker")
    prove(tmp_path, "docker", declared, hangs=server == "hangs")
