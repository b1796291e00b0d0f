"""The shape of the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "runner").rglob("*.py"))
PYTHON = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "workflows").rglob("*.py")])
FORBIDDEN = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)($|_)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home/\w+|work/\w+/|root/\.|Users/\w+)")


def _functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _names(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def test_there_is_source_to_judge() -> None:
    assert len(SOURCES) > 20


def test_no_file_is_longer_than_300_lines() -> None:
    long = {str(file.relative_to(ROOT)): lines for file in PYTHON if (lines := _lines(file)) > 300}
    assert not long


def test_no_file_of_the_init_is_longer_than_400_lines() -> None:
    sources = sorted((ROOT / "runner" / "sandbox" / "init").glob("*.[ch]"))
    assert sources
    assert max(_lines(file) for file in sources) <= 400
    assert sum(_lines(file) for file in sources) <= 1000


def test_no_function_is_longer_than_40_lines() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in PYTHON
        for node in _functions(file)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > 40
    ]
    assert not long


def test_no_function_of_the_product_takes_arbitrary_keywords() -> None:
    loose = [
        f"{file.relative_to(ROOT)} {node.name}"
        for file in SOURCES
        for node in _functions(file)
        if node.args.kwarg
    ]
    assert not loose


def test_names_say_what_a_thing_is() -> None:
    vague = [file.relative_to(ROOT) for file in SOURCES if FORBIDDEN.search(file.stem)]
    vague += [
        f"{file.relative_to(ROOT)} {name}"
        for file in SOURCES
        for name in _names(file)
        if FORBIDDEN.search(_snake(name))
    ]
    assert not vague


def test_no_file_names_a_folder_of_one_machine() -> None:
    texts = [
        *SOURCES,
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "workflows").rglob("*.y*ml"),
    ]
    texts += [ROOT / "Makefile", *(ROOT / ".ci").iterdir()]
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in texts
        if file != Path(__file__).resolve()
        for match in MACHINE_PATH.finditer(file.read_text(encoding="utf-8"))
    ]
    assert not found


def test_secrets_are_revealed_in_two_files_only() -> None:
    revealing = [file.relative_to(ROOT) for file in SOURCES if ".reveal(" in file.read_text(encoding="utf-8")]
    assert len(revealing) <= 2, revealing


def test_no_source_swallows_every_exception_outside_the_edges() -> None:
    edges = {ROOT / "runner" / "observe", ROOT / "runner" / "cli", ROOT / "runner" / "engine" / "watch.py"}
    broad = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCES
        if not edges & {file, *file.parents}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node)
    ]
    assert not broad


def test_a_folder_imports_only_what_stands_above_it() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _is_broad(kind: ast.expr | None) -> bool:
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())
