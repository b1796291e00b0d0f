"""``runner sandbox build|list``: the sandbox profiles and their images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="build|list")
    building = acts.add_parser("build", help="build a profile from Debian packages")
    building.add_argument("names", metavar="NAME", nargs="+")
    listing = acts.add_parser("list", help="profiles, and whether they are built")
    listing.add_argument("--json", action="store_true")


def main(args: argparse.Namespace) -> int:
    """Do one act."""
    from runner.app import App

    app = App.from_environment()
    if args.act == "build":
        for name in args.names:
            built = app.build_profile(name, Path.cwd(), lambda text: print(text, file=sys.stderr, flush=True))
            print(f"{name}  {built}")
        return 0
    rows = app.profiles(Path.cwd())
    if args.json:
        print_json(rows)
    else:
        print_table(
            ["PROFILE", "DIGEST", "DESCRIPTION"],
            [[row["name"], row["digest"] or "not built", row["description"]] for row in rows],
        )
    return 0
