"""``runner plan FILE [--mode M]``: what a run would do, complete, before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_file, plan_of
from runner.cli.output import harmless, print_json

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_file(parser)
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """Print the plan."""
    from runner.planning.render import plan_json, plan_text

    _, plan = plan_of(args)
    if args.json:
        print_json(plan_json(plan))
    else:
        print(harmless(plan_text(plan)))
    return 0
