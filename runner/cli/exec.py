"""``runner exec -- CMD…``: one command in a sandbox; same plan, journal and isolation as a workflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.arguments import ENGINES
from runner.cli.running import drive
from runner.errors import UsageError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--engine", choices=ENGINES, default=None, help="default: auto")
    parser.add_argument("--sandbox", metavar="NAME", default="minimal", help="the profile; default: minimal")
    parser.add_argument(
        "--in", dest="inputs", metavar="FILE", action="append", default=[], help="a file under /in"
    )
    parser.add_argument(
        "--out", dest="outputs", metavar="GLOB", action="append", default=[], help="kept from /out"
    )
    parser.add_argument(
        "--secret",
        dest="secrets",
        metavar="NAME",
        action="append",
        default=[],
        help="in /run/secrets, its name in capitals",
    )
    parser.add_argument(
        "--egress",
        dest="hosts",
        metavar="HOST",
        action="append",
        default=[],
        help="https://HOST, tcp://HOST:PORT",
    )
    parser.add_argument("--timeout", metavar="TIME", default="5m")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")
    parser.add_argument("command", metavar="CMD", nargs="+", help="after --: the command and its arguments")


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status is the contract's."""
    from runner.plans import plan_command, reached
    from runner.settings import Settings

    settings = Settings.from_environment(os.environ)
    for name in args.inputs:
        if not Path(name).is_file():
            raise UsageError(f"--in {name}: there is no such file")
    step = {
        "run": args.command,
        "sandbox": args.sandbox,
        "out": args.outputs,
        "timeout": args.timeout,
        "secrets": {name.upper(): name for name in args.secrets},
    }
    if args.hosts:  # who types the command wants it run, in staging too
        step |= {"egress": reached(settings, args.hosts), "staging": {"run": args.command}}
    plan = plan_command(settings, step, [Path(name) for name in args.inputs])
    return drive(
        lambda runs, watching: runs.start(plan, args.engine, watching), list(plan.steps), as_json=args.json
    )
