"""Which secret comes from where, for which workflow and mode: the operator's word, outside any project."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.clock import rfc3339
from runner.errors import PolicyDenied
from runner.vault.binding import Binding, Revocation
from runner.vault.binding_file import BindingFile
from runner.vault.sources.known import FORMS, SCHEMES, canonical
from runner.vault.store import checked_mode, checked_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from runner.clock import Clock
    from runner.vault.lease import Holder
    from runner.vault.sources.base import Source
    from runner.vault.store import SecretStore

_STORE = "store"
_TICK = 0.001  # seconds between what was revoked and what is bound after it, on a clock that went back


class Bindings:
    """The operator's bindings and revocations, and the sources behind them."""

    def __init__(self, config: Path, store: SecretStore, clock: Clock, sources: Mapping[str, Source]) -> None:
        """Read and write in ``config``; the values come from ``sources``, by scheme."""
        self._file = BindingFile(config)
        self._store, self._clock = store, clock
        self._sources = sources

    def bind(self, binding: Binding) -> None:
        """Record a binding; its workflows are taken out of older ones for the same name and mode."""
        checked_name(binding.name)
        checked_mode(binding.mode)
        binding.terms.check()
        source = self._checked(binding)
        with self._file.changing() as said:
            since = max([self._clock.now(), *(each.at + _TICK for each in said.revoked)])
            kept = [left for known in said.bindings for left in _without(known, binding)]
            said.bindings = [*kept, replace(binding, source=source, since=since)]

    def unbind(self, name: str, mode: str | None = None) -> int:
        """Forget the bindings of a name (in one mode, or all) and return how many there were."""
        with self._file.changing() as said:
            before = len(said.bindings)
            said.bindings = [
                each for each in said.bindings if each.name != name or (mode and each.mode != mode)
            ]
            return before - len(said.bindings)

    def revoke(self, revocation: Revocation) -> None:
        """Refuse from now on what was bound or set before its time."""
        with self._file.changing() as said:
            same = (revocation.name, revocation.mode, revocation.workflow)
            said.revoked = [each for each in said.revoked if (each.name, each.mode, each.workflow) != same]
            said.revoked.append(revocation)

    def list(self) -> list[Binding]:
        """Return all bindings, sorted; raises ``StoreError`` for a file that nobody should trust."""
        return self._file.read().bindings

    def find(self, name: str, workflow: str, mode: str, definition: str = "") -> Binding:
        """Return the binding that holds for a run; raises ``PolicyDenied`` with the cure.

        The workflow's own binding comes first, then the one for any workflow. A value that was ``set`` needs
        no binding, unless the operator has narrowed the name in this mode.
        """
        said = self._file.read()
        found = self._bound(said.bindings, name, workflow, mode)
        if found.definitions and definition not in found.definitions:
            raise PolicyDenied(
                f"secret {name} is bound for other definitions than this one of {workflow}",
                cure=f"look at what changed (runner plan), then bind it with --definition {definition}",
            )
        for each in said.revoked:
            if each.covers(name, mode, workflow) and not self._is_allowed_since(found, each):
                raise _revoked(name, found, each)
        return found

    def revocation(self, binding: Binding) -> Revocation | None:
        """Return what takes a binding away from every workflow that it is for, if anything does."""
        for each in self._file.read().revoked:
            covered = all(each.covers(binding.name, binding.mode, one) for one in binding.workflows or ("",))
            if covered and not self._is_allowed_since(binding, each):
                return each
        return None

    def refused_workflows(self, binding: Binding) -> tuple[str, ...]:
        """Return the workflows that a binding is no longer for, because all of theirs was revoked."""
        revoked = (each for each in self._file.read().revoked if each.workflow)
        return tuple(
            each.workflow
            for each in revoked
            if each.covers(binding.name, binding.mode, each.workflow)
            and (not binding.workflows or each.workflow in binding.workflows)
            and not self._is_allowed_since(binding, each)
        )

    def source(self, scheme: str) -> Source:
        """Return the source of a scheme; raises ``PolicyDenied`` when there is none here."""
        if scheme not in self._sources:
            raise PolicyDenied(
                f"there is no source {scheme}: in this Runner", cure=f"known sources: {', '.join(FORMS)}"
            )
        return self._sources[scheme]

    def renewed_at(self, binding: Binding) -> float:
        """Return when the value was last set, or the binding made, in seconds since 1970."""
        is_stored = binding.scheme == _STORE
        stored = self._store.set_at(binding.reference, binding.mode) if is_stored else None
        return binding.since if stored is None else stored

    def _bound(self, bindings: Iterable[Binding], name: str, workflow: str, mode: str) -> Binding:
        bound = [each for each in bindings if each.name == name and each.mode == mode]
        general = [each for each in bound if not each.workflows]
        for each in (*(one for one in bound if workflow in one.workflows), *general):
            return each
        if not bound and self._store.has(checked_name(name), mode):
            return Binding(name, f"{_STORE}:{name}", mode)
        raise PolicyDenied(
            f"secret {name} is not bound for workflow {workflow} in {mode}",
            cure=f"runner secrets bind {name} --from env:VAR --mode {mode} --workflow {workflow}",
        )

    def _is_allowed_since(self, binding: Binding, revocation: Revocation) -> bool:
        """Whether the operator allowed it again; a workflow that lost all is trusted again by name only."""
        if revocation.workflow:
            return binding.since > revocation.at and revocation.workflow in binding.workflows
        return max(binding.since, self.renewed_at(binding)) > revocation.at

    def _checked(self, binding: Binding) -> str:
        if binding.scheme in self._sources and binding.scheme not in SCHEMES:
            return binding.source
        return canonical(binding.source)


def asked(binding: Binding, holder: Holder) -> str:
    """Return what a source is asked for: a mode only ever sees its own values of the store."""
    in_mode = f"{holder.mode}/{binding.reference}" if binding.scheme == _STORE else binding.reference
    return f"{binding.scheme}:{in_mode}"


def _without(known: Binding, new: Binding) -> tuple[Binding, ...]:
    """Return what is left of a binding once ``new`` stands: nothing, all, or its other workflows."""
    if (known.name, known.mode) != (new.name, new.mode):
        return (known,)
    if not known.workflows:
        return (known,) if new.workflows else ()
    left = tuple(each for each in known.workflows if each not in new.workflows)
    return (replace(known, workflows=left),) if left else ()


def _revoked(name: str, binding: Binding, revocation: Revocation) -> PolicyDenied:
    when, again = rfc3339(revocation.at), f"bind {name} --from {binding.source} --mode {binding.mode}"
    what = f"secret {name} was"
    if revocation.workflow:
        what = f"the secrets of workflow {revocation.workflow} were"
        again += f" --workflow {revocation.workflow}"
    elif binding.scheme == _STORE:
        again = f"set {binding.reference} --mode {binding.mode} < NEW-VALUE"
    return PolicyDenied(
        f"{what} revoked by {revocation.who} at {when}", cure=f"to allow it again: runner secrets {again}"
    )
