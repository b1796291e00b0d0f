"""Masking a stream: every byte of every form of every secret, however the stream was cut.

A byte is hidden exactly when some occurrence of some form covers it; one run of overlapping
occurrences becomes one ``***``. So the result does not depend on the chunks. One regular expression
finds the heads of forms, which bounds its size; what follows a head is compared directly.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from runner.vault.encodings import forms, maskable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = b"***"
_HEAD = 16
_MEMORY = 64 << 20
_NO_CHANCE = 6  # bytes: four stand by chance in one of four random files of 1 GB


class Patterns:
    """All forms of some secrets, compiled once and shared by many streams and threads."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        """Compile ``secrets``; ``unmasked`` holds the positions of those too short or too plain to hide."""
        values = list(secrets)
        self.unmasked = tuple(at for at, value in enumerate(values) if not maskable(value.strip()))
        own: dict[bytes, list[bytes]] = defaultdict(list)
        for form in set().union(*map(forms, values)):
            own[form[:_HEAD]].append(form)
        self._by_head = {head: _sharing(own, head) for head in own}
        self._starts = {head[:size] for head in self._by_head for size in range(1, len(head))}
        self._finder: Any = _compile(self._by_head) if self._by_head else None

    def __bool__(self) -> bool:
        return self._finder is not None

    def scan(self, data: bytes) -> tuple[list[tuple[int, int]], int]:
        """Return the occurrences in ``data`` and the first place where one may still begin."""
        found: list[tuple[int, int]] = []
        pending = self._cut_head(data)
        at = 0
        while hit := self._finder.search(data, at):
            start, stop = hit.span()
            end, unfinished = self._longest(data, start, data[start:stop])
            if unfinished:
                pending = min(pending, start)
            if end:
                found.append((start, end))
            at = start + 1
        return found, pending

    def _longest(self, data: bytes, start: int, head: bytes) -> tuple[int, bool]:
        """Return where the longest form at ``start`` ends (0: none), and whether one is cut off."""
        end, unfinished = 0, False
        for form in self._by_head[head]:
            if data.startswith(form, start):
                end = max(end, start + len(form))
            elif start + len(form) > len(data) and form.startswith(data[start:]):
                unfinished = True
        return end, unfinished

    def _cut_head(self, data: bytes) -> int:
        for start in range(max(0, len(data) - _HEAD + 1), len(data)):
            if data[start:] in self._starts:
                return start
        return len(data)


def _sharing(own: dict[bytes, list[bytes]], head: bytes) -> tuple[bytes, ...]:
    """Return the forms that may stand where ``head`` was found: those whose head begins it."""
    heads = (head[:size] for size in range(1, len(head) + 1))
    return tuple(form for each in heads for form in own.get(each, ()))


def _compile(heads: Iterable[bytes]) -> Any:  # noqa: ANN401 - re2 has no types
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.never_capture = True
    options.max_mem = _MEMORY
    return re2.compile(b"|".join(_literal(head) for head in sorted(heads)), options)


def _literal(head: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in head)


class Masker:
    """One stream: feed it bytes, get masked bytes; ``flush`` gives the rest at the end."""

    def __init__(self, secrets: Iterable[bytes] | Patterns) -> None:
        """Start a stream that hides ``secrets``, or what ``Patterns`` has compiled before."""
        self.patterns = secrets if isinstance(secrets, Patterns) else Patterns(secrets)
        self._held = b""
        self._covered = 0

    @property
    def unmasked(self) -> tuple[int, ...]:
        """Positions of the secrets that are too short or too plain to hide: worth a warning."""
        return self.patterns.unmasked

    def fork(self) -> Masker:
        """Return a fresh stream that hides the same secrets."""
        return Masker(self.patterns)

    def feed(self, data: bytes) -> bytes:
        """Return what is certain so far; only what may be the beginning of a secret is held back."""
        if not self.patterns:
            return data
        return self._advance(self._held + data, last=False)

    def flush(self) -> bytes:
        """Return what was held back: the stream has ended."""
        return self._advance(self._held, last=True) if self._held else b""

    def find(self, pieces: Iterator[bytes]) -> bytes:
        """Return the first form of a secret in a stream that is long enough to be no chance, or nothing."""
        held = b""
        for piece in pieces if self.patterns else ():
            data = held + piece
            found, pending = self.patterns.scan(data)
            for start, end in found:
                if end - start >= _NO_CHANCE:
                    return data[start:end]
            held = data[pending:]
        return b""

    def mask(self, data: bytes) -> bytes:
        """Return ``data``, taken as a whole stream, masked."""
        stream = self.fork()
        return stream.feed(data) + stream.flush()

    def mask_text(self, text: str) -> str:
        """Return ``text``, taken as a whole stream, masked."""
        if not self.patterns:
            return text
        return self.mask(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def _advance(self, data: bytes, *, last: bool) -> bytes:
        """Emit all that is decided; ``_covered`` bytes of what is held are already behind a mask."""
        found, pending = self.patterns.scan(data)
        pending = len(data) if last else pending
        parts: list[bytes] = []
        done = self._covered
        for start, end in found:
            if start >= pending:
                break
            if start >= done:
                parts += (data[done:start], MASK)
            done = max(done, end)
        if done < pending:
            parts.append(data[done:pending])
        self._held = data[pending:]
        self._covered = max(0, done - pending)
        return b"".join(parts)
