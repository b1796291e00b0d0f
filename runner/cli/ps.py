"""``runner ps``: the runs of this state folder, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """List the runs."""
    from runner.history import History

    rows = History.from_environment().runs()
    if args.json:
        print_json(rows)
    else:
        columns = ("run", "workflow", "mode", "status", "started", "ended")
        print_table(
            [name.upper() for name in columns], [[row[name] or "" for name in columns] for row in rows]
        )
    return 0
