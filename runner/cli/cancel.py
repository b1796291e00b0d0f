"""``runner cancel RUN [--rollback]``: end a run from any terminal; a run that nobody drives is ended here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_run, who
from runner.cli.running import drive, steps_of

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run(parser)
    parser.add_argument("--rollback", action="store_true", help="undo what it did")


def main(args: argparse.Namespace) -> int:
    """Ask the run to end; 0 once it was asked, else the status of the run that was ended here."""
    why = f"{who()} asked for it"
    return drive(
        lambda runs, watching: runs.cancel(args.run, why, watching, rollback=args.rollback),
        steps_of(args.run),
        as_json=args.json,
    )
