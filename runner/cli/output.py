"""What commands print: one JSON value on one line, plain tables, and text that cannot steer a terminal."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def harmless(text: str) -> str:
    """Return text with control characters shown as escapes, so that a step cannot steer the terminal."""
    return text.translate(_CONTROLS)


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON value on one line on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, sort_keys=False) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, columns aligned."""
    table = [list(map(harmless, row)) for row in (header, *rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def is_unread(descriptor: int, seconds: float | None) -> bool:
    """Whether nobody can read a pipe any more, looked at for ``seconds`` (None: until it is so).

    A terminal that hangs up sends a signal: for what is no pipe the answer is no, at once.
    """
    import select

    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are told without asking
    found = poll.poll(None if seconds is None else seconds * 1000)
    return any(told & (select.POLLERR | select.POLLHUP) for _, told in found)
