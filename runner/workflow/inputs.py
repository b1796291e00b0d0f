"""The values given for a run, typed as the workflow declares them."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.workflow.expressions.values import number_to_text
from runner.workflow.patterns import compile_pattern
from runner.workflow.suggest import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.workflow.model import Input, Workflow

LONGEST = 64 << 10
Value = str | float | bool
_EMPTY: dict[str, Value] = {"number": 0.0, "boolean": False}


def resolve_inputs(model: Workflow, given: Mapping[str, str]) -> dict[str, Value]:
    """Return every declared input's value; raises ``UsageError`` that lists all problems.

    number gives float, boolean gives bool, every other type text.
    """
    problems = [
        f"there is no input {name}" + _hinted(suggest(name, model.inputs))
        for name in given
        if name not in model.inputs
    ]
    values: dict[str, Value] = {}
    for name, declared in model.inputs.items():
        value, wrong = _resolve(declared, given.get(name))
        if wrong:
            problems.append(f"input {name} {wrong}")
        else:
            values[name] = value
    if problems:
        raise UsageError("; ".join(problems), cure="give each value with --input NAME=VALUE")
    return values


def value_problem(declared: Input, value: Value) -> str:
    """Return what is wrong with a value that stands in the file, or nothing."""
    if declared.type == "boolean" and not isinstance(value, bool):
        return "is neither true nor false"
    if declared.type == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return "is no number"
    if declared.type in {"string", "date"} and not isinstance(value, str):
        return "is no text: quote it"
    return _parse(declared, _text(value))[1]


def _resolve(declared: Input, text: str | None) -> tuple[Value, str]:
    if text is not None:
        return _parse(declared, text)
    if declared.default is not None:
        return _parse(declared, _text(declared.default))
    if declared.required is False:
        return _EMPTY.get(declared.type, ""), ""
    return "", "is required"


def _parse(declared: Input, text: str) -> tuple[Value, str]:
    """Return the typed value, and what is wrong with it."""
    if len(text) > LONGEST or "\0" in text:
        return "", "is longer than 64 KiB or holds a NUL"
    if declared.type == "boolean":
        return text == "true", "" if text in {"true", "false"} else "is neither true nor false"
    if declared.type == "number":
        return _number(text)
    return text, _text_problem(declared, text)


def _text_problem(declared: Input, text: str) -> str:
    if declared.type == "choice":
        options = [_text(each) for each in declared.options]
        return (
            "" if text in options else f"is not one of {', '.join(options)}" + _hinted(suggest(text, options))
        )
    if declared.type == "date" and not _is_date(text):
        return "is no date: write it as 2026-10-31"
    if declared.pattern is not None and not compile_pattern(declared.pattern).fullmatch(text):
        return f"does not match {declared.pattern}"
    return ""


def _number(text: str) -> tuple[Value, str]:
    try:
        number = float(text) if text.strip() == text and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    return (number, "") if math.isfinite(number) else (0.0, "is no number")


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_to_text(value)


def _hinted(hint: str) -> str:
    return f" ({hint})" if hint else ""
