"""``runner outputs RUN -o DIR``: a run's result files, all at once or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.output import harmless

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="a folder that does not exist yet"
    )
    parser.add_argument("--partial", action="store_true", help="even of a run that did not succeed")


def main(args: argparse.Namespace) -> int:
    """Copy the results to ``DIR/STEP/FILE``."""
    from runner.history import History

    files = History.from_environment().export(args.run, Path(args.output), partial=args.partial)
    for name, sha256, size in files:
        print(f"{sha256}  {size:>12}  {harmless(name)}")
    return 0
