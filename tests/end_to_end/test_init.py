"""From a script to a workflow: watched once on a real engine, written, validated, and run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from egress_world import Server, certificates, hello, server_context

from runner.workflow.load import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Command, Done

    from runner.workflow.model import Step

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


def put(runner: Command, name: str, text: str) -> Path:
    path = runner.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def init(runner: Command, engine: str, *words: str) -> Done:
    return runner("init", "--engine", engine, *words)


def step_of(runner: Command, name: str) -> Step:
    (step,) = load(runner.project / name).model.steps.values()
    return step


def mounted(runner: Command, name: str) -> list[str]:
    return [mount.source for mount in step_of(runner, name).mounts or ()]


def run(runner: Command, name: str, engine: str) -> Done:
    return runner("run", name, "--engine", engine, "--json")


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
    assert "next: give the script what it lacked, then: runner init --force need.py" in done.out
    text = (runner.project / "need.yaml").read_text()
    assert "# IT FAILED WHILE WATCHED: exit status 1." in text
    assert "uv pip compile --generate-hashes" in text
    assert runner("validate", "need.yaml").code == 0


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


def test_arguments_are_the_scripts_own_and_stay_words(runner: Command) -> None:
    put(runner, "say.sh", 'for each; do echo "<$each>"; done > /out/said\n')
    words = ["--force", "two words", "$(id)", "it's", "-o"]
    assert init(runner, "bubblewrap", "say.sh", *words).code == 0
    assert run(runner, "say.yaml", "bubblewrap").code == 0
    assert runner("outputs", "latest", "-o", "results").code == 0
    said = (runner.project / "results" / "say" / "said").read_text()
    assert said.splitlines() == [f"<{word}>" for word in words]


def test_nothing_is_written_over_without_force(runner: Command) -> None:
    put(runner, "a.sh", "true\n")
    mine = put(runner, "a.yaml", "mine")
    done = init(runner, "bubblewrap", "a.sh")
    assert (done.code, mine.read_text()) == (2, "mine")
    assert "--force" in done.err
    assert init(runner, "bubblewrap", "-o", "b.yaml", "a.sh").code == 0
    assert init(runner, "bubblewrap", "--force", "a.sh").code == 0
    assert "name: a\n" in mine.read_text()
    assert sorted(each.name for each in runner.project.iterdir()) == [
        "a.sh",
        "a.yaml",
        "b.yaml",
        "runner.yaml",
    ]


def test_a_workflow_may_stand_elsewhere_in_the_project_and_not_outside(runner: Command) -> None:
    put(runner, "scripts/deep/a.py", "open('b.txt').read()\n")
    put(runner, "scripts/deep/b.txt", "b")
    (runner.project / "flows").mkdir()
    assert init(runner, "bubblewrap", "-o", "flows/a.yaml", "scripts/deep/a.py").code == 0
    assert mounted(runner, "flows/a.yaml") == ["../scripts/deep/a.py", "../scripts/deep/b.txt"]
    assert run(runner, "flows/a.yaml", "bubblewrap").code == 0
    (runner.home.parent / "other").mkdir()
    done = init(runner, "bubblewrap", "-o", "../other/a.yaml", "scripts/deep/a.py")
    assert done.code == 2
    assert "outside the script's project" in done.err


@pytest.mark.parametrize(
    "words", ["", "no.py", ".", "a.js", "a.py --x ${{y}}", "--egress * a.py", "--egress http://a/b a.py",
              "--timeout 5 a.py", "--sandbox nope a.py", "-o no/folder/a.yaml a.py", "-o a.py --force a.py"],
)  # fmt: skip
def test_wrong_words_are_two_and_nothing_is_written(runner: Command, words: str) -> None:
    put(runner, "a.py", "")
    put(runner, "a.js", "")
    done = init(runner, "bubblewrap", *words.split())
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert not list(runner.project.rglob("a.yaml"))


def test_an_engine_that_is_away_is_four_and_nothing_is_written(
    runner: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runner, "a.py", "")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert init(runner, "docker", "a.py").code == 4
    assert not (runner.project / "a.yaml").exists()
    assert not list(runner.home.glob("snapshots/.watched-*"))


def test_the_evidence_stands_beside_each_line(runner: Command) -> None:
    put(runner, "a.py", "print('x')\n")
    assert init(runner, "bubblewrap", "a.py").code == 0
    told = [line for line in (runner.project / "a.yaml").read_text().splitlines() if "  # " in line]
    keys = [re.split(r"[:#]", line.strip(" -"))[0] for line in told]
    assert keys == ["sandbox", '"./a.py', "run", "effects", "timeout", "memory", "pids"]
