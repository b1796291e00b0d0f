"""``runner secrets set|bind|list``: the operator's side of a workflow's secret names."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runner.cli.output import print_json, print_table
from runner.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from runner.app import App

_MODES = ("staging", "production")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="set|bind|list")
    setting = acts.add_parser("set", help="read a value from stdin into the encrypted store")
    setting.add_argument("name", metavar="NAME")
    setting.add_argument("--mode", choices=_MODES, default="staging")
    binding = acts.add_parser("bind", help="say where a name's value comes from, and who may have it")
    binding.add_argument("name", metavar="NAME")
    binding.add_argument("--from", dest="source", metavar="env:VAR|file:F|store:K", required=True)
    binding.add_argument("--mode", choices=_MODES, default="staging")
    binding.add_argument("--workflow", metavar="W", help="only this workflow may have it")
    listing = acts.add_parser("list", help="names, sources and who may have them; never values")
    listing.add_argument("--json", action="store_true")


def main(args: argparse.Namespace) -> int:
    """Do one act."""
    from runner.app import App

    app = App.from_environment()
    if args.act == "set":
        return _set(app, args)
    if args.act == "bind":
        app.bindings().bind(args.name, args.source, mode=args.mode, workflow=args.workflow)
        return 0
    rows = app.secret_rows()
    if args.json:
        print_json(rows)
    else:
        print_table(
            ["NAME", "SOURCE", "MODE", "WORKFLOW"],
            [[row["name"], row["source"], row["mode"], row["workflow"] or "any"] for row in rows],
        )
    return 0


def _set(app: App, args: argparse.Namespace) -> int:
    from runner.vault.secret import without_newline

    value = without_newline(sys.stdin.buffer.read())
    if not value:
        raise UsageError(
            "the value is empty", cure=f"give it on standard input: runner secrets set {args.name} < FILE"
        )
    app.set_secret(args.name, value, args.mode)
    return 0
