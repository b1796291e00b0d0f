"""Hosts that a step may reach: named one by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*\.?|\[[0-9a-fA-F:.]{{2,45}}\]"
_WEB = re.compile(rf"(https?://)?({_HOST})(:(?P<port>[0-9]{{1,5}}))?/?")
_TCP = re.compile(rf"tcp://({_HOST}):(?P<port>[0-9]{{1,5}})")
_LONGEST = 300
_LAST_PORT = 65535


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of ``egress``, ``tcp`` and the effects that follow from them."""
    for number, host in enumerate(source.model.staging.egress):
        yield from _host(source, ("staging", "egress", number), host)
    for where, command in source.commands():
        yield from _command(source, where, command)
    for where, _, step in source.steps():
        if step.effects == "none" and step.hosts:
            hint = "write effects: read or write, or take egress out"
            yield source.error((*where, "effects"), "a step that reaches a host has effects", hint)


def _command(source: Source, where: Where, command: Command) -> Iterator[Problem]:
    for number, host in enumerate(command.egress or ()):
        yield from _host(source, (*where, "egress", number), host)
    for number, host in enumerate(command.tcp or ()):
        yield from _host(source, (*where, "tcp", number), f"tcp://{host}")


def _host(source: Source, where: Where, host: str) -> Iterator[Problem]:
    wrong = host_problem(host)
    if wrong:
        yield source.error(where, wrong)


def host_problem(host: str) -> str:
    """Return what is wrong with an entry of ``egress``, or nothing."""
    if host.rpartition("://")[2].partition(":")[0].strip("/") in {"*", "*.*", "**"}:
        return f"{host} opens every host: name each one that the step needs"
    if len(host) > _LONGEST:
        return "the host is too long"
    match = (_TCP if host.startswith("tcp://") else _WEB).fullmatch(host)
    if not match:
        form = "HOST:PORT" if host.startswith("tcp://") else "https://HOST or https://HOST:PORT"
        return f"{host} is no host: write {form}, without user, path or query"
    if match["port"] and not 1 <= int(match["port"]) <= _LAST_PORT:
        return f"{host} has no port between 1 and {_LAST_PORT}"
    return ""
