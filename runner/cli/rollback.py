"""``runner rollback RUN``: undo what a run that has ended did, from its snapshots and results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_run, who
from runner.cli.running import drive, steps_of

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run(parser)


def main(args: argparse.Namespace) -> int:
    """Undo the run; 0 when all of it is undone, 5 when a person is needed."""
    return drive(
        lambda runs, watching: runs.roll_back(args.run, who(), watching),
        steps_of(args.run),
        as_json=args.json,
    )
