"""Tokens as a tree, by precedence: ``||``, ``&&``, ``== !=``, ``< <= > >=``, ``!``, dot and index."""

from __future__ import annotations

from dataclasses import dataclass

from runner.workflow.expressions.errors import ExpressionError
from runner.workflow.expressions.lexer import Token, tokenize
from runner.workflow.expressions.values import to_number

DEEPEST = 50
LEVELS: tuple[tuple[str, ...], ...] = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))
_WORDS: dict[str, bool | float | None] = {
    "true": True,
    "false": False,
    "null": None,
    "nan": float("nan"),
    "infinity": float("inf"),
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written."""

    value: str | float | bool | None
    column: int


@dataclass(frozen=True, slots=True)
class Context:
    """A root such as ``inputs``, in lower case."""

    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Index:
    """``base.key`` or ``base[key]``; a key of None is ``*``."""

    base: Node
    key: Node | None
    column: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, its name in lower case."""

    name: str
    args: tuple[Node, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator over its operands: one for ``!``, two or more for the others."""

    sign: str
    operands: tuple[Node, ...]
    column: int


Node = Literal | Context | Index | Call | Operation


def parse(text: str) -> Node:
    """Return the tree of an expression; raises ``ExpressionError`` with a column."""
    parser = _Parser(tokenize(text))
    node = parser.binary(0)
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self.depth = 0

    @property
    def here(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.here
        self.place += 1
        return token

    def sign(self, *texts: str) -> bool:
        return self.here.kind == "sign" and self.here.text in texts

    def expect(self, text: str) -> None:
        if not self.sign(text):
            raise self.unexpected(f"expected {text}")
        self.take()

    def expect_end(self) -> None:
        if self.here.kind != "end":
            raise self.unexpected("expected an operator or the end")

    def unexpected(self, wanted: str) -> ExpressionError:
        found = "the expression ends" if self.here.kind == "end" else f"found {self.here.text}"
        return ExpressionError(f"{wanted}, but {found}", self.here.column)

    def binary(self, level: int) -> Node:
        if level == len(LEVELS):
            return self.unary()
        node = self.binary(level + 1)
        if level < 2:  # noqa: PLR2004 - || and && take any number of operands, so that a chain stays flat
            return self.chain(node, level)
        count = 0
        while self.sign(*LEVELS[level]):
            token = self.take()
            count += 1
            self.limit(count, token)
            node = Operation(token.text, (node, self.binary(level + 1)), token.column)
        return node

    def chain(self, first: Node, level: int) -> Node:
        operands, column = [first], self.here.column
        while self.sign(*LEVELS[level]):
            self.take()
            operands.append(self.binary(level + 1))
        return Operation(LEVELS[level][0], tuple(operands), column) if len(operands) > 1 else first

    def limit(self, depth: int, token: Token) -> None:
        if depth > DEEPEST:
            raise ExpressionError(f"the expression is nested deeper than {DEEPEST}", token.column)

    def unary(self) -> Node:
        self.depth += 1
        self.limit(self.depth, self.here)
        if self.sign("!"):
            token = self.take()
            node: Node = Operation("!", (self.unary(),), token.column)
        else:
            node = self.postfix(self.primary())
        self.depth -= 1
        return node

    def primary(self) -> Node:
        token = self.here
        if token.kind == "end":
            raise self.unexpected("expected a value")
        self.take()
        if token.kind == "number":
            return Literal(to_number(token.text), token.column)
        if token.kind == "string":
            return Literal(token.text[1:-1].replace("''", "'"), token.column)
        if token.kind == "name":
            return self.named(token)
        if token.text == "(":
            node = self.binary(0)
            self.expect(")")
            return node
        raise ExpressionError(f"expected a value, but found {token.text}", token.column)

    def named(self, token: Token) -> Node:
        name = token.text.lower()
        if self.sign("("):
            return Call(name, self.arguments(), token.column)
        if name in _WORDS:
            return Literal(_WORDS[name], token.column)
        return Context(name, token.column)

    def arguments(self) -> tuple[Node, ...]:
        self.expect("(")
        args: list[Node] = []
        while not self.sign(")"):
            if args:
                self.expect(",")
            args.append(self.binary(0))
        self.take()
        return tuple(args)

    def postfix(self, node: Node) -> Node:
        count = 0
        while self.sign(".", "["):
            token = self.take()
            count += 1
            self.limit(count, token)
            node = Index(node, self.dotted() if token.text == "." else self.bracketed(), token.column)
        return node

    def dotted(self) -> Node | None:
        token = self.here
        if self.sign("*"):
            self.take()
            return None
        if token.kind != "name":
            raise self.unexpected("expected a name after the dot")
        self.take()
        return Literal(token.text, token.column)

    def bracketed(self) -> Node | None:
        if self.sign("*"):
            self.take()
            key = None
        else:
            key = self.binary(0)
        self.expect("]")
        return key
