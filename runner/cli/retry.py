"""``runner retry RUN [--from STEP]``: the same plan anew, with what succeeded carried over."""

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
        "--from", dest="start", metavar="STEP", help="run this step and all that build on it anew"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="even where a write may have happened: you looked, and it may repeat",
    )


def main(args: argparse.Namespace) -> int:
    """Run it anew; the exit status is the new run's."""
    from runner.runs import Again

    again = Again(args.run, args.start, args.again)
    return drive(lambda runs, watching: runs.retry(again, watching), steps_of(args.run), as_json=args.json)
