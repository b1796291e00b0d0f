from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from static_busybox import find_busybox

from runner.errors import EngineUnavailable, ImageMissing
from runner.sandbox.attempt_folder import unmount
from runner.sandbox.base import Image, Limits, Message, Mount, SandboxSpec
from runner.sandbox.docker.api import EngineApi, engine_address
from runner.sandbox.docker.driver import DockerDriver
from runner.sandbox.docker.request import container_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.sandbox.docker.sandbox import DockerSandbox

MIB = 1024 * 1024
REFERENCE = f"runner-test-docker-driver:{os.getpid()}"
BUSYBOX = find_busybox()
LIMITS = Limits(
    memory=64 * MIB,
    cpus=1,
    pids=32,
    files=256,
    tmp=8 * MIB,
    shm=MIB,
    work=8 * MIB,
    output=8 * MIB,
    log=MIB,
)


def engine() -> EngineApi:
    return EngineApi(engine_address(os.environ))


def image_archive() -> bytes:
    shell = BUSYBOX.read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sh", "sleep", "true", "cat", "yes", "head", "readlink", "dd", "hostname"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size, entry.mode = len(shell), 0o755
            archive.addfile(entry, io.BytesIO(shell))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    try:
        engine().ask("GET", "/version")
    except EngineUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    if not BUSYBOX.exists():
        pytest.skip("no static busybox (Debian: busybox-static)")
    command = ["docker", "import", "-c", "VOLUME /data", "-", REFERENCE]
    subprocess.run(command, input=image_archive(), check=True, timeout=60, capture_output=True)
    yield Image("test", "sha256:0", reference=REFERENCE)
    engine().ask("DELETE", f"/images/{REFERENCE}?force=1")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[DockerDriver]:
    made = DockerDriver(state=uuid.uuid4().hex)
    yield made
    made.close()
    left = made.reap(lambda _: False)
    mounted = [folder for folder in tmp_path.glob("*/out") if unmount(folder)]
    assert (left, mounted) == ((), [])


@pytest.fixture
def spec(image: Image, tmp_path: Path) -> SandboxSpec:
    return SandboxSpec(uuid.uuid4().hex[:8], "step", 1, image, (), LIMITS, tmp_path / "1")


def shell(line: str, seconds: float = 20.0) -> Message:
    return Message(("/bin/sh", "-c", line), {"PATH": "/bin"}, (), {}, seconds, 1.0)


def run(sandbox: DockerSandbox, message: Message) -> tuple[bytes, Any]:
    sandbox.start(message)
    output = b"".join(chunk.data for chunk in sandbox.logs())
    ended = sandbox.wait()
    sandbox.destroy()
    return output, ended


