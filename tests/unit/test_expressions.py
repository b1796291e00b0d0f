"""Expressions have GitHub Actions' semantics."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runner.workflow.expressions import (
    ExpressionError,
    check,
    condition_holds,
    evaluate,
    interpolate,
    references,
    uses_status,
)

CONTEXT: dict[str, Any] = {
    "inputs": {"Name": "World", "count": 3.0, "on": True, "none": None, "list": [1, 2, "Three"]},
    "steps": {"a": {"outputs": {"k": "1"}}, "b": {"outputs": {"k": "2"}}, "c": {"status": "skipped"}},
    "run": {"id": "r1"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("TRUE", True),
        ("0xff", 255.0),
        ("-2.99e2", -299.0),
        ("'it''s'", "it's"),
        ("1 == '1'", True),
        ("null == ''", True),
        ("true == 1", True),
        ("'abc' == 'ABC'", True),
        ("'a' == 0", False),
        ("'' == 0", True),
        ("NaN == NaN", False),
        ("'b' > 'A'", True),
        ("'10' > 9", True),
        ("null >= 0", True),
        ("'x' < 1", False),
        ("!''", True),
        ("!'0'", False),
        ("1 && 'yes'", "yes"),
        ("0 || 'no'", "no"),
        ("false || null", None),
        ("true || nope.x", True),
        ("1 == 1 && 2 == 3 || 4 == 4", True),
        ("!(1 == 2)", True),
        ("inputs.name", "World"),
        ("inputs['NAME']", "World"),
        ("inputs.list[2]", "Three"),
        ("inputs.list['1']", 2),
        ("inputs.list[9]", None),
        ("inputs.list[-1]", None),
        ("inputs.nope.deeper", None),
        ("inputs.name.length", None),
        ("steps.*.outputs.k", ["1", "2"]),
        ("join(steps.*.outputs.k, '+')", "1+2"),
        ("join(inputs.list)", "1,2,Three"),
        ("inputs.list == inputs.list", True),
        ("fromJSON('[1]') == fromJSON('[1]')", False),
        ("contains('Hello', 'ELL')", True),
        ("contains(inputs.list, 'three')", True),
        ("contains(inputs.list, 'thr')", False),
        ("startsWith('Hello', 'he')", True),
        ("endsWith('Hello', 'LO')", True),
        ("format('{0}-{1}-{{}}', 1.0, true)", "1-true-{}"),
        ("fromJSON('{\"a\": [1, 2]}').a[1]", 2),
        ("toJSON(fromJSON('{\"a\":1}'))", '{\n  "a": 1\n}'),
        ("success()", True),
        ("failure()", False),
        ("ALWAYS()", True),
        ("cancelled()", False),
    ],
)
def test_an_expression_has_the_value_it_has_on_github(text: str, value: object) -> None:
    assert evaluate(text, CONTEXT) == value


def test_a_thing_that_is_no_number_becomes_nan() -> None:
    assert evaluate("'x' < 1 || 'x' >= 1", {}) is False
    assert math.isnan(evaluate("NaN", {}))


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a.", 3),
        ("'open", 1),
        ("1 + 2", 3),
        ('"double"', 1),
        ("a = b", 3),
        ("nope()", 1),
        ("1 == nothing", 6),
        ("(1", 3),
        ("contains('a')", 1),
        ("format('{1}', 1)", 1),
        ("format('{', 1)", 1),
        ("fromJSON('{')", 1),
        ("1 2", 3),
        ("__import__('os')", 1),
        ("inputs.__class__.__mro__ == null && nope", 37),
        ("", 1),
        ("(" * 60 + "1" + ")" * 60, 51),
    ],
)
def test_a_wrong_expression_names_its_column(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, {"inputs": {}, "a": {}, "b": {}})
    assert caught.value.column == column


def test_python_attributes_are_not_reachable() -> None:
    assert evaluate("inputs.__class__", CONTEXT) is None
    assert evaluate("inputs.name.upper", CONTEXT) is None


@pytest.mark.parametrize(
    "text",
    [
        "format('" + "{0}" * 3000 + "', toJSON(x))",
        "join(x, format('" + "{0}" * 100 + "', y))",
        "'" + "a" * 30_000 + "'",
        "fromJSON('" + "[" * 9000 + "')",
    ],
)
def test_an_expression_cannot_grow_without_bound(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, {"x": ["y" * 100] * 1000, "y": "z" * 10_000})


def test_interpolation_replaces_each_expression_and_keeps_the_rest() -> None:
    assert interpolate("hi ${{ inputs.name }}, ${{ inputs.count }}${{ '}}' }}!", CONTEXT) == "hi World, 3}}!"
    assert interpolate("${{ inputs.none }}|${{ inputs.list }}|${{ inputs }}", CONTEXT) == "|Array|Object"


def test_an_expression_that_does_not_end_is_an_error_where_it_begins() -> None:
    with pytest.raises(ExpressionError) as caught:
        interpolate("ab ${{ inputs.name", CONTEXT)
    assert caught.value.column == 4


@pytest.mark.parametrize(
    ("text", "status", "holds"),
    [
        ("", "success", True),
        ("", "failure", False),
        ("true", "failure", False),
        ("always()", "cancelled", True),
        ("failure()", "failure", True),
        ("${{ failure() && run.id == 'R1' }}", "failure", True),
        ("!cancelled()", "failure", True),
        ("inputs.count > 5", "success", False),
    ],
)
def test_a_condition_without_a_status_function_implies_success(text: str, status: str, holds: bool) -> None:  # noqa: FBT001
    assert condition_holds(text, CONTEXT, status) is holds


def test_a_condition_with_text_around_its_expression_is_refused() -> None:
    with pytest.raises(ExpressionError, match="always true"):
        condition_holds("${{ false }} && true", CONTEXT, "success")


def test_references_are_dotted_paths_up_to_the_first_computed_key() -> None:
    text = "${{ steps.a.outputs['k'] || steps[inputs.name].x }} and ${{ needs.*.result }}"
    assert references(text) == {"steps.a.outputs.k", "steps", "inputs.name", "needs"}
    assert uses_status("inputs.a && ALWAYS()")
    assert not uses_status("inputs.always")


def test_checking_finds_unknown_contexts_and_functions_before_anything_runs() -> None:
    check("inputs.a && contains(inputs.b, 'x')", frozenset({"inputs"}))
    for text in ("secrets.token", "hashFiles('x')", "contains(1)"):
        with pytest.raises(ExpressionError):
            check(text, frozenset({"inputs"}))
