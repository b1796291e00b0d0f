"""What is being undone: which compensations are due, and in which order they may start.

A step is undone after all that was built on it: the reverse of the order in which steps started, with
independent branches side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from runner.planning.plan import Plan


class Undo:
    """The work list of a rollback.

    ``total`` counts what was due at its beginning; ``due`` is not undone yet; of that, ``ready`` has nothing
    due above it and nothing begun. Compensations are ``active``, ``undecided`` (an attempt ended) or
    ``paused`` as steps are, in a rollback or before a retry.
    """

    def __init__(self, plan: Plan, dependents: Mapping[str, list[str]]) -> None:
        """Begin with nothing due."""
        self._plan, self._dependents = plan, dependents
        self._waits: dict[str, int] = {}
        self.total = 0
        self.due: set[str] = set()
        self.ready: set[str] = set()
        self.active: set[str] = set()
        self.undecided: set[str] = set()
        self.paused: set[str] = set()

    def begin(self, due: Collection[str]) -> None:
        """Make ``due`` the steps to undo; costs time in proportion to the plan, once."""
        self.due = set(due)
        self.total = len(self.due)
        if not due:
            return
        self._waits = {name: len(self._dependents.get(name, ())) for name in self._plan.steps}
        self._release([name for name, count in self._waits.items() if not count])

    def start(self, name: str) -> None:
        """Take note of an attempt that begins."""
        for work in (self.ready, self.undecided, self.paused):
            work.discard(name)
        self.active.add(name)

    def end(self, name: str) -> None:
        """Take note of an attempt that ended."""
        self.active.discard(name)
        self.undecided.add(name)

    def pause(self, name: str) -> None:
        """Take note that the next attempt has its time."""
        self.undecided.discard(name)
        self.paused.add(name)

    def settle(self, name: str) -> None:
        """Take note that nothing more is done about ``name``; whatever the end, the rest goes on."""
        for work in (self.ready, self.active, self.undecided, self.paused):
            work.discard(name)
        if name in self.due:
            self.due.discard(name)
            self._release(self._below(name))

    def _release(self, names: list[str]) -> None:
        while names:
            name = names.pop()
            if name in self.due:
                self.ready.add(name)
            else:
                names += self._below(name)

    def _below(self, name: str) -> list[str]:
        """Return the needs of ``name`` that nothing stands on any more."""
        free = []
        for need in dict.fromkeys(self._plan.steps[name].needs):
            self._waits[need] -= 1
            if not self._waits[need]:
                free.append(need)
        return free
