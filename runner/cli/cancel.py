"""``runner cancel RUN [--rollback | --now]``: end a run from any terminal; one that nobody drives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_run, who
from runner.cli.running import drive, steps_of
from runner.events import CancelRequested

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rollback", action="store_true", help="undo what it did")
    how.add_argument(
        "--now",
        action="store_true",
        help="end its compensations and finally steps too, as a second Ctrl-C does",
    )


def main(args: argparse.Namespace) -> int:
    """Ask the run to end; 0 once it was asked, else the status of the run that was ended here."""
    asked = CancelRequested(f"{who()} asked for it", args.rollback, insist=args.now)
    return drive(
        lambda runs, watching: runs.cancel(args.run, [asked, asked] if args.now else [asked], watching),
        steps_of(args.run),
        as_json=args.json,
    )
