"""The JSON form of an event: ``{"kind": "AttemptEnded", …fields}``."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from runner.events import ArtifactKept, AttemptEnded, Event, StepCarried

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_TUPLES = frozenset({"warnings", "unenforced", "refused", "ahead", "names"})


def encode(event: Event) -> dict[str, Any]:
    """Return the event's JSON form."""
    return {"kind": type(event).__name__, **asdict(event)}


def decode(data: dict[str, Any]) -> Event:
    """Return the event of a JSON form; raises ``(Key|Type|Attribute)Error`` for another."""
    fields: dict[str, Any] = {
        name: tuple(value) if name in _TUPLES else value for name, value in data.items()
    }
    kind = _KINDS[fields.pop("kind")]
    if kind is StepCarried:
        fields["ended"] = decode({"kind": "AttemptEnded", **fields["ended"]})
    if kind is AttemptEnded:
        fields["artifacts"] = tuple(ArtifactKept(**item) for item in fields["artifacts"])
    event: Event = kind(**fields)
    for name, types in _types(kind.__name__).items():
        if not isinstance(getattr(event, name), types):
            raise TypeError(f"{name} is no {types[0].__name__}")
    return event


@cache
def _types(kind: str) -> dict[str, tuple[type, ...]]:
    """Return the classes that each field may have: a number written without a fraction is read as an int."""
    found = {}
    for name, hint in get_type_hints(_KINDS[kind]).items():
        given = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        types = tuple(get_origin(each) or each for each in given)
        found[name] = (*types, int) if float in types else types
    return found
