"""One step as many legs, with GitHub's rules for ``include`` and ``exclude``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from runner.workflow.model import Matrix, Step

MOST_LEGS = 256
_LONGEST_ID = 240
_PLAIN = " !#$&'()*+-.:;<>?@^_`{|}~"


@dataclass(frozen=True, slots=True)
class Leg:
    """One planned step of a step: its id and its matrix values (none without a matrix)."""

    id: str
    values: dict[str, Any]


def legs_of(name: str, step: Step) -> tuple[Leg, ...]:
    """Return a step's legs, ``ID[key=value,…]``; raises ``ValueError`` for none, too many or equal ones."""
    if step.strategy is None:
        return (Leg(name, {}),)
    found = tuple(Leg(f"{name}[{label(values)}]", values) for values in combinations(step.strategy.matrix))
    if not found:
        raise ValueError("its matrix has no legs")
    if len({leg.id for leg in found}) != len(found):
        raise ValueError("two legs of its matrix have the same values")
    if any(len(leg.id) > _LONGEST_ID for leg in found):
        raise ValueError(f"a leg's values are longer than {_LONGEST_ID} characters: they are its name")
    return found


def label(values: dict[str, Any]) -> str:
    """Return ``key=value,…``, with ``%`` escapes for what would be ambiguous or unprintable."""
    return ",".join(f"{key}={_escaped(_text(value))}" for key, value in values.items())


def combinations(matrix: Matrix) -> list[dict[str, Any]]:
    """Return every leg's values in GitHub's order; raises ``ValueError`` over 256 legs."""
    size = 1 if matrix.axes else 0
    for options in matrix.axes.values():
        size *= len(options)
    if size + len(matrix.include) > MOST_LEGS:
        raise ValueError(f"its matrix has more than {MOST_LEGS} legs")
    crossed = [dict(zip(matrix.axes, choice, strict=True)) for choice in product(*matrix.axes.values())]
    base = [values for values in crossed if values and not _excluded(values, matrix)]
    return _included(base, matrix)


def _excluded(values: dict[str, Any], matrix: Matrix) -> bool:
    return any(rule and _agree(rule, values, rule.keys()) for rule in matrix.exclude)


def _included(base: list[dict[str, Any]], matrix: Matrix) -> list[dict[str, Any]]:
    extended = [dict(values) for values in base]
    added: list[dict[str, Any]] = []
    for rule in matrix.include:
        matching = [
            index for index, values in enumerate(base) if _agree(rule, values, rule.keys() & values.keys())
        ]
        for index in matching:
            extended[index].update(rule)
        if not matching:
            added.append(dict(rule))
    return extended + added


def _agree(one: dict[str, Any], other: dict[str, Any], keys: Any) -> bool:  # noqa: ANN401 - a view of keys
    return all(key in other and _same(one[key], other[key]) for key in keys)


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - scalars
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def agrees(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two legs have equal values wherever both have one."""
    return _agree(one, other, one.keys() & other.keys())


def _text(value: Any) -> str:  # noqa: ANN401 - a scalar
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _escaped(text: str) -> str:
    pieces = []
    for char in text:
        plain = char.isprintable() and (ord(char) > 127 or char.isalnum() or char in _PLAIN)  # noqa: PLR2004
        pieces.append(char if plain else quote(char, safe="", errors="surrogatepass"))
    return "".join(pieces)
