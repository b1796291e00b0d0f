"""Hosts that a step may reach: named one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command, Reach

_PROXY = ("localhost", 3128)
_MOST_OUTLETS = 32


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of ``egress``, ``tcp`` and the effects that follow from them."""
    staging = [
        (("staging", "egress", number), each) for number, each in enumerate(source.model.staging.egress)
    ]
    yield from _reaches(source, staging)
    for where, command in source.commands():
        yield from _command(source, where, command)
    for where, _, step in source.steps():
        if step.effects == "none" and step.reaches:
            hint = "write effects: read or write, or take egress out"
            yield source.error((*where, "effects"), "a step that reaches a host has effects", hint)


def _command(source: Source, where: Where, command: Command) -> Iterator[Problem]:
    named = (("egress", command.egress), ("tcp", command.tcp))
    entries = [((*where, key, n), each) for key, reaches in named for n, each in enumerate(reaches or ())]
    yield from _reaches(source, entries)


def _reaches(source: Source, entries: Iterable[tuple[Where, Reach]]) -> Iterator[Problem]:
    """Yield what is wrong with one step's entries: each ``tcp`` host is a port of its loopback."""
    taken = {_PROXY}
    for where, reach in entries:
        try:
            rule = reach.rule
        except ValueError as error:
            yield source.error(where, str(error))
            continue
        if rule.host.startswith("*."):
            yield source.warning(
                where, f"{rule.host} opens every host below it", "name each host that is needed"
            )
        if rule.kind != "tcp":
            continue
        if (rule.host, rule.port) in taken:
            told = f"{rule.host}:{rule.port} is taken, by another entry or by the proxy"
            yield source.error(where, told)
        taken.add((rule.host, rule.port))
        if len(taken) == _MOST_OUTLETS + 1:
            yield source.error(where, f"a step has at most {_MOST_OUTLETS - 1} hosts under tcp")
