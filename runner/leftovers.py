"""What dead runs left in the state folder: their results are kept, then their folders go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.errors import FenceLost, PlanOutdated, StoreError, UsageError
from runner.sandbox.attempt_folder import left_behind, remove_left_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runner.engine.run import Run
    from runner.events import AttemptEnded
    from runner.store.journal import Journal
    from runner.store.layout import Layout


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The attempts of runs that nobody drives, with everything dead that wrote to their folders.

    ``is_live`` is False for ``ours``, the run that we drive from now on; ``say`` takes a line of plain words.
    """

    layout: Layout
    journal: Callable[[], Journal]
    is_live: Callable[[str], bool]
    say: Callable[[str], None]
    ours: str = ""

    def clear(self) -> list[str]:
        """Record what lost attempts left, then unmount and remove their folders; return those.

        The folder of an attempt goes after its end stands in the journal, and stays where that failed.
        """
        unsettled: set[str] = set()
        if runs := left_behind(self.layout.runs):
            with self.journal() as journal:
                unsettled = {run for run in runs if not self._settle(journal, run)}
        return remove_left_behind(self.layout.runs, lambda run: run in unsettled or self.is_live(run))

    def _settle(self, journal: Journal, run: str) -> bool:
        """Record how the run's open attempts ended; whether nobody needs their folders any more."""
        try:
            ends = self._record(journal, run)
        except UsageError:  # the journal knows no such run
            return True
        except PlanOutdated as error:  # nobody can go on with it, or knows what may be kept
            self.say(f"what run {run} left goes with nothing kept: {error.message}")
            return True
        except FenceLost:  # somebody goes on with it
            return False
        except (OSError, StoreError) as error:
            self.say(f"what run {run} left stays where it is: {error}")
            return False
        for ended in ends:
            for words in ended.refused:
                self.say(f"run {run}, {ended.step}: not taken: {words}")
        return True

    def _record(self, journal: Journal, run: str) -> list[AttemptEnded]:
        from runner.admission.arbiter import Arbiter
        from runner.engine.recall import recall

        ownership = journal.borrow(run)
        if self.is_live(run):
            raise FenceLost(f"run {run} is driven by another runner")
        known = recall(journal, run)
        if ends := list(self._ends(journal, known)):
            journal.append(ownership, ends, Arbiter(run, known.plan, self.is_live))
        return ends

    def _ends(self, journal: Journal, run: Run) -> Iterator[AttemptEnded]:
        """Yield the ends of the attempts whose runner died, with what they left."""
        from runner.engine.lost import Salvage, lost_attempts
        from runner.events import SecretOpened
        from runner.planning.installation import installs
        from runner.store.artifacts import Artifacts

        folders = [] if installs(run.plan) else self._folders(run.id)
        opened = any(isinstance(record.event, SecretOpened) for record in journal.records(run.id))
        salvage = Salvage(run, folders, Artifacts(self.layout.home), unmasked=opened)
        for lost in lost_attempts(run):
            try:
                yield salvage.complete(lost)
            except (OSError, StoreError) as error:
                if run.id != self.ours:  # whoever goes on with it may have more luck
                    raise
                yield replace(lost, refused=(f"/out: what was left cannot be kept: {error}",))

    def _folders(self, run: str) -> list[Path]:
        return [one for one in self.layout.run(run).glob("attempts.*") if not one.is_symlink()]
