"""Which secret comes from where, for which workflow and mode: the operator's word, outside any project."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runner.errors import PolicyDenied, StoreError
from runner.vault.files import own_folder, read_private, replace, storing
from runner.vault.secret import Secret
from runner.vault.sources.known import FORMS, canonical
from runner.vault.store import checked_mode, checked_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runner.vault.lease import Holder
    from runner.vault.sources.base import Source
    from runner.vault.store import SecretStore

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Binding:
    """``name`` comes from ``source`` (``SCHEME:REFERENCE``); None means any workflow, any host."""

    name: str
    source: str
    mode: str = "staging"
    workflow: str | None = None
    host: str | None = None


class Bindings:
    """The operator's file ``CONFIG/bindings.json``, and the values behind it."""

    def __init__(self, config: Path, store: SecretStore, sources: Mapping[str, Source]) -> None:
        """Read and write in ``config``; the values come from ``sources``, by scheme."""
        self._file = config / "bindings.json"
        self._store = store
        self._sources = sources

    def bind(
        self,
        name: str,
        source: str,
        mode: str = "staging",
        workflow: str | None = None,
        host: str | None = None,
    ) -> None:
        """Record a binding in place of the one for the same name, mode and workflow."""
        binding = Binding(checked_name(name), canonical(source), checked_mode(mode), workflow, host)
        with self._locked():
            kept = [known for known in self.list() if _key(known) != _key(binding)]
            self._write([*kept, binding])

    def unbind(self, name: str, mode: str | None = None) -> int:
        """Forget the bindings of a name (in one mode, or all) and return how many there were."""
        with self._locked():
            known = self.list()
            kept = [each for each in known if each.name != name or (mode and each.mode != mode)]
            self._write(kept)
        return len(known) - len(kept)

    def list(self) -> list[Binding]:
        """Return all bindings, sorted; raises ``StoreError`` for a file that nobody should trust."""
        try:
            data = json.loads(read_private(self._file))
            found = [Binding(**item) for item in data["bindings"]] if data["version"] == _FORMAT else None
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self._file} is damaged: {error}", cure="repair or remove it") from error
        if found is None:
            raise StoreError(f"{self._file} was written by a newer Runner", cure="upgrade this one")
        return sorted(found, key=_key)

    def find(self, name: str, workflow: str, mode: str) -> Binding:
        """Return the binding that holds for a run; raises ``PolicyDenied`` with the cure.

        The workflow's own binding comes first, then the one for any workflow. A value that was ``set`` needs
        no binding, unless the operator has narrowed the name in this mode.
        """
        bound = [each for each in self.list() if each.name == name and each.mode == mode]
        for wanted in (workflow, None):
            for each in bound:
                if each.workflow == wanted:
                    return each
        if not bound and self._store.has(checked_name(name), mode):
            return Binding(name, f"store:{name}", mode)
        raise PolicyDenied(
            f"secret {name} is not bound for workflow {workflow} in {mode}",
            cure=f"runner secrets bind {name} --from env:VAR --mode {mode} --workflow {workflow}",
        )

    def resolve(self, name: str, holder: Holder, ttl: float) -> Secret:
        """Open the value for one attempt; raises ``PolicyDenied`` when not bound or not there."""
        binding = self.find(name, holder.workflow, holder.mode)
        scheme, _, reference = binding.source.partition(":")
        if scheme not in self._sources:
            raise PolicyDenied(
                f"secret {name} is bound to an unknown source {scheme}:", cure=f"known: {', '.join(FORMS)}"
            )
        if scheme == "store":
            reference = f"{holder.mode}/{reference}"
        values = self._sources[scheme].mint(reference, holder, ttl).values
        if "" not in values:
            fields = ", ".join(sorted(values))
            raise PolicyDenied(
                f"secret {name} is bound to several values at once", cure=f"bind one of them with #: {fields}"
            )
        return Secret(name, values[""])

    def _write(self, bindings: Sequence[Binding]) -> None:
        items = [asdict(binding) for binding in sorted(bindings, key=_key)]
        replace(self._file, json.dumps({"version": _FORMAT, "bindings": items}, indent=1).encode() + b"\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = own_folder(self._file.parent) / ".bindings.lock"
        with storing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _key(binding: Binding) -> tuple[str, str, str]:
    return binding.name, binding.mode, binding.workflow or ""
