"""Fail-safes under attack: by a step, by a changed journal, by odd names, by a broken runner.yaml."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from conftest import finished

if TYPE_CHECKING:
    from conftest import Command, Done

UNDO = """
name: evil
metadata: {owner: "o\\u001b[31m", runbook: "r\\u001b]0;x\\u0007"}
defaults: {resources: {memory: 48MiB, output: 1MiB, work: 1MiB, tmp: 1MiB}}
steps:
  a: {run: "echo true-copy > /out/f", out: [f]}
  b:
    in: {f: a/f}
    run: "set +e; (echo forged > /in/f) || chmod 777 /in/f || mkdir /done || ln -s /etc /done; cp /in/f /out/g; exit 3"
    out: ['*']
    compensate:
      run: "set +e; for f in /in/f /done/g; do (echo forged > $f); rm -f $f; mv $f /tmp/x; chmod 777 $f; cat $f; done; touch /done/new; ls /done; exit 0"
"""
FLOOD = """
name: flood
steps:
  a:
    run: exit 3
    resources: {log: 64KiB}
    compensate: {run: "yes $(printf 'x\\\\033[2J') | head -c 20000000", retry: {max_attempts: 1}}
"""
HELD = "name: held\nsteps:\n  'pay[0]\u202e': {effects: write, run: &w 'exit 75', staging: {run: *w}, retry: {max_attempts: 2}}\n"
PLAIN = HELD.replace("'pay[0]\u202e'", "pay")
STEPS = [
    "resume latest --json", "show latest --json", "show latest", "rollback latest --json", "cancel latest --json",
    "approve latest", "retry latest --json", "logs latest", "ps --json", "outputs latest -o x",
]  # fmt: skip
BROKEN = [
    "UPDATE events SET data = '[]' WHERE seq = {last}",
    "UPDATE events SET data = 'x' WHERE seq = {last}",
    "UPDATE events SET data = replace(data, '\"pay\"', '\"gone\"')",
    'UPDATE events SET data = replace(data, \'"attempt":1\', \'"attempt":"one"\')',
    'UPDATE events SET data = \'{{"kind":"RunEnded","status":5,"detail":""}}\' WHERE seq = {last}',
    'UPDATE events SET data = \'{{"kind":"RetryScheduled","step":"pay","attempt":2,"at":"soon"}}\' WHERE seq = {last}',
    "UPDATE events SET at = 'noon'",
    "UPDATE events SET fence = 'high'",
    "DELETE FROM events WHERE seq = 1",
    "DELETE FROM events",
    "UPDATE runs SET plan = '{{}}'",
    "UPDATE runs SET plan = '[1'",
    "UPDATE runs SET status = 7, started = 'x', ended = 'y'",
    "UPDATE runs SET fence = 'x'",
]


def changed(runner: Command, statement: str) -> None:
    with sqlite3.connect(runner.home / "journal.db") as database:
        (last,) = database.execute("SELECT max(seq) FROM events").fetchone()
        database.execute(statement.format(last=last))
    database.close()


def assert_words(done: Done, words: str) -> None:
    assert done.code in range(7) or done.code == 130, (words, done.code)
    assert "Traceback" not in done.err, (words, done.err)
    assert "defect" not in done.err, (words, done.err)
    if "--json" in words:
        assert done.out.count("\n") == 1, (words, done.out, done.err)
        json.loads(done.out)


def test_a_step_changes_nothing_that_its_compensation_reads(runner: Command, engine: str) -> None:
    done = runner.run(UNDO, engine)
    assert done.code == 1, done.err
    logs = runner("logs", "latest", "b").out
    assert logs.count("true-copy\n") == 2, logs
    assert "forged\n" not in logs
    assert logs.splitlines()[-1] == "g"
    assert runner("outputs", "latest", "--partial", "-o", "x").code == 0
    assert (runner.project / "x" / "a" / "f").read_text() == "true-copy\n"


def test_a_compensation_that_floods_its_log_is_stopped_and_steers_no_terminal(
    runner: Command, engine: str
) -> None:
    done = runner("run", runner.workflow(FLOOD), "--engine", engine)
    assert done.code == 5, done.err
    shown = runner("show", "latest", "--json").report
    assert shown["rollback"]["a"]["reason"] == "log-limit"
    for told in (done.out, done.err, runner("show", "latest").out):
        assert "\x1b" not in told


def test_words_of_the_author_do_not_steer_the_terminal(runner: Command) -> None:
    done = runner("run", runner.workflow(UNDO.replace("exit 0", "exit 4")), "--engine", "bubblewrap")
    assert done.code == 5, done.err
    told = done.out + done.err + runner("show", "latest").out
    assert "not undone: b" in told
    assert not {"\x1b", "\x07"} & set(told)


@pytest.mark.parametrize("statement", BROKEN)
def test_a_changed_journal_gives_words(runner: Command, statement: str) -> None:
    assert runner.run(PLAIN, "bubblewrap").code == 6
    changed(runner, statement)
    for words in STEPS[:6]:
        assert_words(runner(*words.split()), words)


@pytest.mark.parametrize(
    "row",
    [
        "INSERT OR REPLACE INTO breakers VALUES ('hub', 'ajar', 0, 0, '', '')", "INSERT OR REPLACE INTO breakers VALUES ('hub', 'open', 'many', 'noon', '', '')",
        "INSERT OR REPLACE INTO breakers VALUES ('hub', 'closed', 999999999999, 0, '', '')", "INSERT OR REPLACE INTO breakers VALUES ('hub', 'half-open', 1, 1e400, '../../x/s/1', '')",
        "INSERT OR REPLACE INTO breakers VALUES ('hub', 'half-open', 1, 1, x'00ff', '')",
    ],
)  # fmt: skip
def test_a_changed_breaker_gives_words(runner: Command, row: str) -> None:
    (runner.project / "runner.yaml").write_text("breakers: {hub: {failures: 3, reset: 1s}}\n")
    text = "name: w\nsteps:\n  s: {run: exit 3, breaker: hub}\n"
    assert runner.run(text, "bubblewrap").code == 1
    changed(runner, row)
    for words in ("breakers --json", "run workflow.yaml --json --engine bubblewrap", "breakers reset hub"):
        assert_words(runner(*words.split(), seconds=30), words)
    assert runner.run(text, "bubblewrap").code == 1


@pytest.mark.parametrize(
    "row",
    [
        "INSERT OR REPLACE INTO turns VALUES (1, '../../etc', 'g', 1)",
        "INSERT OR REPLACE INTO turns VALUES (1, 'a' || char(0) || 'b', 'g', 1)",
        "INSERT OR REPLACE INTO turns VALUES (1, x'ff00', 'g', 'yes')",
    ],
)
def test_a_changed_turn_gives_words(runner: Command, row: str) -> None:
    text = "name: w\nconcurrency: {group: g, cancel-in-progress: true}\nsteps:\n  s: {run: 'true'}\n"
    assert runner.run(text, "bubblewrap").code == 0
    changed(runner, row)
    done = runner.run(text, "bubblewrap")
    assert_words(done, "run --json")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "latest'; --", "", " ", "%", "_", "-x", "é\u202e", "a\nb", "2" * 5000]
)
@pytest.mark.parametrize("command", ["resume", "cancel", "rollback", "approve", "reject", "retry"])
def test_odd_names_of_runs_are_two_and_words(runner: Command, command: str, name: str) -> None:
    done = runner(command, "--", name)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert not {"\x1b", "\u202e"} & set(done.err)


@pytest.mark.parametrize(
    "text",
    [
        "breakers: [a]\n", "breakers: {hub: 5}\n", "breakers: {hub: {failures: 0}}\n", "breakers: {hub: {reset: -1s}}\n",
        "breakers: {'a b': {}}\n", "breakers: {hub: {on_open: [wait]}}\n", "hold_after: 1e3\n", "rollback_window: {}\n",
        "rollback_window: .inf\n", "breakers: {1: {}}\n", "breakers: {hub: {reset: .nan}}\n", "\0", "a: &a [*a]\n",
    ],
)  # fmt: skip
def test_a_broken_runner_yaml_gives_words(runner: Command, text: str) -> None:
    path = runner.workflow("name: w\nsteps:\n  s: {run: 'true', breaker: hub}\n")
    (runner.project / "runner.yaml").write_text(text)
    for words in (f"run {path} --json --engine bubblewrap", f"validate --json {path}", "breakers --json"):
        done = runner(*words.split())
        assert done.code == 2, (words, done.err)
        assert_words(done, words)


def test_a_decision_is_about_steps_that_wait_for_one(runner: Command) -> None:
    assert runner.run(PLAIN, "bubblewrap").code == 6
    for words in (
        ["approve", "latest", "\x1b[2J"],
        ["reject", "latest", "../pay"],
        ["approve", "latest", "pay "],
    ):
        done = runner(*words)
        assert done.code == 2, done.err
        assert "\x1b" not in done.err
    both = [runner.begin(word, "latest") for word in ("approve", "reject")]
    assert 0 in {finished(each).code for each in both}
    assert runner("resume", "latest").code in {1, 6}
