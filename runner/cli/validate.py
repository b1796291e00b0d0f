"""``runner validate FILE…``: every error of every file, with line and column."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, print_json
from runner.errors import Problem, WorkflowError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """Check every file; 0 when all are right, 2 otherwise."""
    from runner.workflow.load import load

    problems: list[Problem] = []
    for name in args.files:
        try:
            loaded = load(Path(name))
        except WorkflowError as error:
            problems += error.problems
        else:
            problems += loaded.warnings
            if not args.json:
                print(f"{name}: ok, {len(loaded.model.steps)} steps")
    errors = [problem for problem in problems if problem.severity == "error"]
    if args.json:
        print_json({"ok": not errors, "problems": [_as_json(problem) for problem in problems]})
    else:
        for problem in problems:
            print(harmless(str(problem)), file=sys.stderr)
    return 2 if errors else 0


def _as_json(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in Problem.__slots__}
