"""``runner keys jwks|rotate``: the keys by which others know the identities of steps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="jwks|rotate")
    printing = acts.add_parser("jwks", help="print the public keys, for services that verify identities")
    printing.add_argument("--pem", action="store_true", help="in PEM instead of JSON")
    printing.add_argument("--json", action="store_true", help="JSON, which is the default")
    rotating = acts.add_parser("rotate", help="make a new key, published now and used later")
    rotating.add_argument(
        "--after", metavar="DURATION", default="1h", help="when it begins to sign: 1h; 0 for now"
    )


def main(args: argparse.Namespace) -> int:
    """Do one act."""
    from runner.cli.output import print_json
    from runner.settings import Settings
    from runner.vault.extras import need

    need("identity", "jwt", "cryptography")
    from runner.vault.issuer import Issuer

    issuer = Issuer(Settings.from_environment(os.environ).config)
    if args.act == "rotate":
        issuer.rotate(_seconds(args.after))
        return 0
    if args.pem:
        print("".join(issuer.pems()), end="")
    else:
        print_json(issuer.jwks())
    return 0


def _seconds(text: str) -> float:
    from runner.units import parse_duration

    try:
        return parse_duration(0 if text == "0" else text)
    except ValueError as error:
        raise UsageError(f"--after: {error}") from error
