"""Draws a plan's steps and needs: as indented text, as Mermaid, or as SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.planning.plan import Plan, PlannedStep

_BOX_HEIGHT, _ROW, _GAP, _EDGE, _CHAR = 30, 46, 60, 20, 7.5
_LONGEST_NAME = 48


def graph(plan: Plan, form: str = "text") -> str:
    """Return the drawing in the form ``text``, ``mermaid`` or ``svg``."""
    forms = {"text": _text, "mermaid": _mermaid, "svg": _svg}
    if form not in forms:
        raise UsageError(f"there is no graph format {form} (known: {', '.join(forms)})")
    return forms[form](plan)


def layers(plan: Plan) -> list[list[PlannedStep]]:
    """Return the steps in columns: each one right of all that it needs, ``finally`` last."""
    depth: dict[str, int] = {}
    last = 0
    for name, step in plan.steps.items():
        base = last if step.final else 0
        depth[name] = max([base, *(depth[need] + 1 for need in step.needs)])
        last = last if step.final else max(last, depth[name] + 1)
    columns: list[list[PlannedStep]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, step in plan.steps.items():
        columns[depth[name]].append(step)
    return [column for column in columns if column]


def _text(plan: Plan) -> str:
    lines = [plan.workflow]
    for number, column in enumerate(layers(plan), 1):
        lines.append(f"{number}.")
        lines += [f"   {_title(step)}{_after(step)}" for step in column]
    return "\n".join(lines)


def _after(step: PlannedStep) -> str:
    return f"  <- {', '.join(step.needs)}" if step.needs else ""


def _title(step: PlannedStep) -> str:
    marks = [mark for mark, given in (("finally", step.final), ("shadowed", step.shadowed)) if given]
    return f"{step.id} ({', '.join(marks)})" if marks else step.id


def _mermaid(plan: Plan) -> str:
    numbers = {name: f"s{index}" for index, name in enumerate(plan.steps)}
    lines = ["flowchart LR"]
    for name, step in plan.steps.items():
        lines.append(f'  {numbers[name]}["{_entities(_title(step))}"]')
    for name, step in plan.steps.items():
        lines += [f"  {numbers[need]} --> {numbers[name]}" for need in step.needs]
    return "\n".join(lines)


def _entities(text: str) -> str:
    return "".join(char if char.isalnum() or char in " _-.=,()" else f"#{ord(char)};" for char in text)


def _svg(plan: Plan) -> str:
    columns = layers(plan)
    boxes, width, height = _boxes(columns)
    body = [*_lines(plan, boxes), *(part for column in columns for part in _box(column, boxes))]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="monospace" font-size="12">'
    )
    return "\n".join([head, f"<title>{escape(plan.workflow)}</title>", *body, "</svg>"])


_Box = tuple[float, float, float]


def _boxes(columns: list[list[PlannedStep]]) -> tuple[dict[str, _Box], float, float]:
    left, found = float(_EDGE), {}
    for column in columns:
        width = max(len(_short(step)) for step in column) * _CHAR + 24
        for row, step in enumerate(column):
            found[step.id] = (left, float(_EDGE + row * _ROW), width)
        left += width + _GAP
    tallest = max(map(len, columns), default=0)
    return found, left - _GAP + _EDGE, float(2 * _EDGE + tallest * _ROW)


def _short(step: PlannedStep) -> str:
    title = _title(step)
    return title if len(title) <= _LONGEST_NAME else f"{title[: _LONGEST_NAME - 1]}…"


def _lines(plan: Plan, boxes: dict[str, _Box]) -> Iterator[str]:
    for name, step in plan.steps.items():
        right, below, _ = boxes[name]
        for need in step.needs:
            left, above, width = boxes[need]
            start, middle, end = left + width, (left + width + right) / 2, right
            y1, y2 = above + _BOX_HEIGHT / 2, below + _BOX_HEIGHT / 2
            yield (
                f'<path d="M{start:g} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {end:g} {y2:g}" '
                'fill="none" stroke="#8a8f98"/>'
            )


def _box(column: list[PlannedStep], boxes: dict[str, _Box]) -> Iterator[str]:
    for step in column:
        x, y, width = boxes[step.id]
        dashes = ' stroke-dasharray="4 3"' if step.shadowed else ""
        fill = "#eef1f5" if step.final else "#ffffff"
        yield (
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{_BOX_HEIGHT}" rx="5" fill="{fill}" '
            f'stroke="#3b4252"{dashes}/><text x="{x + 12:g}" y="{y + 19:g}">{escape(_short(step))}</text>'
        )
