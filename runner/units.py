"""Durations and sizes as authors write them, turned into seconds and bytes.

A duration is ``500ms``, ``30s``, ``5m``, ``1h30m``, ``2d``; a size is ``256MiB`` (powers of 1024) or
``1GB`` (powers of 1000). A bare number is refused, save 0: nobody can tell what ``timeout: 5`` means.
"""

from __future__ import annotations

import re

DURATION_PATTERN = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$"
SIZE_PATTERN = r"^(0|[0-9]+(\.[0-9]+)?(B|[kKMGT]B|[KMGT]iB))$"
LONGEST = 366 * 86400.0
LARGEST = 1 << 50

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|[kKMGT]B|[KMGT]iB)")
_POWERS = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_TOO_LONG = 40


def parse_duration(value: object) -> float:
    """Return the seconds of a duration such as ``1h30m``; raises ``ValueError`` in plain words."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str) or len(value) > _TOO_LONG or not re.fullmatch(DURATION_PATTERN, value):
        raise ValueError(
            f"{_shown(value)} is no duration: write a number with ms, s, m, h or d, as in 90s or 1h30m"
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    if seconds > LONGEST:
        raise ValueError(f"{value} is longer than a year")
    return seconds


def shown_duration(seconds: float) -> str:
    """Return seconds as a person writes them, in the largest unit that divides them."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def parse_size(value: object) -> int:
    """Return the bytes of a size such as ``256MiB`` or ``1GB``; raises ``ValueError`` in plain words."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) and len(value) <= _TOO_LONG else None
    if not match:
        raise ValueError(f"{_shown(value)} is no size: write a number with its unit, as in 256MiB or 1GB")
    number, unit = match.groups()
    base = 1024 if unit.endswith("iB") else 1000
    size = int(float(number) * base ** _POWERS[unit[0].upper()])
    if size > LARGEST:
        raise ValueError(f"{value} is more than a machine has")
    return size


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _TOO_LONG else f"{text[:_TOO_LONG]}…"
