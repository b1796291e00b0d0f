"""Masking: which forms are hidden, which secrets cannot be, and what is held back."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from runner.vault.mask import MASK, Masker, Patterns

SECRET = b"p4ss/w\"o'rd <&>+%$\\ end\xc3\xbc"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        base64.b64encode(SECRET),
        base64.urlsafe_b64encode(SECRET),
        base64.b64encode(SECRET).rstrip(b"="),
        json.dumps(SECRET.decode()).encode(),
        json.dumps(SECRET.decode(), ensure_ascii=False).encode(),
        quote(SECRET).encode(),
        quote(SECRET, safe="").encode(),
        quote_plus(SECRET).encode(),
        escape(SECRET.decode(), {'"': "&quot;"}).encode(),
        shlex.quote(SECRET.decode()).encode(),
    ],
)
def test_every_form_is_hidden(shown: bytes) -> None:
    masked = Masker([SECRET]).mask(b"before " + shown + b" after")
    assert masked.startswith(b"before ")
    assert masked.endswith(b" after")
    assert masked.count(MASK) == 1
    assert len(masked) <= len(b"before '***'' after")


@pytest.mark.parametrize("prefix", [b"", b"u", b"us", b"use", b"user:"])
@pytest.mark.parametrize("suffix", [b"", b"1", b"12", b"123"])
def test_base64_of_a_text_around_a_secret_shows_at_most_its_edges(prefix: bytes, suffix: bytes) -> None:
    coded = base64.b64encode(prefix + b"correct-horse-battery" + suffix)
    masked = Masker([b"correct-horse-battery"]).mask(coded)
    assert MASK in masked
    assert len(masked.replace(MASK, b"")) <= len(base64.b64encode(prefix)) + len(base64.b64encode(suffix)) + 2


def test_the_shell_and_the_tools_that_people_use_are_hidden() -> None:
    secret = 'it\'s $HOME & "more" \\ stuff; ok'
    commands = [
        'printf %q "$S"',
        'printf %s "$S" | base64 -w0',
        'printf "x%s" "$S" | base64',
        "set | grep ^S=",
    ]
    for command in commands:
        shown = subprocess.run(
            ["bash", "-c", command],
            env={"S": secret, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        ).stdout
        masked = Masker([secret.encode()]).mask(shown)
        assert MASK in masked, command
        assert len(masked) < 16, command


def test_a_secret_of_many_lines_is_hidden_line_by_line_and_wrapped() -> None:
    key = b"-----BEGIN KEY-----\r\nMIIabcdefgh0123\r\n{\r\nQRSTuvwx4567\r\n-----END KEY-----\r\n"
    mask = Masker([key])
    assert mask.mask(b"> QRSTuvwx4567 <") == b"> *** <"
    assert mask.mask(key) == b"***"
    assert mask.mask(key.replace(b"\r\n", b"\n")) == b"***"
    assert mask.mask(b"a { b") == b"a { b"
    lines = base64.encodebytes(key).splitlines()
    assert mask.mask(b"\n".join(lines)) == b"\n".join([MASK] * len(lines))


def test_secrets_too_short_or_too_plain_are_named_by_position_and_left_alone() -> None:
    mask = Masker([b"abc", b"long enough", b"{}{}{}", b"", b"1234", b"  a \n"])
    assert mask.unmasked == (0, 2, 3, 5)
    assert mask.mask(b"abc {}{}{} 1234 long enough") == b"abc {}{}{} *** ***"


def test_overlapping_secrets_leave_no_piece_of_either() -> None:
    assert Masker([b"abcdef", b"defghi"]).mask(b"<abcdefghi>") == b"<***>"
    assert Masker([b"abcd", b"abcdefgh"]).mask(b"<abcdefgh><abcdef>") == b"<***><***ef>"
    assert Masker([b"aaaa"]).mask(b"a" * 1001) == b"***"


def test_only_a_possible_beginning_is_held_back() -> None:
    mask = Masker([b"s3cret-token-that-is-quite-long"])
    assert mask.feed(b"progress 50%") == b"progress 50%"
    assert mask.feed(b" s3cret-tok") == b" "
    assert mask.feed(b"yo") == b"s3cret-tokyo"
    assert mask.feed(b" s3cret-token-that-is-quite-l") == b" "
    assert mask.feed(b"ong!") == b"***!"
    assert mask.feed(b"s3c") == b""
    assert mask.flush() == b"s3c"
    assert mask.flush() == b""


def test_a_secret_that_begins_a_longer_one_waits_for_it() -> None:
    mask = Masker([b"abcd", b"abcd-and-more-of-it"])
    assert mask.feed(b"abcd-and-") == b""
    assert mask.feed(b"less") == b"***-and-less"


def test_an_endless_run_of_overlaps_needs_no_memory() -> None:
    mask = Masker([b"aaaaaaaa"])
    shown = b"".join(mask.feed(b"a" * 1000) for _ in range(100))
    assert len(mask._held) < 16
    assert shown + mask.feed(b"!") == b"***!"


def test_streams_share_patterns_but_not_what_they_hold() -> None:
    out = Masker([b"top-secret"])
    err = out.fork()
    assert out.feed(b"top-") == b""
    assert err.feed(b"secret") + err.flush() == b"secret"
    assert out.feed(b"secret") == MASK


def test_text_is_masked_as_text() -> None:
    assert Masker(["geheim-ü".encode()]).mask_text("« geheim-ü »") == "« *** »"
    assert Masker([b"long enough"]).mask_text("bad \udcff long enough") == "bad \udcff ***"


def test_without_secrets_nothing_is_loaded_and_nothing_changes() -> None:
    script = (
        "import sys; from runner.vault.mask import Masker; m = Masker([]);"
        "assert m.feed(b'x') == b'x' and m.flush() == b'' and m.mask_text('y') == 'y';"
        "assert 're2' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_secrets_that_are_not_text_are_hidden_too() -> None:
    secret = bytes(range(128, 160))
    assert Masker([secret]).mask(b"<" + secret + b">" + secret.hex().encode()) == b"<***>***"


def test_patterns_are_compiled_once_for_many_streams() -> None:
    patterns = Patterns([b"top-secret"])
    assert Masker(patterns).patterns is patterns
    assert Masker(patterns).mask(b"top-secret") == MASK


def test_the_password_of_a_connection_string_is_a_secret_of_its_own() -> None:
    masker = Masker([b"postgresql://me:open%20sesame@db.example:5432/rows"])
    assert (
        masker.mask(b"password=open sesame, open%20sesame; db.example:5432")
        == b"password=***, ***; db.example:5432"
    )
