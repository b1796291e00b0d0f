"""Regular expressions that an author wrote, matched in linear time (RE2): none can hang the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2


def compile_pattern(pattern: str) -> re2._Regexp:
    """Return the compiled pattern; raises ``ValueError`` in plain words."""
    import re2  # most workflows have no pattern

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        words = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error
        raise ValueError(f"the pattern is no regular expression (RE2): {words}") from None