def test_every_sandbox_has_a_network_namespace_of_its_own_with_a_loopback_alone(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    look = shell("readlink /proc/self/ns/net; hostname; cat /etc/hosts /etc/resolv.conf; cat /proc/net/dev")
    sandboxes = [
        driver.create(replace(spec, attempt=number, directory=spec.directory.with_name(str(number))))
        for number in (2, 3)
    ]
    seen = [str(Path("/proc/self/ns/net").readlink())]
    for sandbox in sandboxes:
        output, ended = run(sandbox, look)
        assert ended.code == 0
        namespace, hostname, *hosts, _, _, device = output.decode().splitlines()
        assert hostname == "sandbox"
        assert hosts == ["127.0.0.1 localhost", "::1 localhost"]
        assert device.split()[0] == "lo:"
        seen.append(namespace)
    assert len(set(seen)) == 3


def test_an_engine_that_was_greeted_is_not_asked_again_and_may_go_unheard(
    driver: DockerDriver, image: Image
) -> None:
    del image
    driver.greet()
    asked = driver._asked
    assert asked is not None
    assert driver.check().version
    assert asked.fileno() == -1
    driver.greet()
    assert driver._asked is None
    unheard = DockerDriver(state=uuid.uuid4().hex)
    unheard.greet()
    asked = unheard._asked
    unheard.close()
    assert asked is not None
    assert asked.fileno() == -1


def test_a_mount_on_the_hosts_file_takes_its_place(
    driver: DockerDriver, spec: SandboxSpec, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_text("127.0.0.1 mine\n")
    mounted = replace(spec, mounts=(Mount(own, "/etc/hosts", "9f"),))
    output, _ = run(driver.create(mounted), shell("cat /etc/hosts"))
    assert output == b"127.0.0.1 mine\n"


def test_a_stopped_step_may_clean_up_within_its_grace_and_one_that_does_not_end_is_killed(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    sandbox = driver.create(spec)
    sandbox.start(shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"))
    logs = sandbox.logs()
    assert next(logs).data.startswith(b"up")
    sandbox.stop(grace=5)
    assert b"bye" in b"".join(chunk.data for chunk in logs)
    assert sandbox.wait().code not in (0, None)
    sandbox.destroy()
    stubborn = driver.create(replace(spec, attempt=2, directory=spec.directory.with_name("2")))
    stubborn.start(shell("trap '' TERM; echo up; while :; do sleep 1; done"))
    next(stubborn.logs())
    began = time.monotonic()
    stubborn.stop(grace=0.3)
    assert stubborn.wait().code == 137
    assert time.monotonic() - began < 5
    stubborn.destroy()


def test_a_flooding_step_that_nobody_reads_can_still_be_stopped(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    sandbox = driver.create(spec)
    sandbox.start(shell("yes"))
    next(sandbox.logs())
    time.sleep(0.5)
    began = time.monotonic()
    sandbox.stop(grace=0)
    assert sandbox.wait().code == 137
    sandbox.destroy()
    driver._removals.finish()
    assert time.monotonic() - began < 8


def test_a_flooding_step_that_is_destroyed_without_being_read_goes_at_once(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    sandbox = driver.create(spec)
    sandbox.start(shell("yes"))
    time.sleep(0.5)
    began = time.monotonic()
    sandbox.destroy()
    driver._removals.finish()
    assert time.monotonic() - began < 5


def test_an_images_volume_is_covered_by_a_bounded_tmpfs(driver: DockerDriver, spec: SandboxSpec) -> None:
    output, ended = run(driver.create(spec), shell("head -c 30000000 /dev/zero > /data/x; cat /proc/mounts"))
    assert ended.code == 0
    assert b"tmpfs /data tmpfs" in output


def test_output_on_disk_is_watched_and_the_step_stopped_at_its_limit(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    on_disk = replace(spec, limits=replace(LIMITS, output=257 * MIB, memory=512 * MIB))
    sandbox = driver.create(on_disk)
    assert not sandbox._folder.in_memory
    line = "while :; do dd if=/dev/zero of=/out/x bs=1M count=300 2>/dev/null; sleep 1; done"
    _, ended = run(sandbox, shell(line))
    assert ended.reason == "output-limit"


def test_reaping_takes_what_no_live_run_owns_and_nothing_of_another_state(
    driver: DockerDriver, spec: SandboxSpec
) -> None:
    stranger = DockerDriver(state=uuid.uuid4().hex)
    kept = driver.create(spec)
    lost = driver.create(replace(spec, run="gone", directory=spec.directory.with_name("2")))
    foreign = stranger.create(replace(spec, run="gone", directory=spec.directory.with_name("3")))
    assert driver.reap(frozenset({spec.run}).__contains__) == (container_name(driver._state, lost._spec),)
    assert len(engine().containers(f"runner.state={stranger._state}")) == 1
    for sandbox in (kept, lost, foreign):
        sandbox.destroy()
    stranger.close()


def test_what_a_crash_left_under_the_name_makes_way(driver: DockerDriver, spec: SandboxSpec) -> None:
    left = driver.create(spec)
    made = driver.create(replace(spec, directory=spec.directory.with_name("2")))
    _, ended = run(made, shell("true"))
    assert ended.code == 0
    left.destroy()


def test_a_sandbox_dies_when_the_runner_is_killed(image: Image, tmp_path: Path) -> None:
    state = uuid.uuid4().hex
    program = (
        "import sys, time; from pathlib import Path; from runner.sandbox.base import *;"
        "from runner.sandbox.docker.driver import DockerDriver;"
        f"d = DockerDriver(state={state!r});"
        f"l = Limits(64 << 20, 1, 32, 256, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20);"
        f"s = d.create(SandboxSpec('r', 's', 1, Image('i', '', reference={image.reference!r}), (), l,"
        f" Path({str(tmp_path)!r}) / 'a'));"
        "s.start(Message(('/bin/sleep', '600'), {}, (), {}, 700, 1)); print('up', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    until = time.monotonic() + 10
    while engine().containers(f"runner.state={state}")[0]["State"] == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    reaper = DockerDriver(state=state)
    assert len(reaper.reap(frozenset().__contains__)) == 1
    reaper.close()
    unmount(tmp_path / "a" / "out")


def test_a_missing_image_and_a_missing_runtime_are_named(driver: DockerDriver, spec: SandboxSpec) -> None:
    with pytest.raises(ImageMissing, match="no-such-image"):
        driver.create(replace(spec, image=Image("x", "", reference="no-such-image:1")))
    with pytest.raises(EngineUnavailable, match="no-such-runtime"):
        DockerDriver(state="0", runtime="no-such-runtime").check()


def test_nothing_of_the_message_is_seen_by_the_engine(driver: DockerDriver, spec: SandboxSpec) -> None:
    sandbox = driver.create(spec)
    sandbox.start(shell("echo canary-8dd1; sleep 1"))
    seen = engine().ask("GET", f"/containers/{sandbox._running.container}/json").body
    assert "canary-8dd1" not in str(seen)
    assert sandbox.wait().code == 0
    sandbox.destroy()
