"""What ``approve`` and ``reject`` share."""

from __future__ import annotations

from runner.cli.arguments import who
from runner.cli.output import harmless


def decide(run: str, step: str | None, verdict: str) -> int:
    """Record a verdict about held steps and say what to type next."""
    from runner.app import App
    from runner.runs import Runs

    found, steps = Runs(App.from_environment()).decide(run, step, verdict, who())
    for name in steps:
        print(f"{harmless(name)}: {verdict}")
    print(f"next: runner resume {found}")
    return 0
