"""Single values: inputs, secrets, matrices, patterns, and what contradicts itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runner.workflow.inputs import value_problem
from runner.workflow.patterns import compile_pattern
from runner.workflow.suggest import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command, Input, Step

MOST_LEGS = 256


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of single values."""
    for name, each in source.model.inputs.items():
        yield from _input(source, ("inputs", name), each)
    for where, command in source.commands():
        yield from _command(source, where, command)
    for where, _, step in source.steps():
        yield from _step(source, where, step)
        yield from _matrix(source, where, step)


def _input(source: Source, where: Where, given: Input) -> Iterator[Problem]:
    if given.type == "choice" and not given.options:
        yield source.error(where, "a choice needs options: [...]")
    if given.type != "choice" and given.options:
        yield source.error((*where, "options"), f"options are for a choice, not for a {given.type}")
    if given.pattern is not None:
        if given.type != "string":
            yield source.error((*where, "pattern"), f"a pattern is for a string, not for a {given.type}")
        wrong = _pattern(given.pattern)
        if wrong:
            yield source.error((*where, "pattern"), wrong)
            return
    if given.default is not None:
        wrong = value_problem(given, given.default)
        if wrong:
            yield source.error((*where, "default"), f"the default {wrong}")


def _pattern(pattern: str) -> str:
    try:
        compile_pattern(pattern)
    except ValueError as error:
        return str(error)
    return ""


def _command(source: Source, where: Where, command: Command) -> Iterator[Problem]:
    if command.image and command.sandbox:
        yield source.error((*where, "image"), "image and sandbox exclude each other: choose one")
    texts = [command.run] if isinstance(command.run, str) else [*command.run]
    if any("\0" in text for text in (*texts, *command.env.values())):
        yield source.error((*where, "run"), "a NUL character cannot be given to a command")
    for name, ref in (command.secrets or {}).items():
        here = (*where, "secrets", name)
        if ref.secret not in source.model.secrets:
            hint = suggest(ref.secret, source.model.secrets) or "add it to secrets at the top"
            yield source.error(here, f"the secret {ref.secret} is not declared", hint)
        if ref.form == "header" and command.egress is not None and not command.egress:
            yield source.error(here, "a header secret needs a host under egress")
        if ref.form != "file" and name in command.env:
            yield source.error(here, f"{name} stands in env too")


def _step(source: Source, where: Where, step: Step) -> Iterator[Problem]:
    if step.irreversible and step.compensate:
        yield source.error((*where, "irreversible"), "a step with compensate is not irreversible: choose one")
    if step.outside == "write" and not step.compensate and not step.irreversible:
        hint = "say how to undo it with compensate, or write irreversible: true"
        yield source.warning(where, "a write that nothing undoes", hint)
    retried = step.retry is not None and step.retry.max_attempts > 1
    if step.outside == "write" and retried and not step.idempotent and not step.compensate:
        hint = "write idempotent: true if doing it twice does no harm, or compensate"
        what = "a write that may have happened is not attempted again: the run is held for a person"
        yield source.warning((*where, "retry"), what, hint)
    if step.approval and step.approval.quorum > 1 and not step.approval.approvers:
        yield source.error((*where, "approval"), "a quorum needs approvers")
    for name in step.staging.out if step.staging else ():
        if name not in step.out:
            yield source.error(
                (*where, "staging", "out", name), f"{name} is not in out", suggest(name, step.out)
            )
    yield from _expectations(source, where, step)


def _expectations(source: Source, where: Where, step: Step) -> Iterator[Problem]:
    for number, expect in enumerate(step.expect):
        here = (*where, "expect", number)
        if expect.regex is not None and _pattern(expect.regex):
            yield source.error((*here, "regex"), _pattern(expect.regex))
        if expect.exit is None and expect.file is None:
            yield source.error(here, "an expectation needs exit or file")


def _matrix(source: Source, where: Where, step: Step) -> Iterator[Problem]:
    if not step.strategy:
        return
    matrix, here = step.strategy.matrix, (*where, "strategy", "matrix")
    sizes = [len(values) for values in matrix.axes.values()]
    for name, values in matrix.axes.items():
        if not values:
            yield source.error((*here, name), f"{name} has no values")
    if not sizes and not matrix.include:
        yield source.error(here, "the matrix is empty")
    if (math.prod(sizes) if sizes else 0) + len(matrix.include) > MOST_LEGS:
        yield source.error(here, f"the matrix makes more than {MOST_LEGS} legs")
