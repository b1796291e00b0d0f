"""From what a source made to the one secret that a binding means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied
from runner.vault.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.vault.binding import Binding
    from runner.vault.lease import Minted

_PUBLIC = frozenset({"host", "hostname", "port", "user", "username", "role", "database", "dbname", "db"})


def secret_of(binding: Binding, minted: Minted) -> Secret:
    """Return the field that the binding names, the value without a name or the only one, or all as JSON.

    Raises ``PolicyDenied`` where there is no such field, or a value is no text.
    """
    values = minted.values
    others = [value for name, value in values.items() if name not in _PUBLIC]
    public = [value for name, value in values.items() if name in _PUBLIC]
    return Secret(binding.name, _value(binding, values), others, public, binding.terms)


def _value(binding: Binding, values: Mapping[str, bytes]) -> bytes:
    wanted = binding.value_field
    if wanted:
        if wanted not in values:
            known = ", ".join(filter(None, sorted(values))) or "one value without a name"
            raise PolicyDenied(
                f"secret {binding.name}: {binding.source} has no such field (it has {known})",
                cure=f"runner secrets bind {binding.name} --from SCHEME:REFERENCE#FIELD",
            )
        return values[wanted]
    if "" in values or len(values) == 1:
        return values.get("") or next(iter(values.values()))
    try:
        return json.dumps({key: value.decode() for key, value in values.items()}).encode()
    except UnicodeDecodeError:
        raise PolicyDenied(
            f"secret {binding.name}: {binding.source} has several values, and not all of them are text",
            cure=f"bind one of them: runner secrets bind {binding.name} --from {binding.source}#FIELD",
        ) from None
