"""``runner schema``: the JSON Schema (draft-07) of a workflow file, for editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: this command has no arguments."""
    del parser


def main(args: argparse.Namespace) -> int:
    """Print the schema."""
    from runner.workflow.schema import json_schema

    del args
    print(json.dumps(json_schema(), indent=2))
    return 0
