"""``runner approve RUN [STEP] [--done]``: decide about a held write: attempt it again, or take it as done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.deciding import decide
from runner.failsafe.effects import AGAIN, DONE

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run, a unique beginning of one, or 'latest'")
    parser.add_argument("step", metavar="STEP", nargs="?", help="default: every held step")

    parser.add_argument(
        "--done", action="store_true", help="it did happen: go on without it (it then left no result files)"
    )


def main(args: argparse.Namespace) -> int:
    """Record the decision; ``resume`` goes on."""
    return decide(args.run, args.step, DONE if args.done else AGAIN)
