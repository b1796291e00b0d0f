"""Every driver, with one small image: busybox and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import source_bench
from contract_bench import STATE, Bench
from static_busybox import find_busybox

from runner.errors import RunnerError
from runner.sandbox.base import Image
from runner.sandbox.bubblewrap.driver import BubblewrapDriver
from runner.sandbox.docker.driver import DockerDriver
from runner.sandbox.fake import FakeDriver
from runner.vault.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secret_servers import Server

    from runner.sandbox.base import Driver


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    busybox = find_busybox()
    if not busybox.exists():
        _missing("no static busybox: runner sandbox build minimal")
        raise AssertionError
    folder = tmp_path_factory.mktemp("image") / "rootfs"
    (folder / "bin").mkdir(parents=True)
    for place in (folder, folder / "bin"):
        place.chmod(0o755)
    for name in ("in", "out", "work", "tmp", "run", "run/secrets", ".runner", "dev", "proc", "sys", "etc"):
        (folder / name).mkdir()
    (folder / ".runner" / "init").touch()
    shutil.copy(busybox, folder / "bin" / "busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (folder / "bin" / applet).symlink_to("busybox")
    return folder


@pytest.fixture(scope="session")
def docker_image(rootfs: Path) -> Iterator[str]:
    if shutil.which("docker") is None:
        _missing("docker is not installed")
    name = f"runner-contract:{os.getpid()}"
    packed = subprocess.run(["tar", "-C", str(rootfs), "-c", "."], capture_output=True, check=True).stdout
    done = subprocess.run(
        ["docker", "import", "-", name], input=packed, capture_output=True, timeout=60, check=False
    )
    if done.returncode != 0:
        _missing(f"no Docker Engine: {done.stderr.decode()}")
    yield name
    subprocess.run(["docker", "rmi", "-f", name], capture_output=True, timeout=60, check=False)


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _bench(kind: str, request: pytest.FixtureRequest, home: Path) -> Bench:
    if kind == "fake":
        return Bench(FakeDriver(), Image("fake", "sha256:fake"), home)
    rootfs = request.getfixturevalue("rootfs")
    image = Image("busybox", "sha256:busybox", rootfs)
    try:
        if kind == "bubblewrap":
            driver: Driver = BubblewrapDriver(state=STATE)
        else:
            image = replace(image, reference=request.getfixturevalue("docker_image"))
            driver = DockerDriver(state=STATE, runtime="runsc" if kind == "gvisor" else "runc", name=kind)
        driver.check()
    except RunnerError as error:
        _missing(str(error))
        raise
    return Bench(driver, image, home)


@pytest.fixture(params=["fake", "bubblewrap", "docker", "gvisor"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = _bench(request.param, request, tmp_path)
    yield made
    made.driver.close()


@pytest.fixture(params=["bubblewrap", "docker", "gvisor"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = _bench(request.param, request, tmp_path)
    yield made
    made.driver.close()


@pytest.fixture(scope="session")
def operator_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="session")
def bao(openbao_server: Server, postgres_server: Server, operator_home: Path) -> Server:
    """OpenBao with values, a database engine before the real PostgreSQL, and three ways to log in."""
    issuer = Issuer(source_bench.Operator(operator_home).settings().config, source_bench.ISSUER)
    source_bench.furnish(openbao_server, postgres_server.port, issuer)
    return openbao_server


@pytest.fixture
def operator(operator_home: Path) -> source_bench.Operator:
    """An operator whose keys OpenBao trusts; each test declares its sources anew."""
    return source_bench.Operator(operator_home)


@pytest.fixture(params=["bubblewrap", "docker"])
def native(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """The engines whose sandboxes run on our own kernel."""
    made = _bench(request.param, request, tmp_path)
    yield made
    made.driver.close()
