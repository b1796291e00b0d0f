"""``runner graph FILE``: the steps and what they need, as text, Mermaid or SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_file, plan_of
from runner.cli.output import harmless

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_file(parser)
    parser.add_argument("--format", choices=("text", "mermaid", "svg"), default="text")


def main(args: argparse.Namespace) -> int:
    """Print the graph."""
    from runner.planning.render import graph

    _, plan = plan_of(args)
    print(harmless(graph(plan, args.format)))
    return 0
