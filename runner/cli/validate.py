"""``runner validate FILE…``: every error of every file, with line and column."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.cli.output import harmless, print_json
from runner.errors import Problem, UsageError, WorkflowError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """Check every file; 0 when all are right, 2 otherwise."""
    problems = [problem for name in args.files for problem in _checked(name, as_json=args.json)]
    errors = [problem for problem in problems if problem.severity == "error"]
    if args.json:
        print_json({"ok": not errors, "problems": [_as_json(problem) for problem in problems]})
    else:
        for problem in problems:
            print(harmless(str(problem)), file=sys.stderr)
    return 2 if errors else 0


def _checked(name: str, *, as_json: bool) -> list[Problem]:
    from runner.planning.declared import undeclared
    from runner.settings import Settings, choices
    from runner.workflow.literals import literals
    from runner.workflow.load import load

    try:
        loaded = load(Path(name))
        declared = choices(Settings.from_environment(os.environ), loaded.project).breakers
    except WorkflowError as error:
        return error.problems
    except UsageError as error:  # the project's runner.yaml, or the policy
        return [Problem(name, 0, 0, error.message, error.cure)]
    problems = list(undeclared(loaded, declared))
    if not problems and not as_json:
        print(f"{name}: ok, {len(loaded.model.steps)} steps")
    return [*loaded.warnings, *problems, *literals(loaded)]


def _as_json(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in Problem.__slots__}
