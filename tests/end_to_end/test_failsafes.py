"""What was done is undone, and a write that may have happened waits for a person: from the installed command."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Command, Done

SMALL = "defaults: {resources: {memory: 48MiB, output: 1MiB, work: 1MiB, tmp: 1MiB}}\n"
ORDER = f"""
name: order
metadata: {{owner: ops, runbook: docs/book.md}}
secrets: [pin]
{SMALL}steps:
  base:
    run: "echo one > /out/f; echo key $RUNNER_IDEMPOTENCY_KEY"
    out: [f]
    compensate: {{run: "cat /done/f; echo key $RUNNER_IDEMPOTENCY_KEY"}}
  left: {{needs: [base], run: "true", compensate: {{run: "sleep 0.4"}}}}
  right: {{needs: [base], run: "true", compensate: {{run: "sleep 0.4"}}}}
  last:
    needs: [left, right]
    run: "echo half > /out/part; exit 3"
    out: ['*']
    compensate:
      run: "cat /done/part; test $(cat /run/secrets/PIN) = good-pin-4711"
      secrets: {{PIN: pin}}
      retry: {{max_attempts: 2, backoff: 10ms}}
finally:
  bye: {{run: "true"}}
"""
INHERITED = f"""
name: inherited
secrets: [tok]
{SMALL}steps:
  first: {{run: "echo file-in > /out/f", out: [f]}}
  load:
    run: "true"
    in: {{f: first/f}}
    mounts: ["./scripts:/app"]
    secrets: {{TOK: {{secret: tok, as: env}}}}
    env: {{A: "a-${{{{ inputs.word }}}}", B: b-step}}
    compensate:
      run: "cat /app/word /in/f; echo $A $B ${{#TOK}} files $(ulimit -n)"
      env: {{B: b-undo}}
      resources: {{files: 77}}
  image:
    run: "true"
    compensate: {{run: [python3, -c, "print('py' + 'thon')"], sandbox: python, resources: {{memory: 128MiB}}}}
  slow:
    run: "true"
    compensate: {{run: "sleep 30", timeout: 300ms, retry: {{max_attempts: 1}}}}
inputs: {{word: {{type: string, default: w}}}}
"""
WRITE = (
    "run: &w 'test $N != 1 || exit 75', staging: {run: *w}, effects: write, env: {N: '${{ run.attempt }}'}"
)
HELD = f"""
name: held
metadata: {{owner: ops, runbook: docs/book.md}}
{SMALL}steps:
  before: {{run: "true", compensate: {{run: "true"}}}}
  pay: {{needs: [before], {WRITE}, retry: {{max_attempts: 3, backoff: 10ms}}}}
  after: {{needs: [pay], run: "true"}}
