"""``runner breakers [list|trip NAME|reset NAME]``: the circuit breakers of this state folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse

_COLUMNS = ("name", "state", "failures", "limit", "probe_at", "probe")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    acts = parser.add_subparsers(dest="act", metavar="list|trip|reset")
    acts.add_parser("list", help="every breaker that is declared here or has a state")
    for act, words in (
        ("trip", "open a breaker by hand"),
        ("reset", "close a breaker, or release a workflow"),
    ):
        acts.add_parser(act, help=words).add_argument("name", metavar="NAME")


def main(args: argparse.Namespace) -> int:
    """Do one act."""
    from runner.app import App

    app, project = App.from_environment(), _project(Path.cwd())
    if args.act == "trip":
        app.trip_breaker(args.name, project)
    elif args.act == "reset":
        app.reset_breaker(args.name, project)
    rows = app.breakers(project)
    if args.json:
        print_json(rows)
    else:
        print_table([name.upper() for name in _COLUMNS], [_cells(row) for row in rows])
    return 0


def _cells(row: dict[str, Any]) -> list[str]:
    return ["" if row[name] is None else str(row[name]) for name in _COLUMNS]


def _project(folder: Path) -> Path:
    from runner.workflow.file import project_of

    return project_of(folder / "workflow.yaml")
