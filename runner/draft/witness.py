"""A driver that watches another's sandboxes: what they open and how much they use. It changes nothing."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.draft.reads import Reads
from runner.sandbox.base import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runner.draft.seen import Seen
    from runner.sandbox.base import (
        Capabilities,
        Carrier,
        Chunk,
        Collection,
        Driver,
        Exit,
        Message,
        Sandbox,
        SandboxSpec,
    )

LOOK = 0.02
"""Seconds between two looks at what is used."""


@dataclass(slots=True)
class Witness:
    """What is seen of the one step that is watched: what it opens below ``root``, and what it uses."""

    root: Path
    reads: Reads | None = None
    used: Usage = field(default_factory=Usage)

    def around(self, driver: Driver) -> Driver:
        """Return the driver, watched."""
        self.reads = Reads(self.root, by_bytes=driver.name == "gvisor")
        return WatchedDriver(driver, self)

    def forget(self) -> None:
        """Begin anew: what was opened so far was the engine's doing."""
        if self.reads:
            self.reads.forget()

    def close(self) -> None:
        """Watch no more."""
        if self.reads:
            self.reads.close()

    def told(self, seen: Seen) -> Seen:
        """Return what is known of the run, with what was seen here."""
        if self.reads is None:
            return seen
        reads = self.reads
        return replace(seen, usage=self.used, read=reads.read(), blind=reads.lost, by_bytes=reads.by_bytes)

    def note(self, now: Usage) -> None:
        """Take what was used by now, and keep the most; who knows nothing any more adds nothing."""
        if now.memory is None and now.processes is None:
            return
        self.used = Usage(
            _most(self.used.memory, now.memory), _most(self.used.processes, now.processes), now.peaks
        )


class WatchedDriver:
    """Makes the sandboxes of another driver, watched."""

    def __init__(self, driver: Driver, witness: Witness) -> None:
        self.name = driver.name
        self._driver = driver
        self._witness = witness

    def check(self) -> Capabilities:
        """Ask the driver."""
        return self._driver.check()

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox and watch it."""
        return WatchedSandbox(self._driver.create(spec), self._witness)

    def reap(self, is_live: Callable[[str], bool]) -> tuple[str, ...]:
        """Ask the driver."""
        return self._driver.reap(is_live)

    def close(self) -> None:
        """Close the driver."""
        self._driver.close()


class WatchedSandbox:
    """One attempt's sandbox, looked at while it lives."""

    def __init__(self, sandbox: Sandbox, witness: Witness) -> None:
        self._sandbox = sandbox
        self._witness = witness
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, name="usage", daemon=True)

    def start(self, message: Message, carrier: Carrier | None = None) -> None:
        """Forget what the engine opened, and start."""
        self._witness.forget()
        self._sandbox.start(message, carrier)
        self._looking.start()

    def logs(self) -> Iterator[Chunk]:
        """Yield what the step writes."""
        return self._sandbox.logs()

    def wait(self) -> Exit:
        """Return how it ended; some engines still know what it used."""
        exited = self._sandbox.wait()
        self._over.set()
        self._looking.join()
        self._witness.note(self._sandbox.usage())
        return exited

    def stop(self, *, grace: float) -> None:
        """Stop it."""
        self._sandbox.stop(grace=grace)

    def collect(self, patterns: Sequence[str]) -> Collection:
        """Take its results."""
        return self._sandbox.collect(patterns)

    def usage(self) -> Usage:
        """Return what it used so far."""
        return self._sandbox.usage()

    def destroy(self) -> None:
        """Remove it."""
        self._over.set()
        self._sandbox.destroy()

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            self._witness.note(self._sandbox.usage())


def _most(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)
