"""``runner show RUN``: one run, its steps, attempts and causes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_run
from runner.cli.output import harmless, print_json
from runner.cli.summary import print_connections, print_summary

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run(parser)


def main(args: argparse.Namespace) -> int:
    """Show the run."""
    from runner.history import History

    history = History.from_environment()
    report = history.report(args.run)
    connections = history.connections(report["run"])
    if args.json:
        print_json({**report, "connections": connections})
    else:
        print_summary(report)
        print_connections(connections)
        for line in history.advice(report):
            print(harmless(line))
    return 0
