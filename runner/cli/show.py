"""``runner show RUN``: one run, its steps, attempts and causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.output import print_json
from runner.cli.summary import print_summary

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run, a unique beginning of one, or 'latest'")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """Show the run."""
    from runner.history import History

    report = History.from_environment().report(args.run)
    if args.json:
        print_json(report)
    else:
        print_summary(report)
    return 0
