"""A way out whose runner is killed, stopped, out of room, or one of twenty: nothing leaks and nothing is left."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Command, finished, until
from hostile_town import SECRET, Town, town

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BESIDE = Path(__file__).with_name("tries_beside.py")
ESTABLISHED = "01"


@pytest.fixture
def place(runner: Command, tmp_path: Path) -> Iterator[tuple[Command, Town]]:
    with town(tmp_path / "town") as made:
        made.policy(runner)
        (runner.project / "tries_beside.py").write_bytes(BESIDE.read_bytes())
        yield runner, made


def workflow(made: Town, role: str, times: int = 40, **step: Any) -> str:
    reach = [made.reach("API"), made.reach("KEEPER")]
    url = f"https://localhost:{made.api.port}"
    steps = {
        "a": {
            "sandbox": "python",
            "mounts": ["./tries_beside.py:/app/tries_beside.py"],
            "effects": "read",
            "env": {"TIMES": str(times)},
            "egress": reach,
            "run": ["python3", "/app/tries_beside.py", role, url],
            **step,
        }
    }
    return json.dumps({"name": "ends", "secrets": ["key"], "staging": {"egress": reach}, "steps": steps})


def soon(happened: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def open_connections(port: int) -> int:
    """Count the host's own connections to a port of its loopback."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(each.split()[2].endswith(f":{port:04X}") and each.split()[3] == ESTABLISHED for each in lines)


def processes(mark: str) -> list[str]:
    """Return the processes of a step, wherever they live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"/app/tries_beside.py\0once\0{mark}" in path.read_bytes().decode(errors="replace"):
                found.append(str(path))
    return found


def test_a_runner_killed_in_a_transfer_leaves_nothing_and_resumes(
    place: tuple[Command, Town], any_engine: str
) -> None:
    runner, made = place
    child = runner.begin("run", runner.workflow(workflow(made, "once")), "--engine", any_engine)
    assert soon(lambda: open_connections(made.api.port) == 1, 60)
    mark = f"https://localhost:{made.api.port}"
    assert processes(mark) or any_engine == "gvisor"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=20)
    assert soon(lambda: not open_connections(made.api.port))
    assert soon(lambda: not processes(mark), 20)
    resumed = runner("resume", "latest")
    assert resumed.code == 0, resumed.err
    assert 'a | {"got": "hello"}' in resumed.err + resumed.out
    assert runner("gc").code == 0
    assert list(runner.home.glob("runs/*/attempts.*")) == []
    assert [path for path in runner.home.rglob("*") if path.is_socket()] == []
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if str(runner.home) in line]


def test_twenty_runs_at_once_each_have_their_own_way_and_header(place: tuple[Command, Town]) -> None:
    runner, made = place
    made.bind(runner)
    url = f"https://localhost:{made.keeper.port}/v1/"
    code = f"import os, urllib.request as it; print(it.urlopen('{url}' + os.environ['RUNNER_RUN']).read())"
    header = {"KEY": {"secret": "key", "as": "header"}}
    path = runner.workflow(workflow(made, "", run=["python3", "-c", code], secrets=header))
    children = [runner.begin("run", path, "--engine", "bubblewrap", "--json") for _ in range(20)]
    done = [finished(child, 200) for child in children]
    assert [each.code for each in done] == [0] * 20, [each.err for each in done if each.code]
    runs = {each.report["run"] for each in done}
    assert len(runs) == 20
    assert {each.split(b" ", 2)[1].decode().removeprefix("/v1/") for each in made.keeper.heard} == runs
    assert all(f"Bearer {SECRET}".encode() in each for each in made.keeper.heard)
    for run in runs:
        (each,) = runner("show", run, "--json").report["connections"]
        assert (each["host"], each["denied"], each["count"]) == ("localhost", "", 1)
    assert SECRET not in "".join(each.out + each.err for each in done)


def test_a_runner_that_is_stopped_lets_nothing_through(place: tuple[Command, Town], any_engine: str) -> None:
    runner, made = place
    child = runner.begin("run", runner.workflow(workflow(made, "asker")), "--engine", any_engine)
    assert soon(lambda: made.api.connections > 2, 60)
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before = made.api.connections
    time.sleep(1)
    assert made.api.connections == before
    child.send_signal(signal.SIGCONT)
    done = finished(child)
    assert done.code == 0, done.err
    assert '{"asked": 40, "other": []}' in done.out + done.err
    assert made.api.connections == 40


@pytest.fixture
def small_home(runner: Command, tmp_path: Path) -> Iterator[Command]:
    """A state folder with room for little."""
    home = tmp_path / "small"
    home.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(home)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        yield replace(runner, home=home)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_step_whose_connections_cannot_be_recorded_ends_and_says_why(
    small_home: Command, tmp_path: Path, engine: str
) -> None:
    runner = small_home
    with town(tmp_path / "town") as made:
        made.policy(runner)
        (runner.project / "tries_beside.py").write_bytes(BESIDE.read_bytes())
        path = runner.workflow(workflow(made, "asker", 100_000, timeout="60s"))
        child = runner.begin("run", path, "--engine", engine, "--json")
        until(child, "▶ a")
        assert soon(lambda: made.api.connections > 3, 60)
        with contextlib.suppress(OSError), (runner.home / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        began = time.monotonic()
        done = finished(child, 60)
        (runner.home / "full").unlink()
    assert time.monotonic() - began < 20
    assert done.code == 4, done.err
    assert "Traceback" not in done.err
    assert "full" in done.err
    assert "hello" not in done.err


def test_a_sandbox_that_waits_offers_nothing_and_its_socket_is_nobody_else_s(
    place: tuple[Command, Town], engine: str
) -> None:
    runner, made = place
    whole = json.loads(workflow(made, "asker"))
    first, second = whole["steps"]["a"], {**whole["steps"]["a"], "needs": ["a"]}
    listening = (
        "import time; t = open('/proc/net/tcp').read(); print('listens:', ':0C38' in t); time.sleep(3)"
    )
    first |= {"run": ["python3", "-c", listening]}
    first.pop("egress")
    whole["steps"]["b"] = second
    child = runner.begin("run", runner.workflow(json.dumps(whole)), "--engine", engine, "--json")
    sockets: list[str] = []
    try:
        until(child, "listens: False")
        assert soon(lambda: bool([path for path in runner.home.rglob("carrier") if path.is_socket()]))
        sockets = [str(path) for path in runner.home.rglob("carrier")]
        assert sockets
        assert runner.home.stat().st_mode & 0o077 == 0, "nobody else comes near them"
        assert made.api.connections == 0
    finally:
        done = finished(child)
    assert done.code == 0, done.err
    assert made.api.connections == 40
    assert not [path for path in map(Path, sockets) if path.exists()]