"""


def statuses(report: dict[str, Any], table: str = "steps") -> dict[str, str]:
    return {name: each["status"] for name, each in report[table].items()}


def lines(done: Done, *marks: str) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith(marks)]


def one_value(done: Done) -> dict[str, Any]:
    assert done.out.count("\n") == 1, done.out
    return done.report


def give(runner: Command, name: str, value: str) -> None:
    assert runner("secrets", "set", name, stdin=value.encode()).code == 0
    assert runner("secrets", "bind", name, "--from", f"store:{name}").code == 0


def test_a_rollback_goes_backwards_goes_on_past_a_failure_and_is_tried_again(
    runner: Command, engine: str
) -> None:
    give(runner, "pin", "wrong-pin-0815")
    done = runner.run(ORDER, engine)
    assert done.code == 5, done.err
    report = one_value(done)
    assert report["status"] == "rollback-failed"
    undone = report["rollback"]
    assert statuses(report, "rollback") == {
        "base": "compensated", "left": "compensated", "right": "compensated", "last": "compensation-failed",
    }  # fmt: skip
    assert undone["last"]["attempts"] == 2
    assert undone["last"]["ended"] <= min(undone["left"]["started"], undone["right"]["started"])
    assert max(undone["left"]["started"], undone["right"]["started"]) < undone["left"]["ended"]
    assert max(undone["left"]["ended"], undone["right"]["ended"]) <= undone["base"]["started"]
    assert undone["base"]["ended"] <= report["steps"]["bye"]["started"]
    logs = runner("logs", "latest").out
    assert len(set(re.findall("key ([0-9a-f]{32})", logs))) == 1
    assert logs.count("one\n") == 1
    assert logs.count("half\n") == 2
    shown = runner("show", "latest").out
    for words in ("not undone: last", "docs/book.md", f"runner rollback {report['run']}"):
        assert words in shown
    assert runner("outputs", "latest", "-o", "whole").code == 2
    assert not (runner.project / "whole").exists()
    assert runner("outputs", "latest", "-o", "parts", "--partial").code == 0
    assert (runner.project / "parts" / "last" / "part").read_text() == "half\n"
    give(runner, "pin", "good-pin-4711")
    again = runner("rollback", "latest", "--json")
    assert (again.code, one_value(again)["status"]) == (0, "rolled-back"), again.err
    assert lines(again, "↶", "▶") == ["↶ last (attempt 3)", "↶ last compensated"]
    nothing = runner("rollback", "latest", "--json")
    assert nothing.code == 2
    assert "nothing to undo" in one_value(nothing)["error"]


def test_a_compensation_has_all_of_its_step_but_for_what_it_says_itself(runner: Command, engine: str) -> None:
    give(runner, "tok", "canary-99")
    (runner.project / "scripts").mkdir()
    (runner.project / "scripts" / "word").write_text("file-mounted\n")
    done = runner.run(INHERITED, engine)
    assert done.code == 0, done.err
    shutil.rmtree(runner.project / "scripts")
    (runner.project / "workflow.yaml").unlink()
    undone = runner("rollback", "latest", "--json")
    assert undone.code == 5, undone.err
    assert statuses(undone.report, "rollback") == {
        "load": "compensated", "image": "compensated", "slow": "compensation-failed",
    }  # fmt: skip
    assert undone.report["rollback"]["slow"]["reason"] == "timeout"
    assert undone.report["rollback"]["slow"]["attempts"] == 1
    logs = runner("logs", "latest").out
    assert "file-mounted\nfile-in\na-w b-undo 9 files 77\n" in logs
    assert "python\n" in logs


def test_a_secret_that_only_the_rollback_needs_is_asked_for_before_anything_is_done(runner: Command) -> None:
    done = runner.run(ORDER, "bubblewrap")
    assert done.code == 3, done.err
    assert "secret pin is not bound" in one_value(done)["error"]
    assert runner("ps", "--json").out == "[]\n"


@pytest.mark.parametrize(
    ("when", "undone"),
    [("[succeeded]", {"good"}), ("[failed]", {"bad"}), ("[succeeded, failed]", {"good", "bad"})],
)
def test_compensate_on_says_which_end_is_undone(runner: Command, when: str, undone: set[str]) -> None:
    undo = f"compensate: {{run: 'true'}}, compensate_on: {when}"
    done = runner.run(
        f"name: when\nsteps:\n  good: {{run: 'true', {undo}}}\n  bad: {{needs: [good], run: exit 3, {undo}}}\n",
        "bubblewrap",
    )
    assert (done.code, done.report["status"]) == (1, "rolled-back")
    assert set(done.report["rollback"]) == undone


@pytest.mark.parametrize(
    ("words", "code", "ends"),
    [
        (["approve"], 0, {"before": "succeeded", "pay": "succeeded", "after": "succeeded"}),
        (["approve", "--done"], 0, {"before": "succeeded", "pay": "succeeded", "after": "succeeded"}),
        (["reject"], 1, {"before": "succeeded", "pay": "failed", "after": "skipped"}),
    ],
)
def test_a_write_that_may_have_happened_waits_for_a_person(
    runner: Command, engine: str, words: list[str], code: int, ends: dict[str, str]
) -> None:
    done = runner.run(HELD, engine)
    assert (done.code, done.report["status"]) == (6, "held"), done.err
    assert statuses(done.report) == {"before": "succeeded", "pay": "held", "after": "pending"}
    run = done.report["run"]
    assert '"status": "held"' in runner("ps", "--json").out
    shown = runner("show", run).out
    for told in (
        "exit status 75",
        f"runner approve {run} 'pay' --done",
        f"runner reject {run}",
        "docs/book.md",
    ):
        assert told in shown
    assert runner("resume", run, "--json").code == 6, "nobody decided"
    assert runner(words[0], run, "before").code == 2
    decided = runner(words[0], run, *words[1:])
    assert (decided.code, decided.out.splitlines()[-1]) == (0, f"next: runner resume {run}")
    assert runner("approve", run).code == 2, "it was decided"
    ended = runner("resume", run, "--json")
    assert ended.code == code, ended.err
    assert statuses(one_value(ended)) == ends
    assert ended.report["steps"]["pay"]["attempts"] == (2 if words == ["approve"] else 1)
    assert statuses(ended.report, "rollback") == ({"before": "compensated"} if code else {})
    assert runner("resume", run).code == 2, "it has ended"


def test_a_write_with_a_compensation_is_undone_before_it_is_attempted_again(
    runner: Command, engine: str
) -> None:
    text = f"name: undo\nsteps:\n  pay: {{{WRITE}, retry: {{max_attempts: 3, backoff: 10ms}}, compensate: {{run: 'true'}}}}\n"
    done = runner.run(text, engine)
    assert (done.code, done.report["status"]) == (0, "succeeded"), done.err
    expected = ["▶ pay", "↶ pay", "↶ pay compensated", "▶ pay (attempt 2)"]
    assert lines(done, "▶", "↶") == expected
    later = runner("rollback", "latest", "--json")
    assert (later.code, lines(later, "▶", "↶")[-1]) == (0, "↶ pay compensated"), later.err
