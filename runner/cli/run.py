"""``runner run FILE``: run a workflow, each step in its own sandbox."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.arguments import ENGINES, add_file, pairs
from runner.cli.running import drive
from runner.plans import plan_to_run
from runner.settings import Settings

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
    settings = Settings.from_environment(os.environ)
    plan = plan_to_run(settings, Path(args.file), args.mode or "staging", pairs(args.input))
    return drive(
        lambda runs, watching: runs.start(plan, args.engine, watching), list(plan.steps), as_json=args.json
    )
