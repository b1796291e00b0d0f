"""What is said of secrets that were revoked or rotated: who had them, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, print_json
from runner.clock import rfc3339
from runner.errors import SourceUnavailable

if TYPE_CHECKING:
    from runner.app import App
    from runner.custody.revoke import Revoked
    from runner.store.secret_rows import SecretUse
    from runner.vault.binding import Binding


def used(app: App, uses: list[SecretUse]) -> list[dict[str, Any]]:
    """Return who had a secret, one row a run and name."""
    return [
        {
            "name": use.name,
            "workflow": use.workflow,
            "mode": use.mode,
            "run": use.run,
            "at": rfc3339(use.at),
            "live": app.is_live(use.run),
        }
        for use in uses
    ]


def print_revoked(app: App, done: Revoked, *, as_json: bool) -> int:
    """Say what a revocation did and what it could not; returns the exit status."""
    status = SourceUnavailable.exit_code if done.left else 0
    if as_json:
        print_json(
            {
                "workflows": sorted({use.workflow for use in done.uses}),
                "used": used(app, done.uses),
                "ended": done.ended,
                "leases": [
                    {"source": each.lease.source, "lease": each.lease.lease, "left": each.left}
                    for each in done.leases
                ],
                "elsewhere": [
                    {"name": each.name, "mode": each.mode, "source": each.source, "cure": _cure(each)}
                    for each in done.elsewhere
                ],
                "left": done.left,
                "exit": status,
            }
        )
        return status
    for line in _lines(app, done):
        print(harmless(line))
    return status


def _lines(app: App, done: Revoked) -> list[str]:
    gone = [each for each in done.leases if not each.left]
    lines = ["new runs are refused"]
    lines += [f"ended: {attempt}" for attempt in done.ended]
    lines += [f"taken back: {each}" for each in gone]
    lines += [
        f"workflow {row['workflow']} had {row['name']} ({row['mode']}) in run {row['run']}, {row['at']}"
        for row in used(app, done.uses)
    ]
    lines += [
        f"still valid where it was issued: {each.name} ({each.mode}): {_cure(each)}"
        for each in done.elsewhere
    ]
    return lines + [f"LEFT: {words}" for words in done.left]


def _cure(binding: Binding) -> str:
    again = f"runner secrets bind {binding.name} --from {binding.source} --mode {binding.mode}"
    if binding.scheme == "store":
        again = f"runner secrets set {binding.reference} --mode {binding.mode}"
    return f"{binding.source} cannot say who issued it: end it there, then {again} with the new value"
