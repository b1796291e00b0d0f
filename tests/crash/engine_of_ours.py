"""A Docker Engine of the test's own, to be killed and started again, and a socket that stops to answer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import CHECKOUT, need

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILE = "runner-sandbox/minimal"


@dataclass
class Engine:
    """A second dockerd; everything of it lies under ``folder``, whose path is short enough for a socket."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "engine.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def script(self, word: str) -> None:
        places = {"HOME": self.folder / "home", "SOCKET": self.socket, "DATA": self.folder / "data"}
        environment = {**os.environ, **{f"RUNNER_ENGINE_{name}": str(path) for name, path in places.items()}}
        done = subprocess.run(
            [CHECKOUT / ".ci" / "engine", word], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        self.script("start")

    def kill(self) -> None:
        """Kill dockerd itself at once; the containers' own processes live on, as they do in a crash."""
        number = int((self.folder / "home" / "dockerd.pid").read_text())
        os.kill(number, signal.SIGKILL)
        while Path(f"/proc/{number}/exe").exists():
            time.sleep(0.02)

    def docker(self, *words: str) -> str:
        argv = ["timeout", "60", "docker", "-H", self.host, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def load_image(self) -> None:
        """Give this engine the image that the machine's own has."""
        saved = self.folder / "image.tar"
        if not saved.exists():
            subprocess.run(["timeout", "60", "docker", "save", "-o", saved, *_tags()], check=True)
        self.docker("load", "-i", str(saved))

    def make_image(self, name: str) -> Path:
        """Make an image that is nobody's profile; return the archive from which it can be loaded again."""
        kept = self.folder / "made.tar"
        container = self.docker("create", *_tags(), "true").strip()
        self.docker("commit", "-c", "LABEL made=here", container, name)
        self.docker("rm", container)
        self.docker("save", "-o", str(kept), name)
        return kept


def _tags() -> list[str]:
    argv = ["timeout", "20", "docker", "images", PROFILE, "--format", "{{.Repository}}:{{.Tag}}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@contextmanager
def own_engine() -> Iterator[Engine]:
    """Start an engine with the minimal image; end it, and remove what it kept."""
    need("docker")
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("only root can start an engine of its own")
    engine = Engine(Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp")))
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.script("stop")
        _unmount_below(engine.folder)
        shutil.rmtree(engine.folder, ignore_errors=True)


def _unmount_below(folder: Path) -> None:
    lines = Path("/proc/mounts").read_text().splitlines()
    for place in reversed([line.split()[1] for line in lines if f" {folder}/" in line]):
        subprocess.run(["umount", "-l", place], check=False)


class HangingSocket:
    """A socket in front of an engine's, until ``hang``: from then on it accepts, and never answers."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path, self._engine = path, engine
        self._hangs = threading.Event()
        self._kept: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def hang(self) -> None:
        self._hangs.set()

    def close(self) -> None:
        for one in (self._server, *self._kept):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._kept.append(client)
                if not self._hangs.is_set():
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(self._engine)
        self._kept.append(engine)
        for source, target in ((client, engine), (engine, client)):
            threading.Thread(target=self._move, args=(source, target), daemon=True).start()

    def _move(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._hangs.is_set():
                    return
                target.sendall(data)
            if not self._hangs.is_set():
                target.shutdown(socket.SHUT_WR)
