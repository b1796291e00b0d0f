"""What a person sees of a run while it runs: plain lines, or a live view on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from runner.events import (
    PHASE_COMPENSATE,
    AttemptEnded,
    AttemptStarted,
    BreakerRefused,
    CancelRequested,
    CompensationSettled,
    ConnectionEnded,
    RetryScheduled,
    RollbackRequested,
    RunEnded,
    RunExpired,
    StepCarried,
    StepDecided,
    StepHeld,
    StepSettled,
    TurnAwaited,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.events import Event, Record

_STRIPPED = bytes(code for code in (*range(32), 127) if code not in b"\n\t")
_LINE_LIMIT = 64 * 1024
_REFUSED_SHOWN = 10
_MARKS = {"succeeded": "✓", "failed": "✗", "skipped": "-", "shadowed": "~", "cancelled": "!"}


def harmless_bytes(data: bytes) -> bytes:
    """Return bytes without control characters (C0, and C1 in UTF-8): a step cannot steer a terminal."""
    plain = data.translate(None, _STRIPPED)
    return plain if plain.isascii() else _without_c1(plain)


def _without_c1(data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.translate(dict.fromkeys(range(0x80, 0xA0))).encode()


class PlainProgress:
    """One line an event and ``step | text`` for what steps write, on any byte stream."""

    def __init__(self, stream: BinaryIO) -> None:
        """Write to ``stream``; a write error means that nobody reads any more and is passed on."""
        self._stream = stream
        self._partial: dict[tuple[str, str], bytes] = {}
        self._started: dict[str, float] = {}

    def event(self, record: Record) -> None:
        """Print the event's line, if people want to see it."""
        text = self._line(record)
        if text:
            self._stream.write(text.encode() + b"\n")
            self._stream.flush()

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:  # noqa: ARG002 - protocol
        """Print what a step wrote, whole lines only, each with the step's name before it."""
        pending = self._partial.pop((step, stream), b"") + data
        cut = pending.rfind(b"\n") + 1
        if not cut and len(pending) < _LINE_LIMIT:
            self._partial[(step, stream)] = pending
            return
        if not cut:
            pending += b"\n"
            cut = len(pending)
        if cut < len(pending):
            self._partial[(step, stream)] = pending[cut:]
        self._write_lines(step, pending[: cut - 1])

    def _write_lines(self, step: str, text: bytes) -> None:
        prefix = f"{step} | ".encode()
        self._stream.write(prefix + harmless_bytes(text).replace(b"\n", b"\n" + prefix) + b"\n")
        self._stream.flush()

    def _flush_partial(self, step: str) -> None:
        for key in [key for key in self._partial if key[0] == step]:
            self._write_lines(step, self._partial.pop(key))

    def _line(self, record: Record) -> str:
        event = record.event
        if isinstance(event, AttemptStarted):
            self._started.setdefault(event.step, record.at)
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            return f"{'↶' if event.phase == PHASE_COMPENSATE else '▶'} {event.step}{again}"
        if isinstance(event, AttemptEnded):
            self._flush_partial(event.step)
            return "\n".join(f"! {event.step}: not taken: {what}" for what in _shown(event.refused))
        if isinstance(event, RetryScheduled):
            undo = " of its compensation" if event.phase == PHASE_COMPENSATE else ""
            return f"↻ {event.step}: attempt {event.attempt}{undo} in {max(0.0, event.at - record.at):.1f} s"
        if isinstance(event, StepSettled):
            return settled_line(event, record.at - self._started.get(event.step, record.at))
        return _rare_line(event)


_RARE: dict[type, Callable[[Any], str]] = {
    StepHeld: lambda event: f"? {event.step} held: {event.detail}",
    StepDecided: lambda event: f"? {event.step}: {event.who} decided: {event.verdict}",
    StepCarried: lambda event: f"= {event.step} carried over from run {event.run}" if event.settled else "",
    BreakerRefused: lambda event: f"! {event.step}: the breaker {event.name} is open",
    TurnAwaited: lambda event: f"… waiting for {', '.join(event.ahead[:3])} in the group {event.group}",
    CancelRequested: lambda event: f"! cancelling: {event.why}",
    RollbackRequested: lambda event: f"↶ rolling back: {event.who} asked for it",
    RunExpired: lambda event: f"! the run took longer than its {event.seconds:g} s",
}


def _rare_line(event: Event) -> str:
    """Return the line of what does not happen in every run."""
    if isinstance(event, CompensationSettled):
        why = f": {event.detail or event.reason}" if event.reason else ""
        return f"{'↶' if event.status == 'compensated' else '✗'} {event.step} {event.status}{why}"
    if isinstance(event, ConnectionEnded):
        times = f" ({event.count} times)" if event.count > 1 else ""
        where = f"{event.host}:{event.port}" if event.host else "a connection"
        return f"! {event.step}: {where} denied{times}: {event.denied}" if event.denied else ""
    return _RARE[type(event)](event) if type(event) in _RARE else ""


def _shown(refused: tuple[str, ...]) -> list[str]:
    plain = [harmless_bytes(what.replace("\n", " ").encode(errors="replace")).decode() for what in refused]
    more = [f"and {len(plain) - _REFUSED_SHOWN} more"] if len(plain) > _REFUSED_SHOWN else []
    return plain[:_REFUSED_SHOWN] + more


def settled_line(event: StepSettled, seconds: float) -> str:
    """Return the one line that says how a step ended."""
    detail = f": {event.detail}" if event.detail else f": {event.reason}" if event.reason else ""
    took = f" {seconds:.2f} s" if event.status in ("succeeded", "failed") else ""
    return f"{_MARKS.get(event.status, '?')} {event.step} {event.status}{took}{detail}"


class LiveProgress:
    """A view of all steps that redraws in place; step output above it, prefixed, as it comes."""

    def __init__(self, stream: BinaryIO, steps: list[str]) -> None:
        """Draw on a terminal; ``steps`` in plan order."""
        self._plain = PlainProgress(stream)
        self._stream = stream
        self._steps = steps
        self._running: dict[str, float] = {}
        self._settled: set[str] = set()
        self._last: dict[str, str] = {}
        self._drawn = 0

    def event(self, record: Record) -> None:
        """Redraw with what the event changed."""
        event = record.event
        if isinstance(event, AttemptStarted):
            self._running[event.step] = record.at
        if isinstance(event, AttemptEnded):
            self._running.pop(event.step, None)
        if isinstance(event, StepSettled):
            self._settled.add(event.step)
        self._erase()
        self._plain.event(record)
        if not isinstance(event, RunEnded):
            self._draw(record.at)

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        """Print a step's output above the view."""
        self._erase()
        self._plain.output(step, attempt, stream, data)
        line = harmless_bytes(data).rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace")
        self._last[step] = line[:60]
        self._draw(0)

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J".encode())
            self._drawn = 0

    def _draw(self, now: float) -> None:
        lines = [f"  {step}: {self._last.get(step, 'starting')}"[:100] for step in self._running]
        total = len(self._steps)
        lines.append(f"  {len(self._settled)}/{total} steps settled")
        self._stream.write(("\n".join(lines) + "\n").encode())
        self._stream.flush()
        self._drawn = len(lines)
        del now
