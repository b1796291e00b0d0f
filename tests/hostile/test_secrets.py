"""Authors who want secrets that are not theirs, and every place where one could be left lying."""

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
from conftest import Command, finished, need, until

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE = f"geheim-{secrets.token_hex(12)}"
ASKS = """
name: {name}
secrets: [{secret}]
steps:
  a:
    run: {run}
    secrets: {{S: {secret}}}
"""
USES = "echo ready; wc -c < /run/secrets/S; sleep {seconds}"


def asks(name: str = "digest", wanted: str = "token", run: str = "cat /run/secrets/S") -> str:
    return ASKS.format(name=name, secret=json.dumps(wanted), run=json.dumps(run))


def set_token(runner: Command, *more: str) -> None:
    assert runner("secrets", "set", "token", *more, stdin=VALUE.encode()).code == 0


@pytest.mark.parametrize(
    "secret", ["env:HOME", "file:/etc/passwd", "store:token", "../token", "token#x", "lease:a"]
)
def test_a_workflow_cannot_name_a_source(runner: Command, secret: str) -> None:
    set_token(runner)
    done = runner.run(asks(wanted=secret), "bubblewrap")
    assert done.code == 2
    assert VALUE not in done.out + done.err


def test_a_workflow_cannot_name_a_source_in_a_step(runner: Command) -> None:
    done = runner.run("name: a\nsteps: {a: {run: 'true', secrets: {S: 'env:HOME'}}}\n", "bubblewrap")
    assert done.code == 2


def test_another_workflows_secret_is_refused_before_anything_runs(runner: Command) -> None:
    set_token(runner)
    assert runner("secrets", "bind", "token", "--from", "store:token", "--workflow", "good").code == 0
    done = runner.run(asks("bad"), "bubblewrap")
    assert done.code == 3
    assert "--workflow bad" in done.err
    assert json.loads(runner("ps", "--json").out) == []


def test_a_workflow_that_takes_anothers_name_is_stopped_by_its_definition(runner: Command) -> None:
    need("bubblewrap")
    set_token(runner)
    path = runner.workflow(asks("good", run="wc -c < /run/secrets/S"))
    definition = json.loads(runner("plan", path, "--json").out)["definition"]
    bound = runner("secrets", "bind", "token", "--from", "store:token", "--definition", definition)
    assert bound.code == 0
    assert runner("run", path, "--engine", "bubblewrap").code == 0
    done = runner.run(asks("good"), "bubblewrap")
    assert done.code == 3
    assert "other definitions" in done.err


@pytest.mark.parametrize("bound", [True, False])
def test_what_is_for_production_only_is_refused_in_staging(runner: Command, *, bound: bool) -> None:
    set_token(runner, "--mode", "production")
    if bound:
        assert runner("secrets", "bind", "token", "--from", "store:token", "--mode", "production").code == 0
    done = runner.run(asks(), "bubblewrap")
    assert done.code == 3
    assert "not bound for workflow digest in staging" in done.err


def test_a_project_cannot_bind(runner: Command) -> None:
    for folder in (runner.project, runner.project / ".config" / "runner", runner.project / "config"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bindings.json").write_text(
            json.dumps({"version": 2, "bindings": [{"name": "token", "source": "env:HOME"}]})
        )
    assert runner.run(asks(), "bubblewrap").code == 3


def test_a_secret_that_is_revoked_is_refused_to_running_and_new_runs(runner: Command, engine: str) -> None:
    set_token(runner)
    path = runner.workflow(asks(run=USES.format(seconds=50)))
    child = runner.begin("run", path, "--engine", engine, "--json")
    until(child, "ready")
    began = time.monotonic()
    done = runner("secrets", "revoke", "token", "--json")
    assert time.monotonic() - began < 5
    assert done.code == 0, done.err
    (use,) = done.report["used"]
    assert (done.report["workflows"], done.report["ended"]) == (["digest"], [f"{use['run']} a.1"])
    assert "store:token cannot say who issued it" in done.report["elsewhere"][0]["cure"]
    ended = finished(child)
    assert (ended.code, ended.report["steps"]["a"]["reason"]) == (3, "denied")
    again = runner("run", path, "--engine", engine, "--json")
    assert again.code == 3
    assert "secret token was revoked by" in again.err
    assert "runner secrets set token --mode staging" in again.err
    set_token(runner)
    assert runner.run(asks(run=USES.format(seconds=0)), engine).code == 0
    assert VALUE not in done.out + ended.out + ended.err + again.err


def test_all_that_is_revoked_is_allowed_again_one_by_one(runner: Command) -> None:
    need("bubblewrap")
    set_token(runner)
    assert runner("secrets", "set", "other", stdin=b"another-value").code == 0
    assert runner("secrets", "revoke", "--all").code == 0
    set_token(runner)
    assert runner.run(asks(run="true"), "bubblewrap").code == 0
    assert runner.run(asks(wanted="other", run="true"), "bubblewrap").code == 3
    for words in (["revoke"], ["revoke", "token", "--all"], ["revoke", "nobody-knows"]):
        assert runner("secrets", *words).code == 2


