"""Whatever an author writes, an expression gives a value or its own error, and ends."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.workflow.expressions import (
    ExpressionError,
    condition_holds,
    evaluate,
    interpolate,
    is_truthy,
    references,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ANY = st.recursive(
    PLAIN | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        "inputs",
        "steps",
        ".",
        "[",
        "]",
        "(",
        ")",
        "!",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        ",",
        "*",
        "'a'",
        "''",
        "1",
        "-0x1F",
        "1e9",
        "true",
        "null",
        "NaN",
        "x",
        "fromJSON",
        "toJSON",
        "contains",
        "format",
        "join",
        "startsWith",
        "success",
        "always",
        "${{",
        "}}",
        "'{0}'",
        "'[1]'",
        "'",
        '"',
        "+",
        "é",
    ]
)
SOUP = st.lists(PIECES, max_size=25).map(" ".join) | st.lists(PIECES, max_size=25).map("".join) | st.text()


@given(text=SOUP, value=ANY)
@settings(max_examples=300, deadline=2000)
def test_nothing_but_its_own_error_comes_out_of_an_expression(text: str, value: object) -> None:
    context = {"inputs": value, "steps": {"a": value}, "x": value}
    for call in (
        lambda: evaluate(text, context),
        lambda: interpolate(text, context),
        lambda: condition_holds(text, context, "failure"),
        lambda: references(text),
    ):
        column = 0
        try:
            call()
        except ExpressionError as error:
            column = error.column
        assert 0 <= column <= len(text) + 1


@given(value=PLAIN)
@settings(max_examples=200, deadline=2000)
def test_json_survives_the_way_there_and_back(value: object) -> None:
    text = evaluate("toJSON(fromJSON(toJSON(x)))", {"x": value})
    assert json.loads(text) == value


@given(value=ANY)
@settings(max_examples=200, deadline=2000)
def test_double_negation_is_truth(value: object) -> None:
    assert evaluate("!!x", {"x": value}) is is_truthy(value)


@given(left=st.text(max_size=10), right=st.text(max_size=10))
@settings(max_examples=200, deadline=2000)
def test_texts_are_ordered_totally(left: str, right: str) -> None:
    context = {"l": left, "r": right}
    found = [evaluate(f"l {sign} r", context) for sign in ("<", "==", ">")]
    assert found.count(True) == 1
