"""From a script to a workflow: watched once on a real engine, written, validated, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from egress_world import Server, certificates, hello, server_context
from init_bench import init, mounted, put, run, step_of
from package_index import serving, wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Command


READER = """
import csv
from pathlib import Path
from beside import total
rows = list(csv.DictReader(open("data/rows.csv")))
Path("report.txt").write_text(f"total {total(rows)}\\n")
Path("made/deep").mkdir(parents=True)
Path("made/deep/x.txt").write_text("x")
Path("/out/table.csv").write_text("n\\n3\\n")
"""
CLIENT = """
import urllib.request
with urllib.request.urlopen("https://localhost:{port}/rates", timeout=20) as answer:
    open("/out/rates.txt", "wb").write(answer.read())
"""
EATER = """
import os, time
children = []
for _ in range(30):
    child = os.fork()
    if not child:
        held = bytearray(5 << 20)
        time.sleep(1.5)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.fixture
def authority(runner: Command) -> Path:
    """The world's own authority, which the operator trusts; and the server's certificate beside it."""
    trust, _ = certificates(runner.home.parent, "localhost")
    return trust


@pytest.fixture
def secure(authority: Path) -> Iterator[Server]:
    server = Server(hello, server_context(authority.with_name("server.pem")))
    yield server
    server.close()


@pytest.fixture
def plain() -> Iterator[Server]:
    server = Server(hello)
    yield server
    server.close()


def allow(runner: Command, server: Server, trust: Path | None = None) -> None:
    """Let workflows ask for the server, as its operator does."""
    config = runner.home.parent / "config" / "runner"
    config.mkdir(parents=True)
    authority = f", ca: {trust}" if trust else ""
    (config / "policy.yaml").write_text(f'egress: {{private: ["localhost:{server.port}"]{authority}}}\n')


def test_a_script_becomes_a_workflow_that_shows_it_what_it_read_and_keeps_what_it_made(
    runner: Command, any_engine: str
) -> None:
    put(runner, "report.py", READER)
    put(runner, "beside.py", "def total(rows): return sum(int(row['n']) for row in rows)\n")
    put(runner, "data/rows.csv", "n\n1\n2\n")
    put(runner, "data/other.csv", "n\n")
    put(runner, ".env", "SECRET=1")
    done = init(runner, any_engine, "report.py")
    assert done.code == 0, done.err
    assert done.out.endswith("wrote report.yaml: a valid workflow\nnext: runner run report.yaml\n")
    assert mounted(runner, "report.yaml") == ["./beside.py", "./data/rows.csv", "./report.py"]
    assert step_of(runner, "report.yaml").outside == "none"
    assert runner("validate", "report.yaml").out == "report.yaml: ok, 1 steps\n"
    ran = run(runner, "report.yaml", any_engine)
    assert ran.code == 0, ran.err
    assert ran.report["status"] == "succeeded"
    assert runner("outputs", "latest", "-o", "results").code == 0
    results = runner.project / "results" / "report"
    assert (results / "report.txt").read_text() == "total 3\n"
    assert sorted(each.relative_to(results).as_posix() for each in results.rglob("*.*")) == [
        "made/deep/x.txt",
        "report.txt",
        "table.csv",
    ]
    assert not list(runner.home.glob("snapshots/.watched-*"))


def test_a_host_that_was_let_through_is_reached_by_the_workflow_and_no_other_is(
    runner: Command, engine: str, secure: Server, authority: Path
) -> None:
    allow(runner, secure, authority)
    put(runner, "rates.py", CLIENT.format(port=secure.port))
    done = init(runner, engine, "--egress", f"https://localhost:{secure.port}", "rates.py")
    assert done.code == 0, done.err + done.out
    step = step_of(runner, "rates.yaml")
    assert [(each.host, each.private) for each in step.reaches] == [
        (f"https://localhost:{secure.port}", True)
    ]
    assert step.outside == "write", "what passes in a tunnel cannot be seen"
    ran = run(runner, "rates.yaml", engine)
    assert (ran.code, ran.report["status"]) == (0, "succeeded"), ran.err
    assert [each.split(b"\r\n")[0] for each in secure.heard] == [b"GET /rates HTTP/1.1"] * 2


