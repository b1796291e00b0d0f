"""``runner resume RUN``: go on from the journal with a run that was interrupted, waits, or was held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_run
from runner.cli.running import drive, steps_of

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run(parser)
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="even from a runner that hangs: it can commit nothing any more",
    )


def main(args: argparse.Namespace) -> int:
    """Go on; the exit status is the run's."""
    return drive(
        lambda runs, watching: runs.resume(args.run, watching, take_over=args.take_over),
        steps_of(args.run),
        as_json=args.json,
    )
