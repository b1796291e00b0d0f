"""References such as ``WHAT#FIELD``: one minted thing of several fields, and which field is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import PolicyDenied

if TYPE_CHECKING:
    from collections.abc import Mapping


def without_field(reference: str) -> tuple[str, str]:
    """Return the reference without its field, and the field: all of the same reference are one thing."""
    what, _, field = reference.partition("#")
    return what, field


def choose(values: Mapping[str, bytes], field: str, what: str) -> Mapping[str, bytes]:
    """Return ``values`` with the one that is meant under ``""`` too; raises ``PolicyDenied`` in words.

    Without a field it is the one that the source itself put there, or the only one.
    """
    if not field and ("" in values or len(values) != 1):
        return values
    chosen = values.get(field) if field else next(iter(values.values()))
    if not chosen:
        known = ", ".join(sorted(filter(None, values))) or "none"
        raise PolicyDenied(f"{what} has no field {field}", cure=f"bind one of its fields: {known}")
    return {**values, "": chosen}
