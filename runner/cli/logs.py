"""``runner logs RUN [STEP] [-f]``: what the steps wrote, secrets masked."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.cli.output import is_unread
from runner.observe.progress import harmless_bytes

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("step", metavar="STEP", nargs="?")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")


def main(args: argparse.Namespace) -> int:
    """Print the logs; on a terminal without control characters, into a file or pipe byte for byte."""
    from runner.history import History

    on_terminal = os.isatty(sys.stdout.fileno())
    lines = History.from_environment().logs(
        args.run, args.step, follow=args.follow, unread=lambda: is_unread(sys.stdout.fileno(), 0)
    )
    for data in lines:
        sys.stdout.buffer.write(harmless_bytes(data) if on_terminal else data)
        sys.stdout.buffer.flush()
    return 0
