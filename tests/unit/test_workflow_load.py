"""A workflow file becomes a model, or a list of all its problems."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from runner.errors import UsageError, WorkflowError
from runner.units import parse_duration, parse_size
from runner.workflow.inputs import resolve_inputs
from runner.workflow.load import LoadedWorkflow, load

if TYPE_CHECKING:
    from pathlib import Path


def loaded(folder: Path, text: str) -> LoadedWorkflow:
    file = folder / "w.yaml"
    file.write_text(text)
    return load(file)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        loaded(folder, text)
    assert caught.value.exit_code == 2
    return [f"{each.line}:{each.column} {each.message} {each.hint}" for each in caught.value.problems]


FULL = r"""
name: invoice-digest
description: Monthly digest
metadata: {owner: finance-ops, classification: confidential, contains: [pii], recipients: [age1x]}
on: {manual: {}}
inputs:
  month: {type: string, default: "2026-10", pattern: '\d{4}-\d{2}'}
  no: {type: boolean, default: false}
data: {invoices: {path: invoices.csv, sanitize: {customer: pseudonym}}}
secrets: [api_token]
defaults: {sandbox: python, timeout: 5m, mounts: ["./scripts:/app:ro"], resources: {memory: 256MiB, cpus: 1}}
concurrency: {group: invoices, limit: 1, cancel-in-progress: true}
staging: {egress: ["https://sandbox.example.com"]}
steps:
  clean:
    run: python /app/clean.py /in/invoices.csv
    in: {invoices.csv: data/invoices}
    out: [rows.csv, "parts/*.csv"]
    env: {MONTH: "${{ inputs.month }}", N: 1, NO: no, B: true, E: }
    timeout: 1m30s
    retry: {max_attempts: 3, backoff: 1s, factor: 2, max_delay: 30s, jitter: true, on: [timeout, infra, 75]}
    strategy: {matrix: {os: [a, b], include: [{os: c}]}, max-parallel: 2, fail-fast: false}
    continue-on-error: true
  load:
    needs: clean
    if: success() && steps.clean.outputs.rows != ''
    in: {rows.csv: clean/rows.csv, p.csv: clean/parts/1.csv}
    run: [python, /app/load.py]
    out: [receipt.json]
    secrets: {API_TOKEN: api_token, OTHER: {secret: api_token, as: env}}
    egress: ["https://api.example.com", {tcp: ["db.example:5432"]}]
    effects: write
    breaker: warehouse
    compensate: {run: python /app/unload.py}
    probe: {run: python /app/count.py}
    staging: {run: python /app/load.py --dry-run, out: {receipt.json: receipt.json}}
    expect: [{file: receipt.json, jsonpath: $.rows, equals: 20}]
    approval: {approvers: [finance-leads], quorum: 1, timeout: 24h}
    publish: [receipt.json]
    grace: 500ms
finally:
  report: {run: python /app/report.py, if: always()}
"""


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("invoices.csv", "receipt.json"):
        (tmp_path / name).write_text("x")
    found = loaded(tmp_path, FULL)
    clean, load_step = found.model.steps["clean"], found.model.steps["load"]
    assert clean.timeout == 90.0
    assert clean.env == {"MONTH": "${{ inputs.month }}", "N": "1", "NO": "no", "B": "true", "E": ""}
    assert clean.retry is not None
    assert clean.retry.on == ("timeout", "infra", 75)
    assert clean.strategy is not None
    assert clean.strategy.matrix.axes == {"os": ("a", "b")}
    assert found.model.defaults.resources.memory == 256 << 20
    assert found.model.defaults.mounts[0].target == "/app"
    assert load_step.needs == ("clean",)
    assert load_step.run == ("python", "/app/load.py")
    hosts = [reach.host for reach in load_step.egress or ()]
    assert hosts == ["https://api.example.com", "tcp://db.example:5432"]
    assert load_step.secrets is not None
    assert load_step.secrets["OTHER"].form == "env"
    assert load_step.grace == 0.5
    assert load_step.outside == "write"
    assert found.positions["steps", "clean", "timeout"] == (20, 14)
    assert found.warnings == ()


def test_the_project_is_the_nearest_folder_with_a_runner_yaml(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    text = "name: x\nsteps: {s: {run: x, mounts: ['../m:/m']}}"
    (tmp_path / "a" / "m").mkdir()
    assert "leaves the project" in problems(inner, text)[0]
    (tmp_path / "a" / "runner.yaml").touch()
    assert loaded(inner, text).project == (tmp_path / "a").resolve()


def test_a_write_that_is_retried_without_being_idempotent_is_a_warning(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, "name: x\nsteps:\n  a: {run: x, egress: [a.example], retry: {max_attempts: 2}}\n"
    )
    assert [each.severity for each in found.warnings] == ["warning", "warning"]
    assert "nothing undoes" in found.warnings[0].message
    assert "held for a person" in found.warnings[1].message


def test_all_problems_come_at_once_with_their_places(tmp_path: Path) -> None:
    text = """name: x
