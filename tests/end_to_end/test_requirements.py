"""Python packages from a lock file: installed once from the operator's index, then there without a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from conftest import finished, need, until
from package_index import Index, serving, wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Command, Done

SCRIPTS = "[console_scripts]\ngreet = greet:hello\n"
GREET = {"greet.py": b"def hello():\n    print('hello')\n"}
STEP = "name: packed\nsteps:\n  a: {sandbox: python, requirements: lock.txt, run: %s}\n"
USE = STEP % "[python3, -c, import greet; greet.hello()]"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serving(tmp_path) as index:
        yield index


@pytest.fixture
def ready(runner: Command, index: Index, own_cache: Path) -> Command:
    """Return the command with the index in its policy and the package ``greet`` in its lock file."""
    del own_cache
    policy = runner.home.parent / "config" / "runner" / "policy.yaml"
    policy.parent.mkdir(parents=True)
    policy.write_text(index.policy)
    lock(runner, index.add("greet", wheel("greet", GREET, entry_points=SCRIPTS)))
    return runner


def lock(runner: Command, text: str) -> None:
    (runner.project / "lock.txt").write_text(text)


def log(runner: Command, done: Done) -> str:
    assert done.code == 0, done.err
    return runner("logs", done.report["run"], "a").out


def test_packages_and_their_commands_are_there_and_nothing_leads_out(
    ready: Command, index: Index, any_engine: str
) -> None:
    script = (
        "greet; python3 -c 'import greet; greet.hello()'; wc -l </proc/net/dev; env | grep -ci proxy || true"
    )
    script += "; touch /opt/requirements/x 2>/dev/null || echo read-only"
    done = ready.run(STEP % f'"{script}"', any_engine)
    assert log(ready, done).split() == ["hello", "hello", "3", "0", "read-only"]
    assert "installing 1 Python package(s) from https://127.0.0.1" in done.err
    assert index.asked


def test_the_second_run_asks_the_index_for_nothing(ready: Command, index: Index, engine: str) -> None:
    assert ready.run(USE, engine).code == 0
    index.asked.clear()
    done = ready.run(USE, engine)
    assert (log(ready, done), index.asked) == ("hello\n", [])
    assert "installing" not in done.err


def test_the_installation_stands_in_the_journal_with_its_connections(ready: Command) -> None:
    assert ready.run(USE, "bubblewrap").code == 0
    rows = {row["workflow"]: row for row in ready.listed()}
    assert set(rows) == {"packed", "packed:requirements"}
    told = ready("logs", rows["packed:requirements"]["run"], "install").out
    assert "greet==1.0" in told


def test_a_python_path_of_the_step_s_own_stands_before_the_packages(ready: Command) -> None:
    path = "import greet, sys; print(sys.path[1], sys.path[2])"
    text = STEP % f"[python3, -c, '{path}'], env: {{PYTHONPATH: /app}}"
    assert log(ready, ready.run(text, "bubblewrap")) == "/app /opt/requirements\n"


def test_a_changed_lock_file_makes_another_definition_and_is_noticed(ready: Command, index: Index) -> None:
    first = ready.run(USE, "bubblewrap")
    lock(
        ready, index.add("greet", wheel("greet", {"greet.py": GREET["greet.py"].replace(b"hello'", b"bye'")}))
    )
    second = ready.run(USE, "bubblewrap")
    assert first.report["definition"] != second.report["definition"]
    assert (log(ready, first), log(ready, second)) == ("hello\n", "bye\n")


def test_another_index_makes_another_definition(ready: Command, index: Index) -> None:
    (ready.project / "w.yaml").write_text(USE)
    first = ready("plan", "w.yaml", "--json").report["definition"]
    policy = ready.home.parent / "config" / "runner" / "policy.yaml"
    policy.write_text(index.policy.replace("/simple", "/other"))
    assert ready("plan", "w.yaml", "--json").report["definition"] != first


def failed(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done.err
    for each in words:
        assert each in done.err
    assert "Traceback" not in done.err


def test_another_file_than_the_lock_file_s_is_refused(ready: Command) -> None:
    lock(ready, "greet==1.0 --hash=sha256:" + "0" * 64)
    failed(ready.run(USE, "bubblewrap"), 2, "Hash mismatch for `greet==1.0`", "correct the lock file")
    assert [row["workflow"] for row in ready.listed()] == ["packed:requirements"]


def test_a_package_that_would_have_to_be_built_is_refused(ready: Command, index: Index) -> None:
    index.files["source-1.0.tar.gz"] = b"no wheel"
    lock(ready, "source==1.0 --hash=sha256:" + "0" * 64)
    failed(ready.run(USE, "bubblewrap"), 2, "source==1.0 has no usable wheels")


def test_a_package_that_the_lock_file_forgot_is_refused(ready: Command, index: Index) -> None:
    lock(ready, index.add("needy", wheel("needy", {"needy.py": b""}, needs=("greet",))))
    failed(ready.run(USE, "bubblewrap"), 2, "no trusted hash was provided for: `greet`")


def test_an_index_that_is_down_is_the_engine_s_trouble_and_leaves_nothing(
    ready: Command, index: Index, own_cache: Path
) -> None:
    index.down = True
    failed(ready.run(USE, "bubblewrap"), 4, "503 Service Unavailable")
    assert list((own_cache / "packages").iterdir()) == []
    index.down = False
    assert ready.run(USE, "bubblewrap").code == 0


def test_a_private_index_needs_the_operator_s_word(ready: Command, index: Index) -> None:
    policy = ready.home.parent / "config" / "runner" / "policy.yaml"
    policy.write_text(f"egress: {{ca: {index.trust}}}\n" + index.policy.splitlines()[1])
    failed(ready.run(USE, "bubblewrap"), 4, "is not a public address")
    assert index.asked == []


def test_a_host_that_the_index_sends_to_must_stand_in_the_policy(ready: Command, index: Index) -> None:
    index.elsewhere = "https://files.example.com"
    failed(ready.run(USE, "bubblewrap"), 4, "files.example.com")


def test_two_runs_at_once_share_what_one_of_them_installed(
    ready: Command, index: Index, own_cache: Path
) -> None:
    index.hold.clear()
    argv = ("run", ready.workflow(USE), "--engine", "bubblewrap", "--json")
    both = [ready.begin(*argv) for _ in range(2)]
    for child in both:
        until(child, "installing")
    wait_for(lambda: len(index.asked) >= 2)
    index.hold.set()
    for child in both:
        assert log(ready, finished(child)) == "hello\n"
    assert len(list((own_cache / "packages").iterdir())) == 1


def test_a_runner_killed_while_it_installs_leaves_nothing_that_counts(
    ready: Command, index: Index, engine: str, own_cache: Path
) -> None:
    index.hold.clear()
    child = ready.begin("run", ready.workflow(USE), "--engine", engine)
    until(child, "installing")
    wait_for(lambda: bool(index.asked))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    index.hold.set()
    (run,) = [row["run"] for row in ready.listed()]
    for command in ("resume", "retry"):
        refused = ready(command, run)
        failed(refused, 2, "nobody waits for them any more", "run the workflow again")
    assert log(ready, ready.run(USE, engine)) == "hello\n"
    assert ready("cancel", run, "--json").report["status"] == "cancelled"
    kept = [path for path in (own_cache / "packages").iterdir() if not path.name.startswith(".new-")]
    assert len(kept) == 1
    assert [row["status"] for row in ready.listed()] == ["succeeded", "succeeded", "cancelled"]


def test_an_installation_is_cancelled_like_a_run(ready: Command, index: Index) -> None:
    index.hold.clear()
    child = ready.begin("run", ready.workflow(USE), "--engine", "bubblewrap")
    until(child, "installing")
    wait_for(lambda: bool(index.asked))
    child.send_signal(signal.SIGINT)
    failed(finished(child), 130)


def test_packages_that_are_gone_are_installed_again_for_a_retry(
    ready: Command, own_cache: Path, index: Index
) -> None:
    done = ready.run(STEP % "[python3, -c, import greet; raise SystemExit(3)]", "bubblewrap")
    assert done.code == 1
    (kept,) = (own_cache / "packages").iterdir()
    long_ago = time.time() - 31 * 86400
    os.utime(kept, (long_ago, long_ago))
    assert f"removed packages {kept.name}" in ready("gc").out
    index.asked.clear()
    again = ready("retry", done.report["run"], "--json")
    assert (again.code, bool(index.asked)) == (1, True)


def test_packages_that_are_gone_are_installed_again_for_a_resume(
    ready: Command, index: Index, own_cache: Path, engine: str
) -> None:
    text = STEP % '"greet; sleep 3"'
    child = ready.begin("run", ready.workflow(text), "--engine", engine, "--json")
    until(child, "hello")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (kept,) = (own_cache / "packages").iterdir()
    shutil.rmtree(kept)
    index.asked.clear()
    run = next(row["run"] for row in ready.listed() if row["workflow"] == "packed")
    done = ready("resume", run, "--json")
    assert (done.code, bool(index.asked)) == (0, True), done.err


def test_without_uv_it_says_what_to_install(ready: Command) -> None:
    need("bubblewrap")
    path = ready.workflow(USE)
    code = "import sys; sys.modules['uv'] = None; from runner.cli.main import entry; sys.exit(entry())"
    argv = [ready.argv()[0], "-P", "-c", code, "run", path, "--engine", "bubblewrap"]
    done = subprocess.run(
        argv, cwd=ready.project, env=ready.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'runner[python]'" in done.stderr


def test_a_script_that_names_its_packages_becomes_a_workflow_with_them(ready: Command) -> None:
    need("bubblewrap")
    block = "# /// script\n# dependencies = ['greet']\n# ///\n"
    (ready.project / "use.py").write_text(f"{block}import greet\ngreet.hello()\n")
    argv = ("init", "--engine", "bubblewrap")
    without = ready(*argv, "-o", "without.yaml", "use.py")
    assert without.code == 1
    assert "uv pip compile" in (ready.project / "without.yaml").read_text()
    done = ready(*argv, "--requirements", "lock.txt", "use.py")
    assert done.code == 0, done.err
    assert "requirements: lock.txt" in (ready.project / "use.yaml").read_text()
    again = ready("run", "use.yaml", "--engine", "bubblewrap")
    assert "hello" in again.out
    assert "installing" not in again.err


def wait_for(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
