"""The values that a step leaves in ``$RUNNER_OUTPUT``: ``key=value`` lines, ``key<<EOF`` for several."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OUTPUT_FILE = ".runner-output"
LARGEST_FILE = 1 << 20
MOST_VALUES = 1_000
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")


def read_outputs(path: Path, mask: Callable[[bytes], bytes]) -> tuple[dict[str, str], list[str]]:
    """Return the values in the file and, in words, every line that is none; at most 1 MiB, 1,000 values.

    The file is masked as a whole, before keys are taken and lines are cut: part of a secret is no secret
    that a mask would find later.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        return {}, ["$RUNNER_OUTPUT is larger than 1 MiB: none of it was taken"]
    return parse_outputs(mask(data).decode("utf-8", "replace"))


def parse_outputs(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the values of the text and, in words, every line that is none."""
    values: dict[str, str] = {}
    bad: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")
    place = 0
    while place < len(lines):
        number, line = place + 1, lines[place]
        key, value, place = _read_one(lines, place)
        if value is None and line.strip():
            bad.append(f"line {number} of $RUNNER_OUTPUT is no key=value: {line[:60]!r}")
        elif value is not None and key not in values and len(values) >= MOST_VALUES:
            bad.append(f"line {number} of $RUNNER_OUTPUT: only the first {MOST_VALUES} values are taken")
            break
        elif value is not None:
            values[key] = value
    return values, bad


def _read_one(lines: list[str], place: int) -> tuple[str, str | None, int]:
    line = lines[place]
    key, sign, value = line.partition("=")
    block_key, block, delimiter = line.partition("<<")
    if block and len(block_key) < len(key) and _KEY.match(block_key) and delimiter:
        return _read_block(lines, place, block_key, delimiter)
    if not sign or not _KEY.match(key) or "\0" in value:
        return "", None, place + 1
    return key, value, place + 1


def _read_block(lines: list[str], place: int, key: str, delimiter: str) -> tuple[str, str | None, int]:
    try:
        end = lines.index(delimiter, place + 1)
    except ValueError:
        return "", None, place + 1
    value = "\n".join(lines[place + 1 : end])
    return key, None if "\0" in value else value, end + 1
