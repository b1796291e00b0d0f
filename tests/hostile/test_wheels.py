"""Wheels that want more than to be installed, from an index that keeps the lock file's hashes."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest
from package_index import Index, serving, wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Command, Done

MARK = "hostile-wheel-was-here"
LOOK = "cd /opt/requirements; find . -type f | sort; find . ! -type f ! -type d"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serving(tmp_path) as index:
        yield index


@pytest.fixture
def ready(runner: Command, index: Index, own_cache: Path) -> Command:
    del own_cache
    policy = runner.home.parent / "config" / "runner" / "policy.yaml"
    policy.parent.mkdir(parents=True)
    policy.write_text(index.policy)
    return runner


def installed(runner: Command, line: str, engine: str, run: str = LOOK) -> Done:
    (runner.project / "lock.txt").write_text(line)
    step = f'{{sandbox: python, requirements: lock.txt, run: "{run}"}}'
    return runner.run(f"name: hostile\nsteps:\n  a: {step}\n", engine)


def inside(runner: Command, done: Done) -> list[str]:
    return runner("logs", done.report["run"], "a").out.splitlines()


@pytest.mark.parametrize(
    "path",
    [
        f"../{MARK}.py",
        f"../../../../../../../../tmp/{MARK}.py",
        f"/tmp/{MARK}.py",
        f"a/../../{MARK}.py",
        f"..\\..\\{MARK}.py",
        f"hostile-1.0.data/scripts/../../../../{MARK}",
        f"hostile-1.0.data/data/../../{MARK}",
        f"hostile-1.0.data/headers/../../../{MARK}.h",
    ],
)
def test_a_wheel_whose_names_leave_it_writes_nothing_beside_it(
    ready: Command, index: Index, path: str, own_cache: Path
) -> None:
    line = index.add("hostile", wheel("hostile", {"hostile.py": b"", path: b"out"}))
    done = installed(ready, line, "bubblewrap")
    for folder in (own_cache / "packages", ready.home, ready.project):
        found = [each for each in folder.rglob(f"*{MARK}*") if each.parent.name == folder.name]
        assert not found
    if done.code == 0:
        assert all(line.startswith("./") for line in inside(ready, done))
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["link", "hostile.py", "bin"])
def test_a_link_in_a_wheel_is_a_file_or_nothing(ready: Command, index: Index, engine: str, name: str) -> None:
    line = index.add("hostile", wheel("hostile", {"ok.py": b"", f"{name}@": b"/etc/passwd"}))
    done = installed(ready, line, engine, f"{LOOK}; cat {name}; readlink {name} || true")
    if done.code == 0:
        told = inside(ready, done)
        assert "root:" not in "".join(told)
        assert told[-1].endswith("/etc/passwd"), "the link's target is its content"
    else:
        assert done.code in (2, 4)


def test_a_wheel_that_unpacks_to_more_than_it_may_is_stopped(
    ready: Command, index: Index, engine: str, own_cache: Path
) -> None:
    line = index.add("hostile", wheel("hostile", {"data.bin": bytes(400 << 20)}))
    done = installed(ready, line, engine)
    assert done.code == 3, done.err
    assert "the operator may raise max_bytes" in done.err
    assert list((own_cache / "packages").iterdir()) == []


def test_a_wheel_with_more_files_than_can_be_is_stopped(ready: Command, index: Index) -> None:
    line = index.add("hostile", wheel("hostile", {f"m/{number}.txt": b"" for number in range(70_000)}))
    done = installed(ready, line, "bubblewrap")
    assert done.code in (3, 4), done.err
    assert "Traceback" not in done.err


def test_nothing_of_a_package_runs_while_it_is_installed(ready: Command, index: Index) -> None:
    shout = f"import sys; print('{MARK}'); sys.stderr.write('{MARK}')\n".encode()
    files = dict.fromkeys(("sitecustomize.py", "usercustomize.py", "hostile.pth", "py_compile.py"), shout)
    files |= {
        "encodings/__init__.py": shout,
        "hostile-1.0.data/scripts/tar": b"#!/bin/sh\necho " + MARK.encode(),
    }
    done = installed(ready, index.add("hostile", wheel("hostile", files)), "bubblewrap", "true")
    assert done.code == 0, done.err
    (installation,) = [row["run"] for row in ready.listed() if row["workflow"] == "hostile:requirements"]
    assert MARK not in ready("logs", installation, "install").out


def test_a_wheel_that_is_cut_or_no_zip_is_refused(ready: Command, index: Index) -> None:
    whole = wheel("hostile", {"hostile.py": b"x" * 5000})
    for data in (whole[:-30], b"no zip"):
        done = installed(ready, index.add("hostile", data), "bubblewrap")
        assert done.code in (2, 4), done.err
        assert "Python packages cannot be installed" in done.err


def test_two_entries_of_one_name_leave_one_file_or_none(ready: Command, index: Index) -> None:
    whole = io.BytesIO(wheel("hostile", {"hostile.py": b"first"}))
    with zipfile.ZipFile(whole, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("hostile.py", b"second")
    done = installed(ready, index.add("hostile", whole.getvalue()), "bubblewrap")
    assert done.code in (0, 2, 4), done.err
    if done.code == 0:
        assert inside(ready, done).count("./hostile.py") == 1


def test_words_of_a_hostile_index_cannot_steer_the_terminal(ready: Command, index: Index) -> None:
    steering = "\x1b]0;owned\x07\x1b[2J"
    line = index.add("hostile", wheel("hostile", {"hostile.py": b""}, needs=(f"bad{steering}",)))
    done = installed(ready, line, "bubblewrap")
    assert done.code in (2, 4)
    assert "\x1b" not in done.err
