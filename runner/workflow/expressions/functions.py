"""The functions of expressions; names compare without case.

The status functions (success, failure, always, cancelled) depend on the run and stand in ``evaluator``.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from runner.workflow.expressions.errors import ExpressionError
from runner.workflow.expressions.values import equal, is_number, number_to_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_RESULT = 1 << 20
STATUS = frozenset({"success", "failure", "always", "cancelled"})
_DEEPEST_JSON = 100
_PIECE = re.compile(r"\{\{|\}\}|\{([0-9]{1,3})\}|[{}]")
_DEEPER = (list, dict)


def _contains(search: Any, wanted: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(search, list):
        return any(equal(each, wanted) for each in search)
    if isinstance(search, dict) or isinstance(wanted, _DEEPER):
        return False
    return to_text(wanted).upper() in to_text(search).upper()


def _starts_with(text: Any, start: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(text, _DEEPER) or isinstance(start, _DEEPER):
        return False
    return to_text(text).upper().startswith(to_text(start).upper())


def _ends_with(text: Any, end: Any) -> bool:  # noqa: ANN401 - any JSON value
    if isinstance(text, _DEEPER) or isinstance(end, _DEEPER):
        return False
    return to_text(text).upper().endswith(to_text(end).upper())


def _format(pattern: Any, *values: Any) -> str:  # noqa: ANN401 - any JSON value
    pieces: list[str] = []
    size, place, text = 0, 0, to_text(pattern)
    for match in _PIECE.finditer(text):
        piece = text[place : match.start()] + _replacement(match, values)
        size, place = size + len(piece), match.end()
        if size > LONGEST_RESULT:
            raise ExpressionError("format makes a text longer than 1 MiB")
        pieces.append(piece)
    return "".join([*pieces, text[place:]])


def _replacement(match: re.Match[str], values: tuple[Any, ...]) -> str:
    if match[0] in {"{{", "}}"}:
        return match[0][0]
    if match[1] is None:
        raise ExpressionError(f"format: {match[0]} stands alone: write {match[0] * 2} for the character")
    number = int(match[1])
    if number >= len(values):
        raise ExpressionError(f"format: {match[0]} has no value")
    return to_text(values[number])


def _join(items: Any, separator: Any = ",") -> str:  # noqa: ANN401 - any JSON value
    between = to_text(separator)
    texts = [to_text(each) for each in items] if isinstance(items, list) else [to_text(items)]
    if sum(map(len, texts)) + len(between) * len(texts) > LONGEST_RESULT:
        raise ExpressionError("join makes a text longer than 1 MiB")
    return between.join(texts)


def _to_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        return json.dumps(_plain(value, 0), indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"toJSON: {error}") from None


def _plain(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if depth > _DEEPEST_JSON:
        raise ExpressionError(f"the value is nested deeper than {_DEEPEST_JSON}")
    if isinstance(value, dict):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else _finite(value)  # noqa: PLR2004 - G15
    return value


def _finite(number: float) -> float | str:
    return number if math.isfinite(number) else number_to_text(number)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _from_json(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    text = to_text(value)
    if len(text) > LONGEST_RESULT:
        raise ExpressionError("fromJSON: the text is longer than 1 MiB")
    try:
        return _plain(json.loads(text, parse_int=float, parse_constant=_no_constant), 0)
    except (ValueError, RecursionError):
        raise ExpressionError("fromJSON: the text is not JSON") from None


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "contains": (_contains, 2, 2),
    "startswith": (_starts_with, 2, 2),
    "endswith": (_ends_with, 2, 2),
    "format": (_format, 1, 100),
    "join": (_join, 1, 2),
    "tojson": (_to_json, 1, 1),
    "fromjson": (_from_json, 1, 1),
}


def check_call(name: str, count: int, column: int) -> None:
    """Raise ``ExpressionError`` for an unknown function or a wrong number of arguments."""
    if name not in FUNCTIONS and name not in STATUS:
        raise ExpressionError(f"there is no function {name}", column)
    least, most = (0, 0) if name in STATUS else FUNCTIONS[name][1:]
    if not least <= count <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ExpressionError(f"{name} takes {wanted} arguments, not {count}", column)


def weight(value: Any) -> int:  # noqa: ANN401 - any JSON value
    """Return how much a result counts against an expression's budget."""
    return len(value) if isinstance(value, str | list | dict) else int(is_number(value))
