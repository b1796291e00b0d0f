"""Arguments that several commands share, and how they become a plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from runner.planning.plan import Plan
    from runner.workflow.load import LoadedWorkflow

ENGINES = ("auto", "docker", "bubblewrap", "gvisor")


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add FILE, ``--mode`` and ``--input``."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--mode", choices=("staging", "production"), help="default: staging")
    parser.add_argument("--input", metavar="NAME=VALUE", action="append", default=[], help="may be repeated")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and ``--json``."""
    parser.add_argument("run", metavar="RUN", help="a run, a unique beginning of one, or 'latest'")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")


def who() -> str:
    """Return who types, for the record: the login behind sudo where there is one."""
    import getpass

    return os.environ.get("SUDO_USER") or getpass.getuser()


def plan_of(args: argparse.Namespace) -> tuple[LoadedWorkflow, Plan]:
    """Load FILE and plan it as the arguments say."""
    from runner.plans import plan_file
    from runner.settings import Settings

    settings = Settings.from_environment(os.environ)
    return plan_file(settings, Path(args.file), args.mode or "staging", pairs(args.input))


def pairs(items: list[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` items as a mapping; raises ``UsageError`` for one without ``=`` or twice."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--input {item!r} is not NAME=VALUE")
        if name in found:
            raise UsageError(f"--input {name} is given twice")
        found[name] = value
    return found
