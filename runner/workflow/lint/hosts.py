"""Hosts that a step may reach: named one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command, Reach


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of ``egress``, ``tcp`` and the effects that follow from them."""
    for number, reach in enumerate(source.model.staging.egress):
        yield from _reach(source, ("staging", "egress", number), reach)
    for where, command in source.commands():
        yield from _command(source, where, command)
    for where, _, step in source.steps():
        if step.effects == "none" and step.reaches:
            hint = "write effects: read or write, or take egress out"
            yield source.error((*where, "effects"), "a step that reaches a host has effects", hint)


def _command(source: Source, where: Where, command: Command) -> Iterator[Problem]:
    for key, reaches in (("egress", command.egress), ("tcp", command.tcp)):
        for number, reach in enumerate(reaches or ()):
            yield from _reach(source, (*where, key, number), reach)


def _reach(source: Source, where: Where, reach: Reach) -> Iterator[Problem]:
    try:
        rule = reach.rule
    except ValueError as error:
        yield source.error(where, str(error))
        return
    if rule.host.startswith("*."):
        yield source.warning(where, f"{rule.host} opens every host below it", "name each host that is needed")
