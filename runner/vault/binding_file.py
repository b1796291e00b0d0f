"""The operator's file ``CONFIG/bindings.json``: bindings and revocations, one writer at a time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import StoreError
from runner.vault.binding import Binding, Revocation, Terms
from runner.vault.files import one_at_a_time, read_private, replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FORMAT = 2
_TUPLES = ("workflows", "definitions")


@dataclass(slots=True)
class Said:
    """All that the operator has said by now."""

    bindings: list[Binding]
    revoked: list[Revocation]


class BindingFile:
    """The file in the folder ``config``; processes may share it."""

    def __init__(self, config: Path) -> None:
        """Touch nothing yet."""
        self._path = config / "bindings.json"

    def read(self) -> Said:
        """Return its content, bindings sorted; raises ``StoreError`` for a file that nobody should trust."""
        try:
            data = json.loads(read_private(self._path))
            if data["version"] not in (1, _FORMAT):
                raise StoreError(f"{self._path} was written by a newer Runner", cure="upgrade this one")
            found = [_binding(item) for item in data["bindings"]]
            revoked = [Revocation(**item) for item in data.get("revoked", ())]
        except FileNotFoundError:
            return Said([], [])
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self._path} is damaged: {error}", cure="repair or remove it") from error
        return Said(sorted(found, key=order), revoked)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Said]:
        """Give the content to change, and write it at the end; one process at a time."""
        with one_at_a_time(self._path.with_name(".bindings.lock")):
            said = self.read()
            yield said
            self._write(said)

    def _write(self, said: Said) -> None:
        data = {
            "version": _FORMAT,
            "bindings": [asdict(binding) for binding in sorted(said.bindings, key=order)],
            "revoked": [asdict(revocation) for revocation in said.revoked],
        }
        replace(self._path, json.dumps(data, indent=1).encode() + b"\n")


def order(binding: Binding) -> tuple[str, str, tuple[str, ...]]:
    """Return what bindings are sorted by."""
    return binding.name, binding.mode, binding.workflows


def _binding(item: dict[str, Any]) -> Binding:
    fields = dict(item)
    if "workflow" in fields or "host" in fields:  # the first format knew one of each
        workflow, host = fields.pop("workflow", None), fields.pop("host", None)
        fields["workflows"] = (workflow,) if workflow else ()
        fields["terms"] = {"hosts": (host,) if host else ()}
    terms: dict[str, Any] = {
        key: value if key == "header" else tuple(value) for key, value in fields.pop("terms", {}).items()
    }
    lists = {key: tuple(fields[key]) for key in _TUPLES if key in fields}
    return Binding(**{**fields, **lists}, terms=Terms(**terms))
