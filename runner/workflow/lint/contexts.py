"""Expressions: where they may stand, whether they parse, and whether what they name exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.workflow.expressions import ExpressionError, references, uses_status
from runner.workflow.expressions import check as check_expression
from runner.workflow.expressions.template import OPEN, parse_condition
from runner.workflow.lint.graph import needs_of
from runner.workflow.suggest import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command, Step

    _Of = tuple[str, Step, dict[str, tuple[str, ...]]]  # a step's id, the step, and everyone's needs

IN_ENV = frozenset({"inputs", "matrix", "steps", "needs", "run"})
IN_IF = IN_ENV | {"env"}
IN_INPUTS = frozenset({"inputs", "matrix"})
_NOWHERE = ("run", "mounts", "egress", "tcp", "secrets", "image", "sandbox", "timeout", "out", "needs")


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of expressions."""
    for where, command in source.commands():
        yield from _misplaced(source, where)
        yield from _texts(source, where, command)
    needs = {name: needs_of(step) for _, name, step in source.steps()}
    for where, name, step in source.steps():
        if step.staging:
            yield from _misplaced(source, (*where, "staging"))
        if step.condition:
            yield from _expression(source, (*where, "if"), step.condition, IN_IF)
        yield from _named(source, where, (name, step, needs))


def _misplaced(source: Source, where: Where) -> Iterator[Problem]:
    node = source.document.data
    for part in where:
        node = node[part]
    for key in _NOWHERE:
        if key in node and OPEN in str(node[key]):
            yield source.error((*where, key), *_elsewhere(key))


def _elsewhere(key: str) -> tuple[str, str]:
    if key == "run":
        return "${{ }} in run would let data become code", 'put it in env and use the variable: "$NAME"'
    return f"${{{{ }}}} is not possible in {key}", "only in env, if and in"


def _texts(source: Source, where: Where, command: Command) -> Iterator[Problem]:
    for name, text in command.env.items():
        if OPEN in text:
            yield from _expression(source, (*where, "env", name), text, IN_ENV)
    for name, text in command.inputs.items():
        if OPEN in text:
            yield from _expression(source, (*where, "in", name), text, IN_INPUTS)


def _expression(source: Source, where: Where, text: str, roots: frozenset[str]) -> Iterator[Problem]:
    try:
        if where[-1] == "if":
            parse_condition(text)
        check_expression(text, roots)
        if where[-1] != "if" and uses_status(text):
            yield source.error(where, "success, failure, always and cancelled are for if only")
    except ExpressionError as error:
        at = f" (character {error.column} of it)" if error.column else ""
        yield source.error(where, f"the expression is wrong: {error.message}{at}")


def _named(source: Source, where: Where, of: _Of) -> Iterator[Problem]:
    step = of[1]
    texts: list[tuple[Where, str]] = [(("env", key), text) for key, text in step.env.items() if OPEN in text]
    texts += [(("in", key), text) for key, text in step.inputs.items() if OPEN in text]
    texts += [(("if",), step.condition)] if step.condition else []
    for key, text in texts:
        try:
            paths = sorted(references(text))
        except ExpressionError:
            continue
        for path in paths:
            yield from _reference(source, (*where, *key), path.split("."), of)


def _reference(source: Source, where: Where, path: list[str], of: _Of) -> Iterator[Problem]:
    root, name = path[0], path[1] if len(path) > 1 else ""
    choices = _choices(source, root, of)
    if not name or choices is None or name in choices or name.lower() in map(str.lower, choices):
        return
    hint = suggest(name, choices)
    if root in {"steps", "needs"} and name in {**source.model.steps, **source.model.finally_steps}:
        hint = f"add {name} to needs"
        yield source.error(where, f"{root}.{name} is not known here: this step does not wait for it", hint)
    else:
        yield source.error(where, f"there is no {root}.{name}", hint)


def _choices(source: Source, root: str, of: _Of) -> list[str] | None:
    name, step, needs = of
    if root == "inputs":
        return list(source.model.inputs)
    if root == "run":
        return ["id", "workflow", "mode", "attempt"]
    if root == "needs":
        return list(needs_of(step))
    if root == "matrix":
        matrix = step.strategy.matrix if step.strategy else None
        return [*matrix.axes, *(key for leg in matrix.include for key in leg)] if matrix else []
    if root == "steps":
        final = list(source.model.steps) if name in source.model.finally_steps else []
        return [*final, *_ancestors(needs, name)]
    return None


def _ancestors(needs: dict[str, tuple[str, ...]], first: str) -> list[str]:
    found: dict[str, None] = {}
    waiting = list(needs[first])
    while waiting:
        name = waiting.pop()
        if name not in found and name in needs:
            found[name] = None
            waiting.extend(needs[name])
    return list(found)