def test_a_host_that_is_asked_for_is_written_down_though_nothing_is_reached(
    runner: Command, engine: str
) -> None:
    put(
        runner,
        "ask.py",
        "import urllib.request\n"
        "for url in ('https://api.example.com/x', 'http://plain.example.com:8080/y'):\n"
        "    try:\n        urllib.request.urlopen(url, timeout=9)\n"
        "    except OSError as error:\n        print(error)\n",
    )
    assert init(runner, engine, "ask.py").code == 0
    step = step_of(runner, "ask.yaml")
    assert [each.host for each in step.reaches] == [
        "https://api.example.com",
        "http://plain.example.com:8080",
    ]
    assert step.outside == "write"
    ran = run(runner, "ask.yaml", engine)
    assert (ran.code, ran.report["status"]) == (0, "rehearsed")


def test_requests_that_were_all_seen_to_read_are_a_step_that_reads(
    runner: Command, engine: str, plain: Server
) -> None:
    allow(runner, plain)
    put(
        runner,
        "get.sh",
        f"set -e\ncurl -fsS http://localhost:{plain.port}/a > a.txt\necho $TOKEN >/dev/null\n",
    )
    done = init(runner, engine, "--egress", f"http://localhost:{plain.port}", "get.sh")
    assert done.code == 0, done.err + done.out
    step = step_of(runner, "get.yaml")
    assert (step.sandbox, step.outside, step.out) == ("shell", "read", ("a.txt",))
    text = (runner.project / "get.yaml").read_text()
    assert "runner secrets bind token --from env:TOKEN" in text
    assert runner("secrets", "set", "token", stdin=b"a-token").code == 0
    assert runner("secrets", "bind", "token", "--from", "store:token").code == 0
    ran = run(runner, "get.yaml", engine)
    assert (ran.code, ran.report["status"]) == (0, "succeeded"), ran.err
    assert [each.split(b"\r\n")[0] for each in plain.heard] == [b"GET /a HTTP/1.1"] * 2


def test_a_script_that_lacks_a_module_leaves_a_workflow_that_says_which(runner: Command, engine: str) -> None:
    put(runner, "need.py", "import yaml, no_such_module_anywhere\n")
    done = init(runner, engine, "need.py")
    assert done.code == 1
    again = f"runner init --force --engine {engine} --requirements need.py.txt need.py"
    assert f"next: give the script what it lacked, then: {again}" in done.out
    text = (runner.project / "need.yaml").read_text()
    assert "# IT FAILED WHILE WATCHED: exit status 1." in text
    assert "# no_such_module_anywhere was not there" not in text, "the first one ends it"
    assert "# yaml was not there (line 1)" in text
    assert "echo no_such_module_anywhere pyyaml | tr" in text
    assert runner("validate", "need.yaml").code == 0


def test_a_script_is_watched_with_the_packages_of_its_lock_file(
    runner: Command, engine: str, own_cache: Path
) -> None:
    del own_cache
    with serving(runner.home.parent) as index:
        policy = runner.home.parent / "config" / "runner" / "policy.yaml"
        policy.parent.mkdir(parents=True)
        policy.write_text(index.policy)
        put(
            runner,
            "greet.py.txt",
            index.add("greet", wheel("greet", {"greet/__init__.py": b"WORD = 'hello'\n"})),
        )
        put(runner, "say.py", "import greet\nopen('said.txt', 'w').write(greet.WORD)\n")
        done = init(runner, engine, "--requirements", "greet.py.txt", "say.py")
        assert done.code == 0, done.err + done.out
        assert step_of(runner, "say.yaml").requirements == "greet.py.txt"
        ran = run(runner, "say.yaml", engine)
        assert (ran.code, ran.report["status"]) == (0, "succeeded"), ran.err


def test_what_a_script_uses_is_measured_and_doubled(runner: Command, engine: str) -> None:
    put(runner, "eat.py", EATER)
    assert init(runner, engine, "eat.py").code == 0
    resources = step_of(runner, "eat.yaml").resources
    assert resources.memory
    assert resources.pids
    assert 300 << 20 <= resources.memory <= 768 << 20
    assert 64 <= resources.pids <= 88
    assert run(runner, "eat.yaml", engine).code == 0


def test_a_script_that_goes_on_for_ever_is_ended_and_written_down(runner: Command, engine: str) -> None:
    put(runner, "wait.sh", "sleep 600\n")
    assert init(runner, engine, "--timeout", "2s", "wait.sh").code == 1
    assert "it still ran when its time was over" in (runner.project / "wait.yaml").read_text()
