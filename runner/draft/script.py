"""A script as it lies in its folder: what runs it, and in which sandbox profile."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.draft.page import is_nameable
from runner.errors import UsageError
from runner.planning.tree import left_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

APP = "/app"
_LARGEST = 1 << 20
_SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s+)?)?(?:\S*/)?([A-Za-z0-9_+-]+)(?:\.[0-9]+)*(?:\s|$)")
_PROGRAMS = {"python": "python3", "python3": "python3", "sh": "sh", "dash": "sh", "ash": "sh", "bash": "bash"}
_SUFFIXES = {".py": "python3", ".sh": "sh", ".bash": "bash"}
_IN_SHELL = re.compile(r"(?<![\w./-])(curl|jq|git)(?![\w/-])")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Script:
    """A script: ``program`` runs it in the sandbox ``profile``; ``why`` says how that was decided."""

    path: Path
    text: str
    program: str
    profile: str
    why: str
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of a workflow, and of its step, that may stand for the script."""
        word = _NOT_A_WORD.sub("-", self.path.stem.lower()).strip("-")[:60].strip("-")
        return word if word[:1].isalpha() else f"run-{word}".strip("-")

    @property
    def is_python(self) -> bool:
        """Whether the script is Python's; else it is the shell's."""
        return self.program == "python3"

    @property
    def command(self) -> str:
        """The line that runs the script in its folder."""
        name = self.path.name
        return shlex.join([self.program, f"./{name}" if name.startswith("-") else name, *self.arguments])


def read_script(path: Path, arguments: Sequence[str], profile: str | None = None) -> Script:
    """Return the script that ``path`` leads to; raises ``UsageError`` for what cannot become a workflow."""
    try:
        path = path.resolve(strict=True)
        data = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if data is None or b"\0" in data:
        raise UsageError(f"{path} is no script: larger than 1 MiB, or not text")
    if not is_nameable(path.name) or left_out(path.name):
        raise UsageError(f"{path.name!r} cannot be named in a workflow", cure="rename the script")
    wrong = [each for each in arguments if not each.isprintable() or "${{" in each]
    if wrong:
        raise UsageError(f"the argument {wrong[0]!r} cannot stand in a workflow", cure="pass it by a file")
    text = data.decode("utf-8", "replace")
    program, why = _program(path, text)
    chosen = profile or _profile(program, text)
    why = "--sandbox" if profile else f"{why}{_tools(program, text)}"
    return Script(path, text, program, chosen, why, tuple(arguments))


def _program(path: Path, text: str) -> tuple[str, str]:
    shebang = _SHEBANG.match(text)
    named = re.sub(r"[0-9]+$", "", shebang[1]) if shebang else ""
    if shebang and named in _PROGRAMS:
        return _PROGRAMS[named], f"its first line asks for {named}"
    if not shebang and path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()], f"its name ends in {path.suffix}"
    what = (
        f"its first line asks for {shebang[1]}"
        if shebang
        else "no first line (#!) or suffix says what runs it"
    )
    raise UsageError(
        f"{path}: {what}, and Runner knows Python and the shell",
        cure="write the workflow by hand, with image: for what it needs",
    )


def _profile(program: str, text: str) -> str:
    if program == "python3":
        return "python"
    return "shell" if program == "bash" or _IN_SHELL.search(text) else "minimal"


def _tools(program: str, text: str) -> str:
    found = sorted(set(_IN_SHELL.findall(text))) if program != "python3" else []
    return f", and it names {', '.join(found)}" if found else ""
