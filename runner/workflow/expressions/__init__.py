"""GitHub Actions expressions, evaluated over plain JSON-like values and nothing else.

Source of the semantics: docs.github.com, "Evaluate expressions in workflows and actions".
Reading order: lexer, parser, values, functions, evaluator, template.
"""

from runner.workflow.expressions.errors import ExpressionError
from runner.workflow.expressions.evaluator import evaluate
from runner.workflow.expressions.template import check, condition_holds, interpolate, references, uses_status
from runner.workflow.expressions.values import is_truthy

__all__ = [
    "ExpressionError",
    "check",
    "condition_holds",
    "evaluate",
    "interpolate",
    "is_truthy",
    "references",
    "uses_status",
]
