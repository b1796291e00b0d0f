"""How values turn into each other and compare: GitHub's loose coercion."""

from __future__ import annotations

import math
import re
from typing import Any

Value = Any  # None, bool, float or int, str, list or dict of these

_DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_BASED = re.compile(r"([-+]?)(0x[0-9a-fA-F]{1,40}|0o[0-7]{1,40})")
_LONGEST_NUMBER = 400


class Filtered(list[Any]):
    """The result of ``*``: what follows applies to each item."""


def is_number(value: Value) -> bool:
    """Tell whether it is a number; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_truthy(value: Value) -> bool:
    """Everything but false, 0, NaN, null and empty text is true."""
    if isinstance(value, list | dict):
        return True
    return bool(value) and value == value  # noqa: PLR0124 - NaN differs from itself


def to_number(value: Value) -> float:
    """Return the number that a comparison sees; NaN where there is none."""
    if value is None:
        return 0.0
    if isinstance(value, bool | int | float):
        return _as_float(value)
    return _text_to_number(value.strip()) if isinstance(value, str) else math.nan


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _text_to_number(text: str) -> float:
    if not text:
        return 0.0
    if len(text) > _LONGEST_NUMBER:
        return math.nan
    if _DECIMAL.fullmatch(text):
        return float(text)
    based = _BASED.fullmatch(text)
    if based:
        number = int(based[2], 0)
        return float(-number if based[1] == "-" else number)
    return {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}.get(text, math.nan)


def to_text(value: Value) -> str:
    """Return the text that ``${{ }}`` leaves: ``Array`` and ``Object`` for collections."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return number_to_text(_as_float(value))
    return "Array" if isinstance(value, list) else "Object"


def number_to_text(number: float) -> str:
    """Return fifteen significant digits, without a needless fraction (.NET's G15)."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    text = f"{number:.15g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}E{exponent[0]}{exponent[1:].zfill(2)}"


def equal(left: Value, right: Value) -> bool:
    """Compare loosely: text without case, different kinds as numbers, collections only with themselves."""
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() == right.upper()
    return to_number(left) == to_number(right)


def less(left: Value, right: Value) -> bool:
    """Tell whether ``left`` comes first; False where the two cannot be compared."""
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() < right.upper()
    return to_number(left) < to_number(right)


def item(base: Value, key: Value) -> Value:
    """Return ``base[key]``, null where there is none; names match without case."""
    if isinstance(base, Filtered):
        found = [_child(each, key) for each in base]
        return Filtered(each[0] for each in found if each)
    child = _child(base, key)
    return child[0] if child else None


def _child(base: Value, key: Value) -> tuple[Value] | None:
    if isinstance(base, dict) and not isinstance(key, list | dict):
        return _member(base, to_text(key))
    if isinstance(base, list) and not isinstance(key, list | dict):
        number = to_number(key)
        if 0 <= number < len(base):
            return (base[int(number)],)
    return None


def _member(base: dict[str, Value], name: str) -> tuple[Value] | None:
    if name in base:
        return (base[name],)
    wanted = name.upper()
    return next(((value,) for key, value in base.items() if str(key).upper() == wanted), None)


def every(base: Value) -> Filtered:
    """Return what ``*`` gives: all items, or all values; one level deeper on what ``*`` gave before."""
    if isinstance(base, Filtered):
        return Filtered(child for each in base for child in _children(each))
    return Filtered(_children(base))


def _children(base: Value) -> list[Value]:
    if isinstance(base, dict):
        return list(base.values())
    return list(base) if isinstance(base, list) else []
