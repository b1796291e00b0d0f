from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

from conftest import CHECKOUT, Command

CHAIN = """
name: chain
inputs: {who: {type: string, default: world}}
steps:
  greet:
    run: echo "hello $WHO" > /out/greeting.txt; echo "word=hello" >> "$RUNNER_OUTPUT"
    env: {WHO: "${{ inputs.who }}"}
    out: [greeting.txt]
  check:
    run: grep -q "hello $EXPECTED" /in/greeting.txt && test "$WORD" = hello
    env: {EXPECTED: "${{ inputs.who }}", WORD: "${{ steps.greet.outputs.word }}"}
    in: {greeting.txt: greet/greeting.txt}
"""


def containers(home: Path) -> list[str]:
    state = (home / "id").read_text().strip()
    argv = ["timeout", "20", "docker", "ps", "-aq", "--filter", f"label=runner.state={state}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def test_files_and_values_go_from_step_to_step(runner: Command, any_engine: str) -> None:
    done = runner.run(CHAIN, any_engine)
    assert done.code == 0, done.err
    assert done.report["status"] == "succeeded"
    assert [step["status"] for step in done.report["steps"].values()] == ["succeeded", "succeeded"]
    exported = runner("outputs", "latest", "-o", str(runner.project / "results"))
    assert exported.code == 0, exported.err
    assert (runner.project / "results" / "greet" / "greeting.txt").read_text() == "hello world\n"


def test_an_input_is_data_and_never_shell_text(runner: Command, any_engine: str) -> None:
    evil = "$(touch /out/pwned); `id` '\"; exit 9; #"
    done = runner.run(CHAIN.replace("grep -q", "grep -qF"), any_engine, "--input", f"who={evil}")
    assert done.code == 0, done.err


def test_json_is_one_value_on_one_line_with_the_keys_of_the_contract(
    runner: Command, any_engine: str
) -> None:
    done = runner.run(CHAIN, any_engine)
    assert done.out.count("\n") == 1
    keys = [
        "run",
        "workflow",
        "mode",
        "engine",
        "definition",
        "plan",
        "status",
        "warnings",
        "unenforced",
        "steps",
        "rollback",
    ]
    assert list(json.loads(done.out)) == keys
    assert done.report["engine"] == any_engine
    assert set(done.report["steps"]["greet"]) == {
        "status",
        "attempts",
        "exit_code",
        "reason",
        "started",
        "ended",
    }


def test_a_failed_step_says_why_and_what_to_type_next(runner: Command, engine: str) -> None:
    text = "name: bad\nsteps:\n  one: {run: 'echo no luck; exit 7'}\n  two: {run: 'true', needs: [one]}\n"
    done = runner("run", runner.workflow(text), "--engine", engine)
    assert done.code == 1
    assert "status 7" in done.out
    assert "  | no luck" in done.out
    assert "next: runner logs" in done.out
    shown = runner("show", "latest", "--json").report
    assert shown["steps"]["one"]["exit_code"] == 7
    assert shown["steps"]["two"]["reason"] == "dependency"


def test_a_step_over_its_time_is_stopped_and_tried_again(runner: Command, engine: str) -> None:
    text = (
        "name: slow\nsteps:\n  nap: {run: [sleep, '30'], timeout: 1s, grace: 1s, "
        "retry: {max_attempts: 2, backoff: 100ms, on: [timeout]}}\n"
    )
    done = runner.run(text, engine)
    assert done.code == 1
    step = done.report["steps"]["nap"]
    assert (step["reason"], step["attempts"]) == ("timeout", 2)


def test_secrets_reach_the_step_and_no_one_else(runner: Command, engine: str) -> None:
    value = "s3cr3t-0f-th3-op3rat0r"
    assert runner("secrets", "set", "token", stdin=value.encode()).code == 0
    text = (
        "name: secretive\nsecrets: [token]\nsteps:\n  use:\n    secrets: {TOKEN: token}\n"
        "    run: |\n      stat -c %a /run/secrets/TOKEN\n      env | grep -c s3cr3t || true\n"
        "      cat /run/secrets/TOKEN; base64 < /run/secrets/TOKEN\n"
    )
    done = runner.run(text, engine)
    assert done.code == 0, done.err
    assert "use | 400" in done.err
    assert "use | 0" in done.err
    assert "***" in done.err
    assert value not in done.err + done.out
    assert "czNjcjN0" not in done.err
    for path in runner.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert value.encode() not in path.read_bytes(), path


def test_a_secret_that_is_not_bound_is_refused(runner: Command) -> None:
    text = "name: thief\nsecrets: [token]\nsteps:\n  use: {run: 'true', secrets: {TOKEN: token}}\n"
    done = runner.run(text, "bubblewrap")
    assert done.code == 3
    assert "runner secrets bind token" in done.err


def test_what_is_not_built_is_refused_and_not_ignored(runner: Command) -> None:
    text = "name: later\nsteps:\n  call: {run: 'true', probe: {run: 'true'}}\n"
    done = runner.run(text, "bubblewrap")
    assert done.code == 2
    assert "not yet" in done.err
    assert runner("validate", runner.workflow(text)).code == 0


def test_finally_runs_after_a_failure(runner: Command, engine: str) -> None:
    text = "name: tidy\nsteps:\n  bad: {run: 'exit 1'}\nfinally:\n  last: {run: echo cleaned}\n"
    done = runner.run(text, engine)
    assert done.code == 1
    assert "last | cleaned" in done.err


def test_a_matrix_runs_every_leg(runner: Command, engine: str) -> None:
    text = (
        "name: legs\nsteps:\n  leg:\n    strategy: {matrix: {size: [1, 2], color: [red]}}\n"
        '    run: echo "$SIZE-$COLOR"\n    env: {SIZE: "${{ matrix.size }}", COLOR: "${{ matrix.color }}"}\n'
    )
    done = runner.run(text, engine)
    assert done.code == 0, done.err
    assert len(done.report["steps"]) == 2
    assert all(name.startswith("leg[") for name in done.report["steps"])


def test_a_write_is_shadowed_in_staging_and_the_run_is_rehearsed(runner: Command) -> None:
    text = (
        "name: shadow\nsteps:\n  load: {run: echo wrote > /out/r, effects: write, out: [r], "
        "staging: {out: {r: fixture}}}\n  use: {run: grep fake /in/r, in: {r: load/r}}\n"
    )
    (runner.project / "fixture").write_text("fake\n")
    done = runner.run(text, "bubblewrap")
    assert done.code == 0, done.err
    assert done.report["status"] == "rehearsed"
    assert done.report["steps"]["load"]["status"] == "shadowed"


def test_ctrl_c_ends_everything_with_130(runner: Command, engine: str) -> None:
    path = runner.workflow("name: long\nsteps:\n  nap: {run: [sleep, '60']}\n")
    child = subprocess.Popen(
        runner.argv("run", path, "--engine", engine, "--json"),
        env=runner.environment(),
        cwd=runner.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stderr
    while b"nap" not in child.stderr.readline():
        pass
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 130
    assert json.loads(out)["status"] == "cancelled"
    if engine == "docker":
        assert containers(runner.home) == []


def test_a_killed_runner_leaves_nothing_running_and_gc_removes_the_rest(runner: Command, engine: str) -> None:
    path = runner.workflow("name: long\nsteps:\n  nap: {run: [sleep, '4242']}\n")
    child = subprocess.Popen(
        runner.argv("run", path, "--engine", engine),
        env=runner.environment(),
        cwd=runner.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout
    while b"nap" not in child.stdout.readline():
        pass
    time.sleep(1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and b"sleep\x004242" in every_command_line():
        time.sleep(0.2)
    assert b"sleep\x004242" not in every_command_line()
    assert runner("gc").code == 0
    assert "interrupted" in runner("ps").out
    if engine == "docker":
        assert containers(runner.home) == []


def every_command_line() -> bytes:
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


def test_twelve_runs_share_a_state_folder(runner: Command) -> None:
    path = runner.workflow(CHAIN)
    argv = runner.argv("run", path, "--engine", "bubblewrap", "--json")
    children = [
        subprocess.Popen(
            argv, env=runner.environment(), cwd=runner.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(12)
    ]
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        assert json.loads(out)["status"] == "succeeded"
    assert len(json.loads(runner("ps", "--json").out)) == 12
    with sqlite3.connect(runner.home / "journal.db") as journal:
        assert journal.execute("pragma integrity_check").fetchone() == ("ok",)


def test_exec_runs_one_command_with_its_files(runner: Command, engine: str) -> None:
    (runner.project / "words.txt").write_text("b\na\n")
    done = runner(
        "exec", "--engine", engine, "--json", "--in", "words.txt", "--out", "sorted.txt", "--",
        "sh", "-c", "sort /in/words.txt > /out/sorted.txt",
    )  # fmt: skip
    assert done.code == 0, done.err
    runner("outputs", "latest", "-o", "results")
    assert (runner.project / "results" / "command" / "sorted.txt").read_text() == "a\nb\n"


def test_an_engine_that_does_not_answer_is_one_clear_error(runner: Command) -> None:
    environment = {**runner.environment(), "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    argv = runner.argv("run", runner.workflow(CHAIN), "--engine", "docker")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "make engine" in done.stderr or "start" in done.stderr


def test_a_full_disk_is_said_in_words_and_tears_nothing(runner: Command) -> None:
    if os.geteuid() != 0:
        return
    runner.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", runner.home], check=True)
    try:
        text = "name: big\nsteps:\n  fill: {run: head -c 3000000 /dev/zero > /out/zero, out: [zero]}\n"
        done = runner.run(text, "bubblewrap")
        assert done.code == 4, done.err
        assert "Traceback" not in done.err
        assert "space" in done.err.lower() or "full" in done.err.lower()
        with sqlite3.connect(runner.home / "journal.db") as journal:
            assert journal.execute("pragma integrity_check").fetchone() == ("ok",)
    finally:
        subprocess.run(["umount", "-l", runner.home], check=True)


def test_the_examples_run(runner: Command, engine: str) -> None:
    for name in ("report", "backup", "untrusted"):
        path = CHECKOUT / "workflows" / name / "workflow.yaml"
        done = runner("run", str(path), "--engine", engine, "--json", seconds=280)
        assert done.code == 0, done.err
        assert done.report["status"] == "succeeded"
