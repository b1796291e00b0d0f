"""An expression's text as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.workflow.expressions.errors import ExpressionError

LONGEST_TEXT = 21_000

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[-+]?(?:0x[0-9a-fA-F]+|0o[0-7]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.]))
  | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
  | (?P<string>'(?:[^']|'')*')
  | (?P<sign><=|>=|==|!=|&&|\|\||[()\[\].,!<>*])
    """,
    re.VERBOSE,
)
_LONGEST_NUMBER = 64


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is number, name, string, sign or end; ``column`` counts from 1."""

    kind: str
    text: str
    column: int


def tokenize(text: str) -> list[Token]:
    """Return the tokens with an ``end`` at the end; raises ``ExpressionError`` at the first odd character."""
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(f"the expression is longer than {LONGEST_TEXT} characters")
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise _odd(text, place)
        kind = str(match.lastgroup)
        if kind == "number" and len(match[0]) > _LONGEST_NUMBER:
            raise ExpressionError("the number is too long", place + 1)
        if kind != "space":
            tokens.append(Token(kind, match[0], place + 1))
        place = match.end()
    return [*tokens, Token("end", "", len(text) + 1)]


def _odd(text: str, place: int) -> ExpressionError:
    char = text[place]
    if char == "'":
        return ExpressionError("the text that begins here has no closing '", place + 1)
    if char == '"':
        return ExpressionError("text in an expression stands in single quotes: 'like this'", place + 1)
    if char in "+-/%":
        return ExpressionError(f"there is no arithmetic in expressions: {char}", place + 1)
    if char in "=&|":
        return ExpressionError(f"{char} stands alone: write {char * 2}", place + 1)
    return ExpressionError(f"unexpected {char!r}", place + 1)
