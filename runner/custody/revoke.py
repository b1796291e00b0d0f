"""Taking secrets away: from runs to come, from steps that hold them, and at their source."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.custody.listing import Listing
from runner.custody.sweep import Sweep
from runner.engine.recall import recall
from runner.errors import PolicyDenied, UsageError
from runner.events import SecretRevoked
from runner.vault.sources.base import LeasingSource

if TYPE_CHECKING:
    from runner.app import App
    from runner.custody.sweep import Tried
    from runner.planning.plan import PlannedStep
    from runner.store.journal import Journal
    from runner.store.secret_rows import OpenLease, SecretUse
    from runner.vault.binding import Binding, Revocation

_PATIENCE = 4.0  # seconds for the steps that are to end
_LOOK = 0.1  # seconds between looks at whether they have


@dataclass(slots=True)
class Revoked:
    """What a revocation found and did.

    ``ended`` are the attempts that ended for it, ``elsewhere`` the bindings whose values live on where they
    were issued, ``left`` in words what it could not do.
    """

    uses: list[SecretUse]
    leases: list[Tried]
    ended: list[str] = field(default_factory=list)
    elsewhere: list[Binding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def revoke(app: App, revocation: Revocation) -> Revoked:
    """Refuse, end, take back and tell; raises ``UsageError`` for a name that nobody knows."""
    known = {binding.name for binding in Listing(app).all()}
    with app.journal() as journal:
        if revocation.name and revocation.name not in known | {use.name for use in journal.uses()}:
            raise UsageError(
                f"no secret {revocation.name} was ever bound or set",
                cure=f"known: {', '.join(sorted(known)) or 'none'}",
            )
        app.bindings().revoke(revocation)  # first: whoever opens one from now on is refused
        uses = [use for use in journal.uses() if revocation.covers(use.name, use.mode, use.workflow)]
        ending = _tell(app, journal, uses, revocation.who)
        open_leases = [lease for lease in journal.open_leases() if _is_covered(lease, revocation)]
        done = Revoked(uses, Sweep(app, journal).take_back(open_leases))
        done.left = [str(tried) for tried in done.leases if tried.left]
        _await(app, journal, ending, done)
    done.elsewhere = _issued_elsewhere(app, revocation, uses)
    return done


def _is_covered(lease: OpenLease, revocation: Revocation) -> bool:
    return any(revocation.covers(name, lease.mode, lease.workflow) for name in lease.names)


def _tell(app: App, journal: Journal, uses: list[SecretUse], who: str) -> dict[str, set[str]]:
    """Tell the runs that somebody drives; return the attempts that are to end, by run."""
    ending: dict[str, set[str]] = {}
    for run in dict.fromkeys(use.run for use in uses):
        names = tuple(sorted(use.name for use in uses if use.run == run))
        if app.is_live(run):
            with suppress(UsageError):  # it has ended meanwhile
                journal.note(run, SecretRevoked(names, who))
                ending[run] = _holding(journal, run, frozenset(names))
    return ending


def _await(app: App, journal: Journal, ending: dict[str, set[str]], done: Revoked) -> None:
    until = time.monotonic() + _PATIENCE
    for run, attempts in ending.items():
        while (still := attempts & _holding(journal, run)) and app.is_live(run) and time.monotonic() < until:
            time.sleep(_LOOK)
        done.ended += [f"{run} {attempt}" for attempt in sorted(attempts - still)]
        cure = f"its runner does not hear: runner resume {run} --take-over ends it"
        done.left += [f"run {run} still runs {attempt}: {cure}" for attempt in sorted(still)]


def _holding(journal: Journal, run: str, names: frozenset[str] | None = None) -> set[str]:
    """Return the attempts under way, as ``STEP.N``; with ``names`` those that hold one of them."""
    found = recall(journal, run)
    steps = found.plan.steps
    active = [(f"{name}.{found.steps[name].attempts}", steps[name]) for name in found.active]
    active += [
        (f"{name}.compensate.{found.steps[name].undo.attempts}", steps[name].compensate or steps[name])
        for name in found.undo.active
    ]
    return {label for label, step in active if names is None or names & _names(step)}


def _names(step: PlannedStep) -> set[str]:
    return {use.secret for use in step.secrets}


def _issued_elsewhere(app: App, revocation: Revocation, uses: list[SecretUse]) -> list[Binding]:
    """Return the bindings that are covered, but for those whose values were all leased."""
    static = {(use.name, use.mode) for use in uses if not use.leased}
    covered = [
        binding
        for binding in Listing(app).all()
        for workflow in binding.workflows or (revocation.workflow,)
        if revocation.covers(binding.name, binding.mode, workflow)
    ]
    return [
        binding
        for binding in dict.fromkeys(covered)
        if (binding.name, binding.mode) in static or not _leases(app, binding)
    ]


def _leases(app: App, binding: Binding) -> bool:
    try:
        return isinstance(app.bindings().source(binding.scheme), LeasingSource)
    except PolicyDenied:
        return False
