"""Hostile words to and from the command: arguments, names, outputs and secrets."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command

VALUE = "hunter2secret"
PEM = b"-----BEGIN X-----\nabcdefghij\n-----END X-----\n"
NAMES = (
    "name: names\nsteps:\n  a:\n    out: ['*']\n    run: |\n"
    "      cd /out; touch good \"$(printf 'esc\\033[2J')\" \"$(printf 'bad\\377')\"; ln -s /etc/passwd link\n"
    "      printf 'a<<EOF\\nlost\\n' >> $RUNNER_OUTPUT\n"
    "      printf 'x\\033]0;evil\\007y\\000z\\377\\n'; head -c 3000000 /dev/zero | tr '\\0' A\n"
)
SECRETS = (
    "name: sec\nsecrets: [tok]\nsteps:\n  a:\n    out: ['*']\n"
    "    secrets: {TOK: {secret: tok, as: env}}\n    run: |\n"
    '      echo "$TOK"; printf hunter2; sleep 0.2; echo secret; touch "/out/f-$TOK"\n'
    '      echo "k=$TOK" >> $RUNNER_OUTPUT; echo "bad $TOK" >> $RUNNER_OUTPUT; exit 3\n'
)
WRONG = [
    "run", "run nofile", "run . ", "run w.yaml --input x", "run w.yaml --engine foo", "exec", "exec --",
    "exec --in /nowhere -- true", "exec --in . -- true", "exec --out ../x -- true", "exec --out / -- true",
    "validate", "validate /", "plan /dev/null", "graph nofile", "explain nofile", "ps x", "show", "show nope",
    "show ../../x", "logs nope", "outputs nope", "outputs nope -o x", "secrets", "secrets set ../x",
    "secrets bind x", "secrets bind x --from foo", "secrets bind x --from env:", "secrets list x", "gc x",
    "schema x", "doctor x", "sandbox", "--foo",
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_two_and_words(runner: Command, words: str) -> None:
    done = runner(*words.split())
    assert done.code == 2, done.err
    assert done.err
    assert "Traceback" not in done.err


def test_what_was_not_taken_is_named_and_nothing_steers_the_terminal(runner: Command, engine: str) -> None:
    done = runner.run(NAMES, engine)
    assert done.code == 0, done.err
    for what in ("esc", "bad", "link: is a symbolic link", "line 1 of $RUNNER_OUTPUT"):
        assert f"! a: not taken: {what}" in done.err
    assert not {"\x1b", "\0", "\x07"} & set(done.err + done.out)


def test_a_secret_is_masked_wherever_a_step_puts_it(runner: Command, engine: str) -> None:
    assert runner("secrets", "set", "tok", stdin=VALUE.encode() + b"\n").code == 0
    assert runner("secrets", "bind", "tok", "--from", "store:tok").code == 0
    done = runner.run(SECRETS, engine)
    assert done.code == 1, done.err
    assert done.err.count("***") >= 2
    log = runner("logs", "latest")
    kept = runner("outputs", "latest", "--partial", "-o", "results")
    assert log.out.count("***") == 2
    assert done.report["steps"]["a"]["reason"] == "secret-leak"
    assert "! a: not taken: f-***: holds the secret tok" in done.err
    assert "left no result files" in kept.err
    told = done.out + done.err + log.out + kept.err + runner("show", "latest", "--json").out
    assert VALUE not in told
    journal = b"".join(path.read_bytes() for path in runner.home.glob("journal.db*"))
    assert VALUE.encode() not in journal


@pytest.mark.parametrize(("value", "size"), [(PEM, len(PEM)), (b"one line\n", 8), (b"one line\r\n", 8)])
def test_a_stored_secret_loses_the_newline_of_one_line_only(runner: Command, value: bytes, size: int) -> None:
    assert runner("secrets", "set", "key", stdin=value).code == 0
    assert runner("secrets", "bind", "key", "--from", "store:key").code == 0
    done = runner("exec", "--engine", "bubblewrap", "--secret", "key", "--", "wc", "-c", "/run/secrets/KEY")
    assert f"| {size} /run" in done.out, done.out + done.err


@pytest.mark.parametrize("value", [b"", b"\n"])
def test_an_empty_secret_is_refused(runner: Command, value: bytes) -> None:
    assert runner("secrets", "set", "tok", stdin=value).code == 2


def test_a_secret_with_nul_is_no_variable(runner: Command) -> None:
    runner("secrets", "set", "tok", stdin=b"nul\0inside")
    runner("secrets", "bind", "tok", "--from", "store:tok")
    done = runner.run(SECRETS, "bubblewrap")
    assert done.code == 3, done.err
    assert "NUL" in done.err


def test_following_a_run_ends_with_it_even_when_it_was_killed(runner: Command) -> None:
    path = runner.workflow("name: f\nsteps:\n  a: {run: echo first; sleep 300}\n")
    argv = runner.argv("run", path, "--engine", "bubblewrap")
    child = subprocess.Popen(argv, env=runner.environment(), cwd=runner.project, stdout=subprocess.PIPE)
    assert child.stdout
    while b"first" not in child.stdout.readline():
        assert child.poll() is None
    follower = subprocess.Popen(
        runner.argv("logs", "-f", "latest"), env=runner.environment(), stdout=subprocess.PIPE
    )
    assert follower.stdout
    assert follower.stdout.readline() == b"first\n"
    child.kill()
    child.communicate()
    follower.communicate(timeout=15)
    assert follower.returncode == 0
    assert "/attempts" in runner("gc").out