def test_a_workflow_that_lost_all_is_trusted_again_by_name_only(runner: Command) -> None:
    need("bubblewrap")
    set_token(runner)
    assert runner("secrets", "revoke", "--workflow", "digest").code == 0
    assert "revoked for digest" in runner("secrets", "list").out
    assert runner.run(asks("other", run="true"), "bubblewrap").code == 0
    set_token(runner)
    done = runner.run(asks(run="true"), "bubblewrap")
    assert done.code == 3
    assert "runner secrets bind token --from store:token --mode staging --workflow digest" in done.err
    assert runner("secrets", "bind", "token", "--from", "store:token", "--workflow", "digest").code == 0
    assert runner.run(asks(run="true"), "bubblewrap").code == 0


def test_a_rotation_tells_who_used_the_old_value_and_ends_a_revocation(runner: Command) -> None:
    need("bubblewrap")
    set_token(runner)
    assert runner.run(asks(run="true"), "bubblewrap").code == 0
    assert runner("secrets", "revoke", "token").code == 0
    done = runner("secrets", "rotate", "token", "--json", stdin=b"a-new-value")
    assert done.code == 0, done.err
    assert (done.report["version"], [use["workflow"] for use in done.report["used"]]) == (2, ["digest"])
    assert runner.run(asks(run="grep -q new /run/secrets/S"), "bubblewrap").code == 0
    assert "version 3" in runner("secrets", "rotate", "token", stdin=b"newer-value").out
    assert runner("secrets", "rotate", "nothing", stdin=b"x").code == 2


def test_what_is_overdue_is_shown(runner: Command) -> None:
    set_token(runner)
    bind = ("secrets", "bind", "token", "--from", "store:token", "--rotate-after")
    assert runner(*bind, "1h").code == 0
    assert not json.loads(runner("secrets", "list", "--json").out)[0]["overdue"]
    assert runner(*bind, "1ms").code == 0
    assert json.loads(runner("secrets", "list", "--json").out)[0]["overdue"]
    assert "runner secrets rotate token" in runner("doctor").out


def in_state_folder(runner: Command) -> Iterator[tuple[Path, bytes]]:
    for path in runner.home.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                yield path, path.read_bytes()


def in_proc() -> Iterator[tuple[str, bytes]]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    yield f"{process.name}/{name}", (process / name).read_bytes()


def inspected() -> str:
    ids = subprocess.run(["timeout", "20", "docker", "ps", "-aq"], capture_output=True, text=True, check=True)
    argv = ["timeout", "20", "docker", "inspect", *ids.stdout.split()]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def test_a_secret_lies_nowhere_while_a_step_holds_it_or_after_a_kill(runner: Command, engine: str) -> None:
    set_token(runner)
    child = runner.begin("run", runner.workflow(asks(run=USES.format(seconds=60))), "--engine", engine)
    until_ready = b""
    assert child.stdout
    while b"ready" not in until_ready:
        until_ready += child.stdout.readline()
    try:
        assert not [name for name, data in in_proc() if VALUE.encode() in data]
        assert not [str(path) for path, data in in_state_folder(runner) if VALUE.encode() in data]
        if engine == "docker":
            assert VALUE not in inspected()
        core = [line for line in Path(f"/proc/{child.pid}/limits").read_text().splitlines() if "core" in line]
        assert core[0].split()[4:6] == ["1", "1"]
    finally:
        child.send_signal(signal.SIGKILL)
        out, err = child.communicate(timeout=30)
    assert runner("gc").code == 0
    assert not [str(path) for path, data in in_state_folder(runner) if VALUE.encode() in data]
    assert VALUE not in (out + err).decode()


def test_a_step_cannot_leave_its_secret_in_a_core_a_log_a_result_or_an_error(
    runner: Command, engine: str
) -> None:
    set_token(runner)
    run = (
        "ulimit -c; cat /run/secrets/S; base64 /run/secrets/S >&2; cp /run/secrets/S /out/x; "
        'echo "v=$(cat /run/secrets/S)" >> $RUNNER_OUTPUT; kill -SEGV $$'
    )
    done = runner.run(asks(run=run).rstrip() + "\n    out: [x]\n", engine)
    assert done.code == 1
    assert done.report["steps"]["a"]["reason"] == "secret-leak"
    run_id = done.report["run"]
    assert runner("logs", run_id).out.startswith("0\n***")
    assert runner("outputs", run_id, "-o", str(runner.home.parent / "got"), "--partial").code == 2
    told = [done.out, done.err, *(runner(*act).out for act in (("logs", run_id), ("show", run_id, "--json")))]
    told += [runner("secrets", "list", "--json").out]
    assert not [text for text in told if VALUE in text]
    assert not [str(path) for path, data in in_state_folder(runner) if VALUE.encode() in data]
