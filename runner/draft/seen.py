"""What a watched run did, from its records: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.draft.watched import LEFT
from runner.events import AttemptEnded, AttemptStarted, ConnectionEnded, RunCreated
from runner.sandbox.base import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.events import Record

_MISSING = re.compile(r"ModuleNotFoundError: No module named '([A-Za-z0-9_.]{1,100})'")
_SCRIPTS_OWN = ("exit", "timeout", "out-of-memory", "output-limit", "log-limit")
_LOOKED_UP = ("gaierror", "name resolution", "resolve host", "bad address", "Network is unreachable")
_MOST_HOSTS = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """A host that the proxy was asked for: by which methods, what let it through, what failed."""

    host: str
    port: int
    methods: frozenset[str]
    count: int
    rule: str
    denied: str
    failed: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it was asked for without TLS."""
        return "CONNECT" not in self.methods and bool(self.methods - {""})


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen: paths relative to the script's folder, names below ``/out`` and ``/work``.

    ``blind``: some of what it read may be missing; ``by_bytes``: what was opened and not read is missing.
    """

    run: str
    engine: str
    exit_code: int | None = 0
    reason: str | None = None
    detail: str = ""
    seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)
    asked: tuple[Asked, ...] = ()
    unnamed: int = 0
    read: frozenset[str] = frozenset()
    blind: bool = False
    by_bytes: bool = False
    made: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    not_taken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    looked_up: bool = False
    read_only: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_the_scripts(self) -> bool:
        """Whether the run says something of the script: it succeeded, or failed by its own doing."""
        return self.reason is None or self.reason in _SCRIPTS_OWN


def what_was_seen(run: str, records: Sequence[Record], said: Iterable[str]) -> Seen:
    """Return what the journal knows of a run of one step; ``said`` are the last lines that it wrote."""
    created = next(each.event for each in records if isinstance(each.event, RunCreated))
    latest = list(reversed(records))  # what the engine did wrong is tried again
    started = next((each.at for each in latest if isinstance(each.event, AttemptStarted)), 0.0)
    ended = next((each for each in latest if isinstance(each.event, AttemptEnded)), None)
    connections = [each.event for each in records if isinstance(each.event, ConnectionEnded)]
    lines = list(said)
    seen = Seen(
        run,
        created.engine,
        reason="infra",
        asked=_asked(connections),
        unnamed=sum(each.count for each in connections if not each.host),
        missing=tuple(sorted({name for line in lines for name in _MISSING.findall(line)})),
        looked_up=any(word in line for line in lines for word in _LOOKED_UP),
        read_only=tuple(line for line in lines if "Read-only file system" in line)[:3],
        warnings=created.warnings,
    )
    if ended is None or not isinstance(ended.event, AttemptEnded):
        return seen
    return _with_end(seen, ended.event, ended.at - started)


def _with_end(seen: Seen, end: AttemptEnded, took: float) -> Seen:
    left = (name.removeprefix("./") for name in end.outputs.get(LEFT, "").split("\n"))
    return replace(
        seen,
        exit_code=end.exit_code,
        reason=end.reason,
        detail=end.detail,
        seconds=took,
        made=tuple(sorted(each.name for each in end.artifacts)),
        left=tuple(sorted({name for name in left if name})),
        not_taken=end.refused,
    )


def _asked(connections: Iterable[ConnectionEnded]) -> tuple[Asked, ...]:
    by_host: dict[tuple[str, int], list[ConnectionEnded]] = {}
    for each in connections:
        if each.host:
            by_host.setdefault((each.host, each.port), []).append(each)
    found = []
    for (host, port), some in sorted(by_host.items())[:_MOST_HOSTS]:
        rule = next((each.rule for each in some if each.rule and not each.denied), "")
        denied = next((each.denied for each in some if each.denied), "")
        failed = next((each.failed for each in some if each.failed), "")
        methods = frozenset(each.method for each in some)
        found.append(Asked(host, port, methods, sum(each.count for each in some), rule, denied, failed))
    return tuple(found)
