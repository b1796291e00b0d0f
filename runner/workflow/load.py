"""A workflow file from its bytes to a checked model; every problem at once, each with line and column."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runner.errors import Problem, WorkflowError
from runner.workflow.file import Unreadable, content_of, project_of
from runner.workflow.lint import lint
from runner.workflow.lint.source import Source
from runner.workflow.model import Workflow
from runner.workflow.nodes import Document, Finding, Refused, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")
_STRUCTURE = frozenset({"steps", "finally", "out", "inputs", "data", "secrets", "strategy", "in", "needs"})


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow without errors; ``positions`` maps a path of keys to its line and column.

    ``sha256`` (hex) is of the bytes that the model was made of.
    """

    model: Workflow
    path: Path
    project: Path
    warnings: tuple[Problem, ...]
    positions: Mapping[tuple[str | int, ...], tuple[int, int]]
    sha256: str


def load(path: Path) -> LoadedWorkflow:
    """Return the workflow of a file; raises ``WorkflowError`` with every problem found."""
    try:
        raw = content_of(path)
        document = read(_decoded(raw))
    except Unreadable as error:
        raise WorkflowError([Problem(str(path), *error.place, error.message)]) from None
    except Refused as refused:
        raise WorkflowError([_problem(path, refused.finding)]) from None
    findings = list(document.findings)
    model = _model(document, findings)
    project = project_of(path)
    problems = [_problem(path, each) for each in findings]
    if model is not None:
        problems += lint(Source(model, document, path, project))
    if any(each.severity == "error" for each in problems):
        raise WorkflowError(problems)
    assert model is not None  # noqa: S101 - without a model there is a finding
    digest = hashlib.sha256(raw).hexdigest()
    return LoadedWorkflow(model, path, project, tuple(sorted(problems)), document.values, digest)


def _decoded(raw: bytes) -> str:
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        raise Refused(Finding(_end_of(before), "the file is not UTF-8")) from None
    odd = _CONTROL.search(text)
    if odd:
        name = "a NUL" if odd[0] == "\0" else f"the control character U+{ord(odd[0]):04X}"
        raise Refused(Finding(_end_of(text[: odd.start()]), f"the file holds {name}"))
    return text


def _end_of(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _model(document: Document, findings: list[Finding]) -> Workflow | None:
    """Return the model; where only leaves are wrong, the model without them: the rest is checked too."""
    if not isinstance(document.data, dict):
        findings.append(Finding((1, 1), "a workflow file is a mapping: name, steps"))
        return None
    try:
        return Workflow.model_validate(document.data)
    except ValidationError as error:
        from runner.workflow.words import known_path, translate  # only a wrong file pays for it

        findings += translate(error, document)
        paths = [known_path(document, each["loc"]) for each in error.errors(include_url=False)]
        if not all(_droppable(each) for each in paths):
            return None
    for each in paths:
        _drop(document.data, each)
    document.data.setdefault("name", "unnamed")
    try:
        return Workflow.model_validate(document.data)
    except ValidationError:
        return None


def _droppable(path: tuple[str | int, ...]) -> bool:
    inner = path[2:] if path[:1] in {("steps",), ("finally",)} else path
    return bool(inner) and not _STRUCTURE.intersection(inner) and path[-1] != "run"


def _drop(data: Any, path: tuple[str | int, ...]) -> None:  # noqa: ANN401 - any JSON value
    for part in path[:-1]:
        if isinstance(part, int) or not isinstance(data, dict) or part not in data:
            return
        data = data[part]
    if isinstance(data, dict):
        data.pop(path[-1], None)


def _problem(path: Path, finding: Finding) -> Problem:
    return Problem(str(path), *finding.place, finding.message, finding.hint)
