"""``runner run FILE``: run a workflow, each step in its own sandbox."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.cli.arguments import ENGINES, add_file, plan_of
from runner.cli.running import drive

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_file(parser)
    parser.add_argument("--engine", choices=ENGINES, default=None, help="default: auto")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")


def main(args: argparse.Namespace) -> int:
    """Run the workflow; the exit status is the contract's."""
    if args.mode is None and not os.isatty(0):
        print("warning: no --mode was given: this is staging", file=sys.stderr)
    _, plan = plan_of(args, to_run=True)
    return drive(
        lambda runs, watching: runs.start(plan, args.engine, watching), list(plan.steps), as_json=args.json
    )
