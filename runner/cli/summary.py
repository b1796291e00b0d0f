"""The table at the end of a run, and for a failed step the cause and the next command to type."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runner.cli.output import harmless, print_table


def print_summary(report: dict[str, Any]) -> None:
    """Print a run object of the contract for a person."""
    where = f"{report['mode']} on {report['engine']}"
    print(f"run {report['run']}  {report['workflow']} {where}: {report['status']}")
    rows = [
        [name, step["status"], str(step["attempts"]), _seconds(step), step["reason"] or ""]
        for name, step in report["steps"].items()
    ]
    print_table(["STEP", "STATUS", "ATTEMPTS", "TIME", "REASON"], rows)
    if report["rollback"]:
        undone = [
            [name, undo["status"], str(undo["attempts"]), _seconds(undo), undo["reason"] or ""]
            for name, undo in report["rollback"].items()
        ]
        print()
        print_table(["ROLLBACK", "STATUS", "ATTEMPTS", "TIME", "REASON"], undone)
    for warning in report["warnings"]:
        print(f"warning: {harmless(warning)}")
    for gap in report["unenforced"]:
        print(f"unenforced: {harmless(gap)}")
    shadowed = sum(step["status"] == "shadowed" for step in report["steps"].values())
    if shadowed:
        print(f"rehearsed: {shadowed} writes were not performed")


def print_connections(rows: list[dict[str, Any]]) -> None:
    """Print where steps connected to, and where they could not or were not allowed to."""
    if rows:
        print()
        print_table(
            ["STEP", "HOST", "TIMES", "SENT", "RECEIVED", "DENIED OR FAILED"],
            [_connection(row) for row in rows],
        )


def _connection(row: dict[str, Any]) -> list[str]:
    host = f"{row['host']}:{row['port']}" if row["host"] else ""  # it said nothing that names one
    counts = (str(row[name]) for name in ("count", "sent", "received"))
    return [row["step"], host, *counts, f"denied: {row['denied']}" if row["denied"] else row["failed"]]


def _seconds(step: dict[str, Any]) -> str:
    if not step["started"] or not step["ended"]:
        return ""
    took = datetime.fromisoformat(step["ended"]) - datetime.fromisoformat(step["started"])
    return f"{took.total_seconds():.2f} s"
