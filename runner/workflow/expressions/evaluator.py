"""A tree over a context of plain values; no way leads to a Python object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.workflow.expressions.errors import ExpressionError
from runner.workflow.expressions.functions import FUNCTIONS, STATUS, check_call, weight
from runner.workflow.expressions.parser import Call, Context, Index, Literal, Node, Operation, parse
from runner.workflow.expressions.values import equal, every, is_truthy, item, less

if TYPE_CHECKING:
    from collections.abc import Mapping

BUDGET = 8 << 20


def evaluate(text: str, context: Mapping[str, Any], status: str = "success") -> Any:  # noqa: ANN401 - JSON
    """Return the value of an expression (without ``${{ }}``).

    ``context`` maps lower-case roots to JSON-like values; ``status`` is success, failure or cancelled.
    Raises ``ExpressionError``, and nothing else, for wrong or too costly expressions.
    """
    return run(parse(text), context, status)


def run(node: Node, context: Mapping[str, Any], status: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a parsed expression."""
    return _Evaluation(context, status).value(node)


@dataclass(slots=True)
class _Evaluation:
    context: Mapping[str, Any]
    status: str
    spent: int = field(default=0)

    def value(self, node: Node) -> Any:  # noqa: ANN401 - any JSON value
        result = self._value(node)
        self.spent += 1 + (weight(result) if isinstance(node, Call | Index) else 0)
        if self.spent > BUDGET:
            raise ExpressionError("the expression makes too much data", node.column)
        return result

    def _value(self, node: Node) -> Any:  # noqa: ANN401 - any JSON value
        match node:
            case Literal():
                return node.value
            case Context():
                return self._root(node)
            case Index():
                base = self.value(node.base)
                return every(base) if node.key is None else item(base, self.value(node.key))
            case Call():
                return self._call(node)
            case Operation():
                return self._operate(node)

    def _root(self, node: Context) -> Any:  # noqa: ANN401 - any JSON value
        if node.name not in self.context:
            known = ", ".join(sorted(self.context))
            raise ExpressionError(f"there is no context {node.name} here (known: {known})", node.column)
        return self.context[node.name]

    def _call(self, node: Call) -> Any:  # noqa: ANN401 - any JSON value
        check_call(node.name, len(node.args), node.column)
        if node.name in STATUS:
            return node.name in {"always", self.status}
        args = [self.value(arg) for arg in node.args]
        for arg in args:
            self.spent += weight(arg)
        try:
            return FUNCTIONS[node.name][0](*args)
        except ExpressionError as error:
            raise ExpressionError(error.message, node.column) from None

    def _operate(self, node: Operation) -> Any:  # noqa: ANN401 - any JSON value
        if node.sign in {"||", "&&"}:
            return self._choose(node)
        values = [self.value(operand) for operand in node.operands]
        self.spent += sum(map(weight, values))
        return not is_truthy(values[0]) if node.sign == "!" else _compare(node.sign, values[0], values[1])

    def _choose(self, node: Operation) -> Any:  # noqa: ANN401 - any JSON value
        result = None
        for operand in node.operands:
            result = self.value(operand)
            if is_truthy(result) == (node.sign == "||"):
                break
        return result


def _compare(sign: str, left: Any, right: Any) -> bool:  # noqa: ANN401 - any JSON value
    if sign in {"==", "!="}:
        return equal(left, right) == (sign == "==")
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return False
    if sign in {"<", ">"}:
        return less(left, right) if sign == "<" else less(right, left)
    return equal(left, right) or (less(left, right) if sign == "<=" else less(right, left))
