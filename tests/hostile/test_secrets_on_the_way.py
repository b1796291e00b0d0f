"""Secrets as files, variables and headers while their step is on the network: where one could be left lying."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile_town import Town, town

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Command

VALUES = {name: f"geheim-{name}-{secrets.token_hex(12)}" for name in ("header", "file", "variable")}
LARGEST = 8 << 20
STEP = """
import http.client, os, subprocess, sys, time, urllib.error, urllib.request
url = sys.argv[1]
def ask(path, **more):
    try:
        return urllib.request.urlopen(urllib.request.Request(url + path, **more)).read().decode()
    except (OSError, http.client.HTTPException) as error:
        return str(error) + (error.read().decode() if hasattr(error, "read") else "")
print("bundle holds a key:", "PRIVATE" in open("/run/secrets/ca-certificates.crt").read())
print("in the sandbox:", sorted(os.listdir("/run/secrets")), [name for name in os.environ if "KEY" in name])
print("asked:", ask("/v1/x"), ask("/v1/echo"), ask("/v1/header"), ask("/v2/x"), ask("/v1/x", method="DELETE"))
print("all that can be read:", subprocess.run(
    ["grep", "-rlsa", "geheim-header", "/run", "/tmp", "/work", "/etc", "/dev/shm", "/.runner", "/proc/self/environ",
     "/proc/1/cmdline", "/proc/1/environ"], capture_output=True, text=True).stdout.split())
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(runner: Command, tmp_path: Path) -> Iterator[tuple[Command, Town]]:
    with town(tmp_path / "town") as made:
        made.policy(runner)
        made.bind(runner, VALUES["header"])
        for name in ("file", "variable"):
            assert runner("secrets", "set", name, stdin=VALUES[name].encode()).code == 0
        (runner.project / "step.py").write_text(STEP)
        yield runner, made


def workflow(made: Town) -> str:
    reach = [made.reach("KEEPER")]
    step = {
        "sandbox": "python",
        "mounts": ["./step.py:/app/step.py"],
        "effects": "read",
        "egress": reach,
        "run": ["python3", "/app/step.py", f"https://localhost:{made.keeper.port}"],
        "secrets": {
            "KEY": {"secret": "key", "as": "header"},
            "FILE": "file",
            "VARIABLE": {"secret": "variable", "as": "env"},
        },
    }
    names = ["key", "file", "variable"]
    return json.dumps({"name": "way", "secrets": names, "staging": {"egress": reach}, "steps": {"a": step}})


def on_disk(runner: Command, since: float) -> Iterator[tuple[str, bytes]]:
    """Yield what Runner, or an engine for it, may have written since: sockets and devices aside."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folders = [
        runner.home,
        runner.home.parent / "config",
        cache / "runner",
        Path("/run/runner"),
        Path("/dev/shm"),
    ]
    folders += [Path("/var/lib/docker/containers"), Path("/run/docker"), Path("/run/containerd")]
    for folder in folders:
        for path in (Path(where) / name for where, _, names in os.walk(folder) for name in names):
            with contextlib.suppress(OSError):
                told = path.lstat()
                if path.is_file() and told.st_mtime >= since - 1 and told.st_size < LARGEST:
                    yield str(path), path.read_bytes()


def of_the_host() -> Iterator[tuple[str, bytes]]:
    """Yield arguments and variables of every process that is in no sandbox."""
    ours = Path("/proc/self/ns/pid").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns/pid").readlink() == ours and int(process.name) != os.getpid():
                for name in ("cmdline", "environ"):
                    yield f"{process}/{name}", (process / name).read_bytes()


def inspected() -> str:
    ids = subprocess.run(["timeout", "20", "docker", "ps", "-aq"], capture_output=True, text=True, check=True)
    argv = ["timeout", "20", "docker", "inspect", *ids.stdout.split()]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def holding(places: Iterator[tuple[str, bytes]], words: list[str]) -> list[tuple[str, str]]:
    return [(name, word) for name, data in places for word in words if word.encode() in data]


def test_no_secret_and_no_key_lies_anywhere_while_a_step_is_on_the_network(
    place: tuple[Command, Town], any_engine: str
) -> None:
    runner, made = place
    since, said = time.time(), b""
    child = runner.begin("run", runner.workflow(workflow(made)), "--engine", any_engine)
    assert child.stdout
    try:
        while b"ready" not in said:
            line = child.stdout.readline()
            assert line, said.decode()
            said += line
        words = [*VALUES.values(), "PRIVATE KEY"]
        assert holding(on_disk(runner, since), words) == []
        assert holding(of_the_host(), words) == []
        if any_engine != "bubblewrap":
            assert not [word for word in words if word in inspected()]
        opened = [path.readlink() for path in Path(f"/proc/{child.pid}/fd").iterdir()]
        assert not [path for path in opened if "memfd:egress" in str(path)], "a key that was left open"
    finally:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    text = (said + out + err).decode()
    assert "bundle holds a key: False" in text
    assert "'FILE', 'VARIABLE', 'ca-certificates.crt'" in text
    assert "all that can be read: []" in text
    assert made.keeper.heard
    for words in (
        ("show", "latest", "--json"),
        ("logs", "latest"),
        ("secrets", "list", "--json"),
        ("doctor",),
    ):
        text += "".join(runner(*words).out)
    assert [value for value in VALUES.values() if value in text] == []
    assert holding(on_disk(runner, since), [*VALUES.values(), "PRIVATE KEY"]) == []
