"""``runner doctor``: what each engine can enforce here, what endangers secrets, and the cures."""

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
    from runner.custody.cautions import cautions

    app = App.from_environment()
    findings, told = app.examine(), cautions(app)
    if args.json:
        print_json(
            [*findings, *([{"engine": None, "usable": False, "version": "", "gaps": told}] if told else [])]
        )
    else:
        for finding in findings:
            state = finding["version"] if finding["usable"] else "not usable"
            print(f"{finding['engine']}: {state}")
            _print_gaps(finding["gaps"])
        if told:
            print("secrets on this machine:")
            _print_gaps(told)
    return 0 if any(finding["usable"] for finding in findings) else 4


def _print_gaps(gaps: list[dict[str, str]]) -> None:
    for gap in gaps:
        print(harmless(f"  - {gap['what']}: {gap['why']}\n    cure: {gap['cure']}"))
