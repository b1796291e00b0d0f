"""``runner doctor``: what each engine can enforce here, and the cure for each gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.cli.output import harmless, print_json

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")


def main(args: argparse.Namespace) -> int:
    """Ask every engine; 0 when at least one works, else 4."""
    from runner.app import App

    findings = App.from_environment().examine()
    if args.json:
        print_json(findings)
    else:
        for finding in findings:
            state = finding["version"] if finding["usable"] else "not usable"
            print(f"{finding['engine']}: {state}")
            for gap in finding["gaps"]:
                print(harmless(f"  - {gap['what']}: {gap['why']}\n    cure: {gap['cure']}"))
    return 0 if any(finding["usable"] for finding in findings) else 4
