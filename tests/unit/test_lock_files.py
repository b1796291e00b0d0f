"""Lock files of Python packages, and the scripts that say themselves what they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import WorkflowError
from runner.workflow.load import load
from runner.workflow.locks import BadLock, lock_text, read_lock, script_needs, uncovered

if TYPE_CHECKING:
    from pathlib import Path

HASH = "--hash=sha256:" + "ab" * 32
OTHER = "--hash=sha512:" + "cd" * 64
GOOD = f"six==1.17.0 {HASH}\n"
SCRIPT = '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["six>=1.16"]\n# ///\nimport six\n'


def text(written: str) -> str:
    return lock_text(read_lock(written.encode()))


def test_every_spelling_of_the_same_packages_is_one_text() -> None:
    one = f"# made by hand\n\nZope.Interface == 6.0 \\\n    {OTHER} \\\n    {HASH}\n    # via six\n{GOOD}"
    other = f"\ufeff{GOOD.strip()}  # why\r\nzope_interface==6.0.0 {HASH} {OTHER} {HASH}"
    assert text(one) == f"six==1.17.0 {HASH}\nzope-interface==6.0 {HASH} {OTHER}\n"
    assert text(other) == text(one).replace("6.0", "6.0.0")


def test_extras_and_markers_stay() -> None:
    written = f"a[z,b]==1 ; python_version < '3.12' {HASH}\na==2 ; python_version >= '3.12' {HASH}\n"
    assert text(written) == (
        f'a==2 ; python_version >= "3.12" {HASH}\na[b,z]==1 ; python_version < "3.12" {HASH}\n'
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("six==1.17.0", "six has no hash"),
        (f"six {HASH}", "six is not pinned: write six==VERSION"),
        (f"six>=1.17 {HASH}", "six is not pinned"),
        (f"six===1.17 {HASH}", "six is not pinned"),
        (f"six==1.17,!=1.18 {HASH}", "six is not pinned"),
        (f"six==1.* {HASH}", "six==1.* is no one version"),
        ("six==1.17 --hash=md5:" + "ab" * 16, "md5 is no hash to rely on"),
        ("six==1.17 --hash=sha256:abcd", "sha256 is no hash to rely on"),
        (f"six==1.17 {HASH} --no-binary=six", "--no-binary=six is not for a lock file"),
        (f"six @ https://evil.example/six.whl {HASH}", "six comes from https://evil.example/six.whl"),
        ("git+https://evil.example/six.git", "is no package: write NAME==VERSION"),
        ("https://evil.example/six.whl", "is no package"),
        ("./six.whl", "is no package"),
        ("-r other.txt", "copy the lines of the other file"),
        ("-e .", "mount a folder instead"),
        ("--index-url https://evil.example/simple", "the index is the operator's"),
        ("--extra-index-url=https://evil.example", "the index is the operator's"),
        ("--find-links /in", "the index is the operator's"),
        ("--trusted-host evil.example", "the index is the operator's"),
        (f"six==1.17 ; os_name == 'a\r--index-url https://e' {HASH}", "not printable ASCII"),
        (f"six==1.17 ; os_name == 'a\u2028b' {HASH}", "not printable ASCII"),
        (f"six==1.17 ; os_name == 'a --index-url=https://e' {HASH}", "is no package"),
        (f"s\u0456x==1.17 {HASH}", "not printable ASCII"),
    ],
)
def test_anything_but_a_pinned_and_hashed_package_is_refused_with_its_line(line: str, words: str) -> None:
    with pytest.raises(BadLock) as caught:
        read_lock(f"# first\n{line}\n".encode())
    (finding,) = caught.value.findings
    assert finding.place == (2, 1)
    assert words in finding.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "names no package"),
        (b"# nothing\n\n", "names no package"),
        (GOOD.encode() * 2, "six stands in line 1 already"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"#" * ((1 << 20) + 1), "larger than 1 MiB"),
        (b"six==1.17.0 \\", "the file is cut"),
        (b"".join(b"a%d==1\n" % number for number in range(6000)), "more than 5000 packages"),
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadLock, match=words):
        read_lock(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_lock_file_or_a_refusal(data: bytes) -> None:
    try:
        pins = read_lock(data)
    except BadLock:
        return
    assert read_lock(lock_text(pins).encode()) == pins


def test_a_script_s_block_says_what_it_depends_on() -> None:
    assert script_needs(SCRIPT) == ["six>=1.16"]
    assert script_needs("import six\n") == []
    assert script_needs('# /// script\n# requires-python = ">=3"\n# ///\n') == []
    for broken in ("# /// script\n# dependencies = []\n", "# /// script\n# x = =\n# ///\n"):
        with pytest.raises(ValueError, match="its block is not"):
            script_needs(broken)


@pytest.mark.parametrize(
    ("need", "words"),
    [
        ("six>=1.16", ""),
        ("SIX[x] ~= 1.17", ""),
        ("absent; python_version < '3'", ""),
        ("six<1.17", "does not allow six 1.17.0 of the lock file"),
        ("absent", "absent is not in the lock file"),
        ("six @ https://evil.example/six.whl", "is a URL"),
        ("not a requirement", "is no requirement"),
    ],
)
def test_a_lock_file_covers_a_script_or_says_what_is_missing(need: str, words: str) -> None:
    told = list(uncovered([need], read_lock(GOOD.encode())))
    assert len(told) == bool(words)
    assert words in "".join(told)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "runner.yaml").write_text("")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "x.py").write_text(SCRIPT)
    (tmp_path / "lock.txt").write_text(GOOD)
    return tmp_path


def problems(project: Path, step: str) -> list[str]:
    path = project / "workflow.yaml"
    path.write_text(f"name: w\nsteps:\n  a: {{sandbox: python, mounts: [./scripts:/app], {step}}}\n")
    try:
        load(path)
    except WorkflowError as error:
        return [
            f"{each.file.rpartition('/')[2]}:{each.line}: {each.message} {each.hint}"
            for each in error.problems
        ]
    return []


@pytest.mark.parametrize(
    "run",
    [
        "python /app/x.py",
        "'python3 -u /app/x.py --flag'",
        "[/usr/bin/python3, /app/x.py]",
        '"cd /work\\npython3.11 /app/x.py | tee log"',
    ],
)
def test_a_script_with_dependencies_needs_a_lock_file_and_is_told_how_to_make_it(
    project: Path, run: str
) -> None:
    (told,) = problems(project, f"run: {run}")
    assert "workflow.yaml:3: scripts/x.py depends on six>=1.16, and no lock file holds it" in told
    assert "--generate-hashes" in told
    assert "scripts/x.py -o scripts/x.py.txt`, then requirements: scripts/x.py.txt" in told
    assert problems(project, f"run: {run}, requirements: lock.txt") == []


@pytest.mark.parametrize("run", ["cat /app/x.py", "python /elsewhere/x.py", "python -c pass", "python -m x"])
def test_a_command_that_does_not_plainly_run_the_script_is_left_alone(project: Path, run: str) -> None:
    assert problems(project, f"run: {run}") == []


def test_a_lock_file_that_lacks_what_a_script_needs_is_an_error(project: Path) -> None:
    (project / "lock.txt").write_text(GOOD.replace("1.17.0", "1.15"))
    (told,) = problems(project, "run: python /app/x.py, requirements: lock.txt")
    assert "six>=1.16 does not allow six 1.15 of the lock file" in told


def test_the_commands_that_stand_in_and_undo_are_looked_at_too(project: Path) -> None:
    more = "staging: {run: python /app/x.py}, compensate: {run: python /app/x.py}"
    step = f'run: "true", egress: [api.example.com], {more}'
    assert len(problems(project, step)) == 2


def test_what_is_wrong_in_a_lock_file_is_told_there(project: Path) -> None:
    (project / "lock.txt").write_text(f"{GOOD}requests==2.0\n-e .\n")
    told = problems(project, "run: 'true', requirements: lock.txt")
    assert [line.partition(": ")[0] for line in told] == ["lock.txt:2", "lock.txt:3"]


def test_a_lock_file_outside_the_project_is_never_read(project: Path) -> None:
    (project / "link.txt").symlink_to("/etc/passwd")
    (told,) = problems(project, "run: 'true', requirements: link.txt")
    assert "link.txt leaves the project through a symlink" in told
