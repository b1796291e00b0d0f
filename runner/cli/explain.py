"""``runner explain FILE``: what a workflow can do and cannot, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.arguments import add_file, plan_of
from runner.cli.output import harmless

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_file(parser)


def main(args: argparse.Namespace) -> int:
    """Print the explanation."""
    from runner.planning.render import explain

    loaded, plan = plan_of(args)
    print(harmless(explain(loaded, plan)))
    return 0
