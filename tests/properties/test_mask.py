"""Masking over any chunking: the same result as the whole, and nothing secret in it."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.vault.encodings import forms
from runner.vault.mask import MASK, Masker

NARROW = st.text("ab1", min_size=4, max_size=9).map(str.encode)
WIDE = st.binary(min_size=4, max_size=40)
SECRETS = st.lists(NARROW | WIDE, min_size=1, max_size=4)
SHOWN = (
    lambda secret: secret,
    lambda secret: secret.hex().encode(),
    base64.b64encode,
    lambda secret: quote(secret).encode(),
    lambda secret: json.dumps(secret.decode("latin-1")).encode(),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    secrets = draw(SECRETS)
    piece = (
        st.builds(lambda secret, show: show(secret), st.sampled_from(secrets), st.sampled_from(SHOWN))
        | st.builds(lambda secret, size: secret[:size], st.sampled_from(secrets), st.integers(0, 40))
        | st.text("ab1 \n", max_size=12).map(str.encode)
        | st.binary(max_size=8)
    )
    text = b"".join(draw(st.lists(piece, max_size=8)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return secrets, chunks


def _reference(secrets: list[bytes], text: bytes) -> bytes:
    """Mask by the plainest means: mark every byte of every occurrence, one mask for each overlapping run."""
    spans = []
    for form in set().union(*map(forms, secrets)):
        start = text.find(form)
        while start >= 0:
            spans.append((start, start + len(form)))
            start = text.find(form, start + 1)
    result, done = b"", 0
    for start, end in sorted(spans):
        if start >= done:
            result += text[done:start] + MASK
        done = max(done, end)
    return result + text[done:]


@settings(max_examples=400, deadline=None)
@given(streams())
def test_any_chunking_gives_what_the_plainest_masking_of_the_whole_gives(
    stream: tuple[list[bytes], list[bytes]],
) -> None:
    secrets, chunks = stream
    mask = Masker(secrets)
    assert b"".join([*map(mask.feed, chunks), mask.flush()]) == _reference(secrets, b"".join(chunks))


@settings(max_examples=200, deadline=None)
@given(streams())
def test_no_form_of_a_secret_survives_between_masks(stream: tuple[list[bytes], list[bytes]]) -> None:
    secrets, chunks = stream
    mask = Masker(secrets)
    shown = b"".join([*map(mask.feed, chunks), mask.flush()])
    known = [form for secret in secrets for form in forms(secret) if b"*" not in form]
    assert not [form for form in known if form in shown]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=12, max_size=60), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_around_a_secret_shows_at_most_one_character_of_each_edge(
    secret: bytes, before: bytes, after: bytes
) -> None:
    mask = Masker([secret])
    if mask.unmasked:
        return
    masked = mask.mask(base64.b64encode(before + secret + after))
    left = len(masked.replace(MASK, b"").rstrip(b"="))
    assert MASK in masked
    assert left <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=6))
def test_what_holds_no_secret_passes_unchanged(chunks: list[bytes]) -> None:
    mask = Masker([b"correct horse battery staple"])
    assert b"".join([*map(mask.feed, chunks), mask.flush()]) == b"".join(chunks)


@settings(max_examples=400, deadline=None)
@given(streams())
def test_any_chunking_finds_a_secret_exactly_where_the_whole_holds_a_form_too_long_for_chance(
    stream: tuple[list[bytes], list[bytes]],
) -> None:
    secrets, chunks = stream
    text = b"".join(chunks)
    long_forms = {form for form in set().union(*map(forms, secrets)) if len(form) >= 6}
    found = Masker(secrets).find(iter(chunks))
    assert bool(found) == any(form in text for form in long_forms)
    assert not found or found in long_forms
