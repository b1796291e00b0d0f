"""``runner reject RUN [STEP]``: decide that a held write is given up; its step then counts as failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.deciding import decide
from runner.failsafe.effects import GIVE_UP

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run, a unique beginning of one, or 'latest'")
    parser.add_argument("step", metavar="STEP", nargs="?", help="default: every held step")


def main(args: argparse.Namespace) -> int:
    """Record the decision; ``resume`` goes on."""
    return decide(args.run, args.step, GIVE_UP)
