"""Scripts that know they are watched: what they say and do becomes evidence, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.workflow.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command, Done

    from runner.workflow.model import Step

EVIL = "\\n- pwned\\n  steps: {x: {run: id}} # \\x1b[2J\\x1b]0;evil\\x07 \\u202e\\u2028 ${{ inputs.x }} 'q' \\\"d\\\""
NAMES = f"""
import os, pathlib
for number, place in enumerate(("/out", "/work")):
    for name in ("{EVIL}".replace("/", "_"), "a: b", "- x", "*", "$(touch pwned)", "a;id", "-rf", "plain%d" % number,
                 "\\udcff", "x" * 200, "#c", "..x", "&a", "!!t"):
        pathlib.Path(place, name).write_text("x")
os.makedirs("/work/sub/$(id)")
open("/work/sub/$(id)/x", "w").close()
with open(os.environ["RUNNER_OUTPUT"], "a") as file:
    file.write("left<<E\\n./{EVIL}\\n./../../etc/passwd\\n./ok\\n./a b\\nE\\n")
"""
WORDS = f"""
import sys
sys.stdout.write("{EVIL}" * 10)
sys.stderr.write("ModuleNotFoundError: No module named '{EVIL}'\\n")
sys.stderr.write("ModuleNotFoundError: No module named 'a.b'\\n")
sys.stderr.write("OSError: [Errno 30] Read-only file system: '{EVIL}'\\n")
sys.exit(3)
"""
ASKS = """
import os, socket
for host in ("a\\n- pwned", "a\\x1b[2J", "x y", '"', "${{ x }}", "*.example.com", "a#b", "ok.example", "[::1]", "0x7f.1",
             "a" * 300, "{x}", "\\u202e", "good.example:443 HTTP/1.1\\r\\nX: y"):
    with socket.create_connection(("127.0.0.1", 3128)) as peer:
        peer.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
        peer.recv(9999)
with socket.create_connection(("127.0.0.1", 3128)) as peer:
    peer.sendall(b"PWN'D\\x1b http://ok.example/ HTTP/1.1\\r\\nHost: ok.example\\r\\n\\r\\n")
    peer.recv(9999)
with socket.create_connection(("127.0.0.1", 3128)) as peer:
    peer.sendall(b"$(id) http://odd.example/ HTTP/1.1\\r\\nHost: odd.example\\r\\n\\r\\n".replace(b"(", b"").replace(b")", b""))
    peer.recv(9999)
"""
MANY_HOSTS = """
import socket
for number in range(700):
    with socket.create_connection(("127.0.0.1", 3128)) as peer:
        peer.sendall(b"CONNECT h%d.example:443 HTTP/1.1\\r\\n\\r\\n" % number)
        peer.recv(9999)
