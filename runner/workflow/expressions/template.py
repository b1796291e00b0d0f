"""Texts that hold ``${{ }}``, and conditions, which may be written with or without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.workflow.expressions.errors import ExpressionError
from runner.workflow.expressions.evaluator import run
from runner.workflow.expressions.functions import LONGEST_RESULT, STATUS, check_call
from runner.workflow.expressions.parser import Call, Context, Index, Literal, Node, Operation, parse
from runner.workflow.expressions.values import is_truthy, to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OPEN, CLOSE = "${{", "}}"
LONGEST_TEMPLATE = 256 << 10


def split(text: str) -> Iterator[tuple[str, Node | None]]:
    """Yield the pieces of a text in turn: ``(literal, None)`` or ``(source, tree)``."""
    if len(text) > LONGEST_TEMPLATE:
        raise ExpressionError("the text around an expression is longer than 256 KiB")
    place = 0
    while (start := text.find(OPEN, place)) >= 0:
        if start > place:
            yield text[place:start], None
        end = _close(text, start)
        source = text[start + len(OPEN) : end]
        yield source, _parse_at(source, start + len(OPEN))
        place = end + len(CLOSE)
    if place < len(text):
        yield text[place:], None


def _close(text: str, start: int) -> int:
    quoted = False
    for place in range(start + len(OPEN), len(text)):
        if text[place] == "'":
            quoted = not quoted
        elif not quoted and text.startswith(CLOSE, place):
            return place
    raise ExpressionError("${{ has no }}", start + 1)


def _parse_at(source: str, offset: int) -> Node:
    try:
        return parse(source)
    except ExpressionError as error:
        raise ExpressionError(error.message, error.column + offset) from None


def interpolate(text: str, context: Mapping[str, Any]) -> str:
    """Return the text with every ``${{ }}`` replaced by its value; at most 1 MiB."""
    pieces: list[str] = []
    size = 0
    for source, node in split(text):
        pieces.append(source if node is None else to_text(run(node, context, "success")))
        size += len(pieces[-1])
        if size > LONGEST_RESULT:
            raise ExpressionError("the text becomes longer than 1 MiB")
    return "".join(pieces)


def parse_condition(text: str) -> Node:
    """Return the tree of an ``if``: the whole of it in one ``${{ }}``, or none at all."""
    stripped = text.strip()
    if OPEN not in stripped:
        return parse(text)
    pieces = list(split(stripped))
    if len(pieces) != 1 or pieces[0][1] is None:
        raise ExpressionError(
            "write the whole condition in one ${{ }}, or none: around it, it is always true"
        )
    return pieces[0][1]


def condition_holds(text: str, context: Mapping[str, Any], status: str) -> bool:
    """Tell whether a step's ``if`` lets it run; without a status function it means ``success() && …``."""
    if not text.strip():
        return status == "success"
    node = parse_condition(text)
    if not _status_calls(node) and status != "success":
        return False
    return is_truthy(run(node, context, status))


def uses_status(text: str) -> bool:
    """Tell whether a condition or a text calls a status function."""
    return any(_status_calls(node) for node in _trees(text))


def references(text: str) -> set[str]:
    """Return the dotted paths that a condition or a text with ``${{ }}`` reads: ``steps.a.outputs.b``.

    A path ends where the expression computes a key.
    """
    return {path for node in _trees(text) for path in _paths(node)}


def check(text: str, roots: frozenset[str]) -> None:
    """Raise ``ExpressionError`` for wrong syntax, an unknown function or a context not in ``roots``."""
    for tree in _trees(text):
        for node in _walk(tree):
            if isinstance(node, Call):
                check_call(node.name, len(node.args), node.column)
            if isinstance(node, Context) and node.name not in roots:
                known = ", ".join(sorted(roots))
                raise ExpressionError(f"there is no context {node.name} here (known: {known})", node.column)


def _trees(text: str) -> list[Node]:
    if OPEN in text:
        return [node for _, node in split(text) if node is not None]
    return [parse_condition(text)] if text.strip() else []


def _status_calls(tree: Node) -> bool:
    return any(isinstance(node, Call) and node.name in STATUS for node in _walk(tree))


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Index():
            return (node.base,) if node.key is None else (node.base, node.key)
        case Call():
            return node.args
        case Operation():
            return node.operands
        case _:
            return ()


def _walk(tree: Node) -> Iterator[Node]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(_children(node))


def _paths(tree: Node) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Index | Context):
            waiting.extend(_children(node))
            continue
        names, computed = _path(node)
        waiting.extend(computed)
        if names:
            yield ".".join(names)


def _path(node: Index | Context) -> tuple[list[str], list[Node]]:
    keys: list[Node | None] = []
    base: Node = node
    while isinstance(base, Index):
        keys.append(base.key)
        base = base.base
    computed: list[Node] = [key for key in keys if key is not None and not isinstance(key, Literal)]
    if not isinstance(base, Context):
        return [], [*computed, base]
    names = [base.name]
    for key in reversed(keys):
        if not isinstance(key, Literal):
            break
        names.append(to_text(key.value))
    return names, computed