steps:
  a:
    rum: echo hi
    run: echo ${{ inputs.x }}
    timeout: 5
    needs: [bb]
  b: {run: x, if: "succes()", secrets: [t], efects: none}
"""
    found = problems(tmp_path, text)
    assert [each.split()[0] for each in found] == ["4:5", "5:10", "6:14", "7:13", "8:19", "8:40", "8:45"]
    assert "did you mean run?" in found[0]
    assert "did you mean effects?" in found[-1]


def test_a_cycle_is_named(tmp_path: Path) -> None:
    text = "name: x\nsteps:\n  a: {run: x, needs: c}\n  b: {run: x, needs: a}\n  c: {run: x, needs: [b]}\n"
    assert problems(tmp_path, text) == ["3:6 needs turn in a circle: a → c → b → a "]


STEP_PROBLEMS = {
    "in: {f: b/x}": "there is no step b",
    "in: {f: data/x}": "there is no dataset x",
    "in: {f: other/nope.txt}": "does not hand on nope.txt",
    "in: {f: other}": "names no file",
    "in: {../f: other/o.txt}": "leaves /in",
    "out: [../x]": "leaves /out",
    "needs: [last]": "stands under finally",
    "image: a, sandbox: b": "exclude each other",
    "effects: none, egress: [a.example]": "has effects",
    "egress: ['https://user@a.example']": "is no host",
    "egress: ['https://a.example/path']": "is no host",
    "tcp: ['a.example']": "no port",
    "egress: ['http://a.example']": "insecure: true",
    "egress: ['https://*.example.com']": "needs a reason",
    "egress: [{host: 'https://*.github.io', reason: pages}]": "strangers",
    "egress: [{host: a.example, privat: true}]": "unknown key",
    "egress: ['a.example:99999']": "no port",
    "env: {A: '${{ secrets.x }}'}": "no context secrets",
    "env: {A: '${{ always() }}'}": "for if only",
    "env: {A: '${{ steps.other.outputs.x }}'}": "does not wait for it",
    "env: {A: '${{ inputs.mont }}'}": "did you mean month?",
    "env: {A: '${{ matrix.os }}'}": "no matrix.os",
    "if: '${{ true }} && false'": "always true",
    "mounts: ['./nowhere:/x']": "does not exist",
    "mounts: ['./m:/tmp/x']": "belongs to the sandbox",
    "mounts: ['./m:x']": "not absolute",
    "mounts: ['./m:/x', './m:/x/']": "two mounts",
    "mounts: ['./m:/x:rw']": ":rw does not exist",
    "strategy: {matrix: {a: [1, 2, 3], b: []}}": "has no values",
    "strategy: {matrix: {}}": "is empty",
    "compensate: {run: x}, irreversible: true": "choose one",
    "secrets: {A: nope}": "not declared",
    "expect: [{file: f, regex: '('}]": "no regular expression",
    "retry: {on: [boom]}": "not one of",
    "retry: {max_attempts: 0}": "greater than or equal to 1",
    "needs: {a: b}": "must be a list",
    "idempotent: yes": "must be true or false",
    "env: [a]": "must be a mapping",
    "timeout: 5 minutes": "is no duration",
    "resources: {memory: 5}": "is no size",
    "continue_on_error: true": "did you mean continue-on-error?",
    "inputs: {f: other/o.txt}": "unknown key inputs",
}


@pytest.mark.parametrize(("key", "words"), STEP_PROBLEMS.items())
def test_a_wrong_step_is_refused_in_plain_words(tmp_path: Path, key: str, words: str) -> None:
    (tmp_path / "m").mkdir()
    text = (
        "name: x\ninputs: {month: {default: a}}\nsteps:\n  other: {run: x, out: [o.txt]}\n"
        f"  a: {{run: x, {key}}}\nfinally: {{last: {{run: x}}}}\n"
    )
    found = problems(tmp_path, text)
    assert any(words in each and each.startswith("5:") for each in found), found


def test_a_thousand_steps_are_validated_in_under_a_second(tmp_path: Path) -> None:
    steps = "".join(
        f"  s{n}:\n    run: [echo, hi]\n    needs: [s{n - 1}]\n    out: [a.txt]\n    in: {{a.txt: s{n - 1}/a.txt}}\n"
        for n in range(1, 1000)
    )
    text = f"name: x\nsteps:\n  s0: {{run: x, out: [a.txt]}}\n{steps}"
    loaded(tmp_path, "name: x\nsteps: {a: {run: x}}")
    start = time.process_time()
    assert len(loaded(tmp_path, text).model.steps) == 1000
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86400), (0, 0)]
)
def test_a_duration_becomes_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", 5, "-1s", "1 s", "1y", None, True, "9" * 50 + "s", "400d", "1s\n"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("256MiB", 256 << 20), ("1GB", 10**9), ("1.5KiB", 1536)]
)
def test_a_size_becomes_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1M", "1", 5, "-1B", "1 MB", None, "9999999TB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_size(text)


INPUTS = r"""
name: x
inputs:
  s: {pattern: '[a-z]+', default: abc}
  n: {type: number, default: 3}
  b: {type: boolean, default: false}
  d: {type: date}
  c: {type: choice, options: [red, blue], default: red}
