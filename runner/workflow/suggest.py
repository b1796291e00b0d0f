"""A "did you mean" for a misspelt word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 200


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``did you mean X?`` for the closest choice, or nothing; looks at 200 choices at most."""
    import difflib  # only a wrong file pays for it

    near = [each for each in choices if abs(len(each) - len(word)) <= 3][:_MOST]  # noqa: PLR2004 - three typos
    found = difflib.get_close_matches(word[:80], near, n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""
