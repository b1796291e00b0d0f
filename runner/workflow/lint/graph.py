"""Needs: what is missing, what turns in a circle, and files that nobody makes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runner.workflow.expressions.template import OPEN
from runner.workflow.suggest import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.errors import Problem
    from runner.workflow.lint.source import Source, Where
    from runner.workflow.model import Command, Step


def needs_of(step: Step) -> tuple[str, ...]:
    """Return the steps that a step waits for: its ``needs``, and those whose files it reads."""
    sources = [source.partition("/")[0] for source in step.inputs.values() if OPEN not in source]
    return tuple(dict.fromkeys((*step.needs, *(name for name in sources if name != "data"))))


def check(source: Source) -> Iterator[Problem]:
    """Yield every problem of ids, needs, inputs and cycles."""
    model = source.model
    for name in model.finally_steps:
        if name in model.steps:
            yield source.error(("finally", name), f"{name} is a step already: ids are unique")
    everything = {**model.steps, **model.finally_steps}
    for where, name, step in source.steps():
        yield from _needs(source, where, step, everything)
        yield from _inputs(source, where, step, everything)
        if name == "data":
            yield source.error(where, "a step cannot be named data: in: data/NAME means a dataset")
        if step.compensate:
            yield from _inputs(source, (*where, "compensate"), step.compensate, everything)
    yield from _cycle(source, everything)


def _needs(source: Source, where: Where, step: Step, everything: dict[str, Step]) -> Iterator[Problem]:
    for number, name in enumerate(step.needs):
        here = (*where, "needs", number)
        if name not in everything:
            yield source.error(here, f"there is no step {name}", suggest(name, everything))
        elif where[0] == "steps" and name not in source.model.steps:
            yield source.error(here, f"{name} stands under finally, which runs last: nothing can need it")


def _inputs(source: Source, where: Where, step: Command, everything: dict[str, Step]) -> Iterator[Problem]:
    for name, text in step.inputs.items():
        here = (*where, "in", name)
        if name.startswith("/") or ".." in name.split("/"):
            yield source.error(here, f"{name} leaves /in")
        start, _, file = text.partition("/")
        if OPEN in text:
            continue
        if not file:
            yield source.error(here, f"{text} names no file: write STEP/FILE or data/DATASET")
        elif start != "data":
            yield from _file(source, here, (start, file), everything)
        elif file not in source.model.data:
            yield source.error(here, f"there is no dataset {file}", suggest(file, source.model.data))


def _file(
    source: Source, here: Where, wanted: tuple[str, str], everything: dict[str, Step]
) -> Iterator[Problem]:
    start, file = wanted
    if start not in everything:
        yield source.error(here, f"there is no step {start}", suggest(start, everything))
    elif here[0] == "steps" and start not in source.model.steps:
        yield source.error(here, f"{start} stands under finally, which runs last: nothing can need it")
    elif not _made(file, everything[start].out):
        hint = suggest(file, everything[start].out) or f"add it to {start}'s out"
        yield source.error(here, f"{start} does not hand on {file}", hint)


def _made(file: str, patterns: tuple[str, ...]) -> bool:
    return any(file == each or fnmatchcase(file, each) for each in patterns)


def _cycle(source: Source, everything: dict[str, Step]) -> Iterator[Problem]:
    """Yield each circle once, found by walking needs without recursion."""
    waiting = {
        name: [each for each in needs_of(step) if each in everything] for name, step in everything.items()
    }
    done: set[str] = set()
    for first in waiting:
        trail: list[str] = [] if first in done else [first]
        on_trail = set(trail)
        while trail:
            here = trail[-1]
            ahead = waiting[here].pop() if waiting[here] else None
            if ahead is None:
                done.add(here)
                on_trail.discard(trail.pop())
            elif ahead in on_trail:
                yield _circle(source, trail[trail.index(ahead) :])
            elif ahead not in done:
                trail.append(ahead)
                on_trail.add(ahead)


def _circle(source: Source, names: list[str]) -> Problem:
    section = "steps" if names[0] in source.model.steps else "finally"
    shown = names if len(names) <= 12 else [*names[:11], "…"]  # noqa: PLR2004 - a readable line
    return source.error((section, names[0]), f"needs turn in a circle: {' → '.join([*shown, names[0]])}")