steps: {a: {run: x}}
"""


def test_inputs_are_typed(tmp_path: Path) -> None:
    model = loaded(tmp_path, INPUTS).model
    assert resolve_inputs(model, {"d": "2026-10-31", "b": "true", "n": "4.5"}) == {
        "s": "abc",
        "n": 4.5,
        "b": True,
        "d": "2026-10-31",
        "c": "red",
    }


def test_all_wrong_inputs_are_listed_at_once(tmp_path: Path) -> None:
    model = loaded(tmp_path, INPUTS).model
    with pytest.raises(UsageError) as caught:
        resolve_inputs(model, {"s": "A1", "n": "many", "b": "yes", "c": "blu", "dd": "x"})
    for words in (
        "s does not match",
        "n is no number",
        "neither true",
        "d is required",
        "mean blue",
        "no input dd",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "{type: number, default: x}",
        "{type: boolean, default: 1}",
        "{type: date, default: '2026-13-01'}",
        "{type: choice}",
        "{type: choice, options: [a], default: b}",
        "{pattern: '[a-', default: a}",
        "{pattern: 'a+', default: b}",
        "{default: 5}",
        "{type: number, pattern: x}",
    ],
)
def test_a_wrong_input_declaration_is_refused(tmp_path: Path, key: str) -> None:
    assert problems(tmp_path, f"name: x\ninputs:\n  i: {key}\nsteps: {{a: {{run: x}}}}")[0].startswith("3:")


def test_a_bad_name_hides_no_other_mistake(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: Bad Name\nsetps: {}\nsteps:\n  a: {run: 'true', needs: [bb]}\n")
    with pytest.raises(WorkflowError) as caught:
        load(path)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 4]
