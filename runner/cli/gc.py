"""``runner gc``: remove what dead runs left behind; foreign things are never touched."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.cli.output import harmless

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: this command has no arguments."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Remove leftovers and name them."""
    from runner.app import App

    del args
    removed = App.from_environment().collect_garbage(
        lambda words: print(harmless(words), file=sys.stderr, flush=True)
    )
    for name in removed:
        print(f"removed {name}")
    print(f"{len(removed)} leftovers removed")
    return 0
