"""What is bound and set, since when, and who had it: names and times, never a value."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from runner.clock import rfc3339
from runner.errors import UsageError
from runner.vault.binding import Binding

if TYPE_CHECKING:
    from runner.app import App
    from runner.store.secret_rows import SecretUse

_STORE = "store"


class Listing:
    """The secrets of one state folder, as the operator looks at them."""

    def __init__(self, app: App) -> None:
        """Touch nothing yet."""
        self._app = app
        self._bindings, self._store = app.bindings(), app.secret_store()

    def all(self) -> list[Binding]:
        """Return every binding, and one for each value that was set and needs none."""
        bound = self._bindings.list()
        named = {(binding.name, binding.mode) for binding in bound}
        return bound + [
            Binding(stored.name, f"{_STORE}:{stored.name}", stored.mode)
            for stored in self._store.list()
            if (stored.name, stored.mode) not in named
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return every binding as it is shown."""
        return [self._row(binding) for binding in self.all()]

    def overdue(self) -> list[Binding]:
        """Return the bindings whose value is older than it should be."""
        return [binding for binding in self.all() if self._is_overdue(binding)]

    def leases(self) -> list[dict[str, Any]]:
        """Return every lease that is out, with whether anybody drives its run."""
        shown = ("source", "lease", "run", "workflow", "mode", "step", "attempt")
        with self._app.journal() as journal:
            return [
                {
                    "names": list(lease.names),
                    **{name: getattr(lease, name) for name in shown},
                    "expires": rfc3339(lease.expires),
                    "live": self._app.is_live(lease.run),
                }
                for lease in journal.open_leases()
            ]

    def rotate(self, name: str, value: bytes, mode: str) -> tuple[int, list[SecretUse]]:
        """Set a new version of a value; return its number, and the runs that had the one before.

        Raises ``UsageError`` where there is none before, or where it is issued elsewhere.
        """
        bound = [each for each in self.all() if (each.name, each.mode) == (name, mode)]
        if not bound:
            raise UsageError(
                f"secret {name} has no value for {mode} yet", cure=f"runner secrets set {name} --mode {mode}"
            )
        elsewhere = [each.source for each in bound if each.scheme != _STORE]
        if elsewhere:
            raise UsageError(
                f"secret {name} comes from {elsewhere[0]}: a new value is made there, not here",
                cure=f"change it there, then: runner secrets bind {name} --from {elsewhere[0]} --mode {mode}",
            )
        key = bound[0].reference
        before = self._store.set_at(key, mode) or 0.0
        version = self._store.set(key, value, mode)
        sharing = {each.name for each in self.all() if each.reference == key and each.scheme == _STORE}
        with self._app.journal() as journal:
            uses = [use for use in journal.uses() if use.name in sharing and use.mode == mode]
        return version, [use for use in uses if use.at >= before]

    def _row(self, binding: Binding) -> dict[str, Any]:
        fields = asdict(binding)
        terms, since = fields.pop("terms"), fields.pop("since")
        revoked = self._bindings.revocation(binding)
        renewed = self._bindings.renewed_at(binding) or since
        return {
            **fields,
            **terms,
            "rotated": rfc3339(renewed) if renewed else None,
            "overdue": self._is_overdue(binding),
            "refused": list(self._bindings.refused_workflows(binding)),
            "revoked": {"by": revoked.who, "at": rfc3339(revoked.at)} if revoked else None,
        }

    def _is_overdue(self, binding: Binding) -> bool:
        age = self._app.clock.now() - self._bindings.renewed_at(binding)
        return binding.rotate_after is not None and age > binding.rotate_after
