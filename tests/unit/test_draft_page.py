"""Lines of a drafted workflow: whatever words they are made of, they say one thing only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.draft.page import Page, harmless, is_nameable, quoted
from runner.workflow.load import _decoded
from runner.workflow.nodes import read

EVIL = (
    "a: b", "- x", "#", "it's", '"quoted"', "\\", "null", "true", "no", "1e3", "~", "", " ", "a #b", "{x", "[x", "*x",
    "&x", "!!python/object", "%YAML", "---", "...", "\n- pwned", "\x1b[2J", "\r\nsteps:", "\u2028", "\u202e",
    "\ufeff", "\x85", "\ud800", "😀", "\x00", "é",
)  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_a_scalar_is_read_back_as_it_was(text: str) -> None:
    if text in ("\x00", "\ud800"):  # no YAML can hold these: they are asked for nowhere
        assert not is_nameable(text)
        return
    assert read(_decoded(f"key: {quoted(text)}\n".encode())).data == {"key": text}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    assert read(_decoded(f"- {quoted(text)}\n".encode())).data == [text]


@given(st.text(max_size=400))
def test_evidence_never_leaves_its_line(text: str) -> None:
    page = Page()
    page.add("key: value", text)
    page.note("  ", text)
    page.add("last: 1")
    written = page.text()
    assert written.count("\n") == 3
    assert read(_decoded(written.encode())).data == {"key": "value", "last": 1}


def test_a_comment_is_short_and_printable() -> None:
    assert len(harmless("x" * 1000)) < 250
    assert harmless("a\nb\x1b[31m\u202e\U000e0001") == "a\\x0ab\\x1b[31m\\u202e\\U000e0001"


def test_evidence_stands_in_one_column() -> None:
    page = Page()
    for text in ("a: 1", "longer: 2"):
        page.add(text, "why")
    assert [line.index("#") for line in page.text().splitlines()] == [11, 11]


@pytest.mark.parametrize("name", ["a:b", "${{ x }}", "a*b", "a\nb", "\x1b", "", "x" * 300, "\udcff"])
def test_a_name_that_would_mean_something_else_is_not_written(name: str) -> None:
    assert not is_nameable(name)
