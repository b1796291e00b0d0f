"""Rows of the journal about secrets: which leases are open, and who had which secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

OPEN_LEASES = (
    "SELECT run, step, attempt, phase, source, lease, max(expires), group_concat(name, ' '), workflow, mode,"
    " definition, plan_digest FROM leases JOIN runs USING (run)"
    " GROUP BY run, step, attempt, phase, source ORDER BY number, step, attempt"
)
USES = (
    "SELECT run, workflow, mode, at, data FROM events JOIN runs USING (run)"
    ' WHERE data LIKE \'{"kind":"SecretOpened"%\' OR data LIKE \'{"kind":"LeaseTaken"%\''
    " ORDER BY number, seq"
)


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A lease that nobody returned, and the attempt that has it; ``lease`` is empty while only asked for.

    ``expires`` is seconds since 1970; ``names`` are those that the workflow has for it.
    """

    run: str
    step: str
    attempt: int
    phase: str
    source: str
    lease: str
    expires: float
    names: tuple[str, ...]
    workflow: str
    mode: str
    definition: str
    plan: str


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A run that a secret was handed to, last ``at`` (since 1970); ``leased``: each time with a lease."""

    name: str
    run: str
    workflow: str
    mode: str
    at: float
    leased: bool


def lease_of(row: tuple[Any, ...]) -> OpenLease:
    """Return a row of ``OPEN_LEASES``."""
    run, step, attempt, phase, source, lease, expires, names, *of_run = row
    return OpenLease(run, step, attempt, phase, source, lease, expires, tuple(names.split(" ")), *of_run)


def uses_of(rows: Iterable[tuple[Any, ...]]) -> list[SecretUse]:
    """Return the rows of ``USES``, one for each run and name."""
    last: dict[tuple[str, str], tuple[str, str, float]] = {}
    leases: dict[tuple[str, str], set[tuple[str, int]]] = {}
    opened: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for run, workflow, mode, at, data in rows:
        event = json.loads(data)
        use = run, str(event["name"])
        found = leases if event["kind"] == "LeaseTaken" else opened
        found.setdefault(use, set()).add((event["step"], event["attempt"]))
        last[use] = workflow, mode, at
    return [
        SecretUse(name, run, *told, leased=opened.get((run, name), set()) <= leases.get((run, name), set()))
        for (run, name), told in last.items()
    ]
