"""What the tests of ``runner init`` share: a script in a project, watched, and what was written of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.workflow.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command, Done

    from runner.workflow.model import Step


def put(runner: Command, name: str, text: str) -> Path:
    path = runner.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def init(runner: Command, engine: str, *words: str) -> Done:
    return runner("init", "--engine", engine, *words)


def step_of(runner: Command, name: str) -> Step:
    (step,) = load(runner.project / name).model.steps.values()
    return step


def mounted(runner: Command, name: str) -> list[str]:
    return [mount.source for mount in step_of(runner, name).mounts or ()]


def run(runner: Command, name: str, engine: str) -> Done:
    return runner("run", name, "--engine", engine, "--json")
