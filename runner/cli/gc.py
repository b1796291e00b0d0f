"""``runner gc``: remove what dead runs left behind, leases too; foreign things are never touched."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.cli.output import harmless
from runner.errors import SourceUnavailable

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: this command has no arguments."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Remove leftovers and name them."""
    from runner.app import App
    from runner.custody.sweep import Sweep
    from runner.draft.folder import sweep

    del args
    app = App.from_environment()
    removed = app.collect_garbage(lambda words: print(harmless(words), file=sys.stderr, flush=True))
    removed += sweep(app.layout.snapshots)
    for name in removed:
        print(f"removed {name}")
    with app.journal() as journal:
        leases = Sweep(app, journal)
        tried = leases.take_back(leases.dead())
    for each in tried:
        print(harmless(f"not taken back: {each}" if each.left else f"taken back: {each}"))
    print(f"{len(removed)} leftovers removed, {sum(not each.left for each in tried)} leases taken back")
    return SourceUnavailable.exit_code if any(each.left for each in tried) else 0