"""
MANY_FILES = "import pathlib\nfor n in range(3000):\n  pathlib.Path('/out/%d' % n).write_text('')\n"
MANY_FILES += "  pathlib.Path('%d' % n).write_text('')\n"
TEXT = """
import os, urllib.request
os.environ.get("TOKEN\\n- pwned"); os.environ.get("${{ x }}_TOKEN"); os.getenv("A\\x1bKEY"); os.environ["S_TOKEN"] = "x"
x = ["/tmp\\x1b[2J", "https://a\\n- pwned", "https://${{x}}.example", "https://*.example", "/etc/passwd\\n- pwned"]
"""


def watched(runner: Command, engine: str, text: str, name: str = "evil.py", *more: str) -> tuple[Done, Path]:
    (runner.project / name).write_text(text)
    done = runner("init", "--engine", engine, *more, name)
    assert "Traceback (most recent" not in done.err
    assert not {"\x1b", "\0", "\x07"} & set(done.out + done.err)
    return done, runner.project / name.replace(name[name.rindex(".") :], ".yaml")


def only_step(path: Path) -> Step:
    """Return the one step of a workflow in which nothing was smuggled."""
    raw = path.read_bytes()
    assert not any(each < 32 and each != 10 for each in raw)
    assert not {"\u2028", "\u202e", "\x85"} & set(raw.decode())
    model = load(path).model
    assert "pwned" not in str(model).replace("$(touch pwned)", "")
    (step,) = model.steps.values()
    return step


def test_names_of_files_are_words_and_never_yaml_or_commands(runner: Command, engine: str) -> None:
    done, path = watched(runner, engine, NAMES)
    assert done.code == 0, done.err
    step = only_step(path)
    assert isinstance(step.run, str)
    assert step.run.splitlines() == ["cp -Rs /app/. .", "python3 evil.py", "cp plain1 /out/"]
    assert "plain0" in step.out or step.out == ("**",)


def test_what_it_prints_is_evidence_and_never_yaml(runner: Command, engine: str) -> None:
    done, path = watched(runner, engine, WORDS)
    assert done.code == 1, done.err
    assert only_step(path).requirements is None


def test_hosts_that_are_none_do_not_reach_the_workflow(runner: Command, engine: str) -> None:
    done, path = watched(runner, engine, ASKS)
    assert done.code == 0, done.err
    hosts = {reach.host for reach in only_step(path).reaches}
    assert "https://ok.example" in hosts
    assert hosts <= {
        "https://ok.example",
        "http://odd.example",
        "https://[::1]",
        "https://127.0.0.1",
        "https://good.example",
    }


@pytest.mark.parametrize("text", [MANY_HOSTS, MANY_FILES], ids=["hosts", "files"])
def test_a_flood_of_evidence_makes_a_workflow_that_can_be_read(runner: Command, text: str) -> None:
    done, path = watched(runner, "bubblewrap", text)
    assert done.code == 0, done.err
    step = only_step(path)
    assert len(step.reaches) <= 100
    assert len(path.read_text().splitlines()) < 200


def test_a_text_that_lies_changes_no_line(runner: Command) -> None:
    done, path = watched(runner, "bubblewrap", TEXT)
    assert done.code == 0, done.err
    step = only_step(path)
    assert not step.secrets
    assert not step.reaches


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import os\nwhile True: os.fork()\n", "bomb.py"),
        ("yes\n", "flood.sh"),
        ("x = bytearray(4 << 30)\n", "eat.py"),
        ("kill -9 -1; kill -9 $PPID\n", "kill.sh"),
        ("while :; do : < /app/loop.sh; done\n", "loop.sh"),
        ("head -c 400000000 /dev/zero > /out/x\n", "fill.sh"),
    ],
)
def test_a_script_that_runs_wild_is_ended_and_written_down(
    runner: Command, engine: str, text: str, name: str
) -> None:
    done, path = watched(runner, engine, text, name, "--timeout", "4s")
    assert done.code == 1, done.out + done.err
    step = only_step(path)
    assert [mount.source for mount in step.mounts or ()] == [f"./{name}"]
    assert "# IT FAILED WHILE WATCHED" in path.read_text()


def test_a_folder_full_of_traps_shows_nothing_of_the_host(runner: Command, engine: str) -> None:
    secret = runner.home.parent / "secret"
    secret.write_text("hunter2")
    (runner.project / "link").symlink_to(secret)
    (runner.project / "up").symlink_to("../secret")
    (runner.project / ".env").write_text("hunter2")
    for name in ("a\n- pwned", "b: c", "e*", "${{ x }}"):
        (runner.project / name).write_text("x")
    text = "import glob, os\nfor each in sorted(glob.glob('*')) + ['.env']:\n  try: print(ascii(open(each).read()))\n"
    done, path = watched(runner, engine, text + "  except OSError: pass\n")
    assert done.code == 0, done.err
    assert "hunter2" not in done.out + path.read_text()
    assert [mount.source for mount in only_step(path).mounts or ()] == ["./evil.py"]


def test_a_script_reaches_nothing_while_it_is_watched(runner: Command, engine: str) -> None:
    text = (
        "import socket\n"
        "for family, place in ((socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET, ('172.17.0.1', 22)),"
        " (socket.AF_INET6, ('::2', 80))):\n"
        "  try:\n    socket.socket(family).connect(place)\n    print('REACHED')\n  except OSError as e: print(e)\n"
    )
    done, _ = watched(runner, engine, text)
    assert done.code == 0
    assert "REACHED" not in done.out
