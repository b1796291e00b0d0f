"""What a shell script's text says, by its words; nothing of it is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runner.draft.hints import Hints, places, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

_USED = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)")
_SET = re.compile(r"(?:^|[\s;&|(])(?:export\s+|local\s+|readonly\s+)?([A-Z_][A-Z0-9_]*)=")
_TAKEN = re.compile(r"(?:^|[\s;&|(])(?:read(?:\s+-\w+)*|for|getopts\s+\S+)\s+([A-Z_][A-Z0-9_]*)")
_CURL = re.compile(r"(?<![\w./-])(?:curl|wget)(?![\w/-])")
_WRITES = re.compile(
    r"-X\s*['\"]?(?:POST|PUT|PATCH|DELETE)|--request[ =]['\"]?(?:POST|PUT|PATCH|DELETE)"
    r"|\s(?:-d|-F|-T|--data\S*|--json|--form|--upload-file|--post-data|--post-file)(?=[\s='\"])"
)
_DIRECT = re.compile(
    r"(?:^|[\s;&|(])(ssh|scp|sftp|nc|ncat|telnet|ping|dig|nslookup|psql|mysql|redis-cli|ftp)(?=\s)"
)
_WORD = re.compile(r"[A-Za-z0-9._/@:%+-]*[./][A-Za-z0-9._/@:%+-]*")
_MOST_WORDS = 2_000


def shell_hints(text: str) -> Hints:
    """Return what the text says."""
    lines = list(_lines(text))
    own = {name for _, line in lines for name in (*_SET.findall(line), *_TAKEN.findall(line))}
    used = ((name, number) for number, line in lines for name in _USED.findall(line) if name not in own)
    asking = [(number, line) for number, line in lines if _CURL.search(line)]
    return Hints(
        variables=variables(used),
        reading=places((_first(line), number) for number, line in asking if not _WRITES.search(line)),
        writing=places((_first(line), number) for number, line in asking if _WRITES.search(line)),
        direct=places((name, number) for number, line in lines for name in _DIRECT.findall(line)),
        strings=tuple(sorted({word for _, line in lines for word in _WORD.findall(line)})[:_MOST_WORDS]),
    )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers, those that go on as one, without comments."""
    whole, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") and not whole:
            continue
        first = first if whole else number
        whole += line
        if whole.endswith("\\"):
            whole = f"{whole[:-1]} "
            continue
        yield first, whole
        whole = ""
    if whole:
        yield first, whole


def _first(line: str) -> str:
    found = _CURL.search(line)
    return found[0] if found else ""
