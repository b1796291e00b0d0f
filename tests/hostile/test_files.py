"""Hostile workflow files are refused in under 2 s and 200 MB, with a place and without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.errors import WorkflowError
from runner.workflow.load import load

if TYPE_CHECKING:
    from pathlib import Path

OK = b"name: x\nsteps: {a: {run: x}}\n"


def step(keys: str) -> bytes:
    return f"name: x\nsteps:\n  a: {{run: x, {keys}}}\n".encode()


FILES = {
    "unknown-key": (b"name: x\nstepz: 1\nsteps: {a: {run: x}}\n", "did you mean steps?"),
    "duplicate-key": (OK + b"name: y\n", "twice"),
    "cycle": (b"name: x\nsteps:\n  a: {run: x, needs: b}\n  b: {run: x, needs: a}\n", "circle"),
    "own-need": (step("needs: a"), "circle"),
    "missing-need": (step("needs: [b]"), "no step b"),
    "leaving-path": (step("mounts: ['../..:/m']"), "leaves the project"),
    "absolute-path": (step("mounts: ['/etc:/m']"), "not relative"),
    "home-path": (step("mounts: ['~/.ssh:/m']"), "not relative"),
    "symlink": (step("mounts: ['./link:/m']"), "symlink"),
    "symlink-dataset": (b"name: x\ndata: {d: {path: link/passwd}}\nsteps: {a: {run: x}}\n", "symlink"),
    "git-folder": (step("mounts: ['./.git:/m']"), ".git is never"),
    "environment-file": (step("mounts: ['./.env.local:/m']"), "never given"),
    "docker-socket": (step("mounts: ['/var/run/docker.sock:/m']"), "controls the container engine"),
    "podman-socket": (step("mounts: ['./podman.sock:/m']"), "controls the container engine"),
    "mount-over-secrets": (step("mounts: ['./here:/run/secrets']"), "belongs to the sandbox"),
    "privileged": (step("privileged: true"), "never possible"),
    "host-network": (step("network_mode: host"), "never possible"),
    "capability": (step("cap_add: [SYS_ADMIN]"), "never possible"),
    "device": (step("devices: [/dev/kvm]"), "never possible"),
    "volume": (step("volumes: ['/:/host']"), "never possible"),
    "root-user": (step("user: root"), "never possible"),
    "every-host": (step("egress: ['*']"), "opens every host"),
    "every-host-by-tls": (step("egress: ['https://*']"), "opens every host"),
    "expression-in-run": (b"name: x\nsteps: {a: {run: 'echo ${{ inputs.x }}'}}\n", "data become code"),
    "expression-in-argv": (b"name: x\nsteps: {a: {run: [echo, '${{ 1 }}']}}\n", "data become code"),
    "python-tag": (b"name: !!python/object/apply:os.system [id]\nsteps: {a: {run: x}}\n", "tags"),
    "own-tag": (b"name: !secret x\nsteps: {a: {run: x}}\n", "tags"),
    "merge-key": (b"a: &a {run: x}\nname: x\nsteps: {s: {<<: *a}}\n", "merge keys"),
    "complex-key": (b"? [a, b]\n: c\nname: x\nsteps: {a: {run: x}}\n", "a key is a word"),
    "nul": (b"name: x\x00\nsteps: {a: {run: x}}\n", "NUL"),
    "escape": (b"name: x # \x1b[2J\nsteps: {a: {run: x}}\n", "control character"),
    "escaped-nul": (b'name: x\nsteps: {a: {run: "a\\0b"}}\n', "NUL"),
    "latin-1": (b"name: x\ndescription: \xe9\n", "not UTF-8"),
    "utf-16": ("name: x".encode("utf-16"), "not UTF-8"),
    "two-documents": (OK + b"---\n" + OK, "single document"),
    "empty": (b"", "empty"),
    "list": (b"- a\n", "a mapping"),
    "number": (b"42", "a mapping"),
    "tab": (b"name: x\n\tsteps: 1\n", "not YAML"),
    "step-name": (b"name: x\nsteps: {'../a': {run: x}}\n", "cannot be a name"),
    "long-number": (step("timeout: " + "9" * 5000), "too long"),
    "self-alias": (b"name: x\nsteps: &a {s: *a}\n", "alias of itself"),
    "matrix": (step("strategy: {matrix: {a: [" + "1," * 99 + "], b: [1,2,3]}}"), "more than 256"),
    "expression-depth": (step("if: '" + "(" * 99 + "1'"), "nested deeper"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    content, words = FILES[name]
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "here").mkdir()
    (tmp_path / "runner.yaml").touch()
    file = tmp_path / "w.yaml"
    file.write_bytes(content)
    with pytest.raises(WorkflowError) as caught:
        load(file)
    found = [each for each in caught.value.problems if words in f"{each.message} {each.hint}"]
    assert found, str(caught.value)
    assert found[0].line >= 1
    assert found[0].column >= 1


def bomb() -> bytes:
    rows = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    rows += [f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]" for n in range(20)]
    return "\n".join(rows).encode()


WORST = {
    "alias-bomb": bomb(),
    "alias-flood": b"a: &a x\nb: [" + b"*a," * 330_000 + b"]",
    "deep-lists": b"a: " + b"[" * 900_000,
    "deep-mappings": b"{a: " * 250_000,
    "deep-dashes": b"- " * 500_000,
    "deep-questions": b"? " * 500_000,
    "many-values": b"x: [" + b"1," * 500_000 + b"]",
    "many-unknown-keys": OK + b"".join(b"key%d: 1\n" % n for n in range(40_000)),
    "many-duplicates": OK + b"a: 1\n" * 40_000,
    "many-empty-steps": b"name: x\nsteps:\n" + b"".join(b"  s%d: {}\n" % n for n in range(40_000)),
    "huge-word": b"name: " + b"x" * 1_000_000,
    "huge-quote": b'name: "' + b"\\n" * 500_000,
    "huge-pattern": b"name: x\ninputs: {a: {default: "
    + b"a" * 9000
    + b", pattern: '(a*)*b'}}\nsteps: {a: {run: x}}",
    "too-large": b"#" * 50_000_000,
}
PROGRAM = """
import resource, sys
from pathlib import Path
from runner.errors import WorkflowError
from runner.workflow.load import load
try:
    load(Path(sys.argv[1]))
except WorkflowError as error:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = Path("/proc/self/status").read_text()  # of this program alone: maxrss counts who forked it
    peak = int(told.partition("VmHWM:")[2].split()[0])
    print(usage.ru_utime + usage.ru_stime, peak // 1024, error.problems[0].line)
"""


@pytest.mark.parametrize("name", WORST)
def test_the_worst_files_cost_little(tmp_path: Path, name: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(WORST[name])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seconds, megabytes, line = done.stdout.split()
    assert float(seconds) < 2
    assert int(megabytes) < 200
    assert int(line) >= 1


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere", tmp_path / "a\0b"):
        with pytest.raises(WorkflowError):
            load(path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + OK.replace(b"\n", b"\r\n"))
    assert load(file).model.name == "x"
