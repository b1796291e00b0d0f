"""The pure parts of a draft: what is mounted, how large limits are, what a text says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from runner.draft import sizes
from runner.draft.cover import cover
from runner.draft.hints import Hints, hints, named
from runner.draft.script import Script, read_script
from runner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_files_are_mounted_one_by_one() -> None:
    found = cover({"b.csv", "data/a.csv"}, ["b.csv", "data/a.csv", "data/c.csv"], {})
    assert [each.path for each in found] == ["b.csv", "data/a.csv"]


def test_a_folder_of_which_many_files_were_read_is_mounted_whole() -> None:
    files = [f"data/{number}.csv" for number in range(9)]
    found = cover({*files[:7], "x.py"}, [*files, "x.py"], {})
    assert [(each.path, each.why) for each in found] == [
        ("data", "7 of its 9 files were opened"),
        ("x.py", "opened"),
    ]


def test_what_lies_in_a_mounted_folder_is_not_mounted_again() -> None:
    files = [
        *(f"p/{number}.py" for number in range(8)),
        *(f"p/q/{number}.py" for number in range(8)),
        "p/r/x.py",
    ]
    assert [each.path for each in cover(set(files), files, {})] == ["p"]


def test_a_link_is_mounted_where_it_led_to_what_was_read() -> None:
    found = cover(
        {"data/x.csv"}, ["data/x.csv"], {"latest.csv": "data/x.csv", "d": "data", "other": "nowhere"}
    )
    assert [each.path for each in found] == ["d/x.csv", "data/x.csv", "latest.csv"]


@pytest.mark.parametrize(
    ("peak", "limit"),
    [(0, "128MiB"), (10 * MIB, "128MiB"), (70 * MIB, "192MiB"), (210 * MIB, "448MiB"), (600 * MIB, "1280MiB"),
     (2048 * MIB, "4096MiB")],
)  # fmt: skip
def test_memory_is_doubled_and_rounded_up(peak: int, limit: str) -> None:
    assert sizes.memory(peak) == limit


@pytest.mark.parametrize(("took", "limit"), [(0.1, "30s"), (21, "50s"), (200, "7m"), (5000, "3h")])
def test_time_is_doubled_and_rounded_up(took: float, limit: str) -> None:
    assert sizes.seconds(took) == limit


def test_processes_are_doubled_and_rounded_up() -> None:
    assert [sizes.processes(peak) for peak in (1, 8, 9, 23)] == [16, 16, 24, 48]


def script(folder: Path, name: str, text: str, *arguments: str) -> Script:
    (folder / name).write_text(text)
    return read_script(folder / name, arguments)


@pytest.mark.parametrize(
    ("name", "text", "program", "profile"),
    [
        ("a.py", "", "python3", "python"),
        ("a", "#!/usr/bin/env python3\n", "python3", "python"),
        ("a", "#!/usr/bin/python3.11 -u\n", "python3", "python"),
        ("a.sh", "echo hi\n", "sh", "minimal"),
        ("a.sh", "curl -fsS https://x.example\n", "sh", "shell"),
        ("a.sh", "echo curly\n", "sh", "minimal"),
        ("a.py", "#!/bin/sh\n", "sh", "minimal"),
        ("a.sh", "#!/usr/bin/env bash\n", "bash", "shell"),
    ],
)
def test_first_line_or_suffix_say_what_runs_it(
    tmp_path: Path, name: str, text: str, program: str, profile: str
) -> None:
    found = script(tmp_path, name, text)
    assert (found.program, found.profile) == (program, profile)


@pytest.mark.parametrize(
    ("name", "text"), [("a.js", ""), ("a", "#!/usr/bin/env node\n"), ("a", "x"), ("a.py", "\0")]
)
def test_what_no_profile_runs_is_refused_in_words(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UsageError):
        script(tmp_path, name, text)


@pytest.mark.parametrize("argument", ["${{ inputs.x }}", "a\nb", "\x1b"])
def test_an_argument_that_cannot_be_written_is_refused(tmp_path: Path, argument: str) -> None:
    with pytest.raises(UsageError):
        script(tmp_path, "a.py", "", argument)


@pytest.mark.parametrize("stem", ["Fetch It", "9", "-x", "ünï", "___", "a" * 150])
def test_any_script_has_a_name_that_a_workflow_may_have(tmp_path: Path, stem: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]|[a-z]", script(tmp_path, f"{stem}.py", "").name)


def said(folder: Path, name: str, text: str) -> Hints:
    return hints(script(folder, name, text), ["beside.py", "package/__init__.py"])


def test_a_python_script_says_what_it_names(tmp_path: Path) -> None:
    found = said(
        tmp_path,
        "a.py",
        "import os, requests, beside, package.x, json, socket\nfrom yaml import load\n"
        "os.environ['API_KEY']; os.getenv('MONTH'); os.environ['OWN'] = '1'; os.environ.get('PATH')\n"
        "requests.get('https://Api.Example.com/x')\nrequests.post('https://b.example:8443')\n",
    )
    assert [(each.word, each.line) for each in found.variables] == [("API_KEY", 3), ("MONTH", 3)]
    assert [each.word for each in found.credentials] == ["API_KEY"]
    assert [each.word for each in found.modules] == ["requests", "yaml"]
    assert [each.word for each in found.direct] == ["socket"]
    assert ([each.word for each in found.reading], [each.word for each in found.writing]) == (
        ["requests.get"],
        ["requests.post"],
    )
    assert found.hosts == ("api.example.com", "b.example")


def test_a_shell_script_says_what_it_names(tmp_path: Path) -> None:
    found = said(
        tmp_path,
        "a.sh",
        'OWN=1\n# $COMMENT\necho "$OWN $TOKEN ${MONTH:-x}"\nfor X in a; do echo $X; done\n'
        "curl -fsS \\\n  https://a.example/x\ncurl -X POST https://b.example -d x\nssh host\n",
    )
    assert [(each.word, each.line) for each in found.variables] == [("MONTH", 3), ("TOKEN", 3)]
    assert [each.line for each in found.reading] == [5]
    assert [each.line for each in found.writing] == [7]
    assert [each.word for each in found.direct] == ["ssh"]
    assert found.hosts == ("a.example", "b.example")


def test_only_what_is_there_and_outside_is_a_path_of_the_host(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.csv", tmp_path / "project" / "inside.csv"
    inside.parent.mkdir()
    for path in (outside, inside):
        path.write_text("")
    found = said(
        inside.parent,
        "a.py",
        f"x = [{str(outside)!r}, {str(inside)!r}, '/no/such/file', '/dev/null', 'a\\0']",
    )
    assert found.host_paths(inside.parent) == (str(outside),)


def test_what_the_text_names_in_its_folder_is_known() -> None:
    files = ["data/in/rows.csv", "a.py", "b.txt"]
    assert named(["data/", "./b.txt", "", "c.txt", "/b.txt", "data/in/rows.csv", "."], files) == (
        "b.txt",
        "data",
        "data/in/rows.csv",
    )


@pytest.mark.parametrize("text", ["def", "x" * 100_000, "(" * 5000, "\ud800"])
def test_a_text_that_cannot_be_parsed_says_nothing(text: str) -> None:
    from runner.draft.python_hints import python_hints

    assert python_hints(text, frozenset()) in (Hints(), Hints(strings=()))
