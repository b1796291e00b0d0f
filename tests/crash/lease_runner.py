"""Runner with a source that leases: ``lease_runner.py SERVER KILL start FILE | resume RUN | sweep | revoke …``.

At the moment ``KILL`` the process ends by SIGKILL: ``minted`` (before the journal knows the lease), ``journaled``
(before the step starts), ``started``, ``ended`` (before the lease is taken back); ``-`` means never.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leasing_world import LeaseServer, LeasingApp, LeasingFake

from runner.app import Watching
from runner.cli.output import print_json
from runner.cli.taken import print_revoked
from runner.clock import Cancellation
from runner.custody.revoke import revoke
from runner.custody.sweep import Sweep
from runner.events import LeaseTaken
from runner.plans import plan_to_run
from runner.runs import Runs
from runner.settings import Settings
from runner.store.journal import Journal
from runner.vault.binding import Revocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.events import Event, Record
    from runner.sandbox.base import SandboxSpec
    from runner.vault.lease import Holder, Lease, Minted


class Deadly:
    """Dies at one moment."""

    def __init__(self, moment: str) -> None:
        self._moment = moment

    def at(self, moment: str) -> None:
        if moment == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlySource(LeasingFake):
    """Dies once it has made a value, or is asked to take one back."""

    def __init__(self, server: LeaseServer, deadly: Deadly) -> None:
        super().__init__(server)
        self._deadly = deadly

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        minted = super().mint(reference, holder, ttl)
        self._deadly.at("minted")
        return minted

    def revoke(self, reference: str, lease: Lease) -> None:
        self._deadly.at("ended")
        super().revoke(reference, lease)


class DeadlyJournal(Journal):
    """Dies once a lease is in it."""

    deadly: Deadly

    def append(self, *arguments: Any) -> list[Record]:
        events: Sequence[Event] = arguments[1]
        records = super().append(*arguments)
        if any(isinstance(event, LeaseTaken) for event in events):
            self.deadly.at("journaled")
        return records


class DeadlyApp(LeasingApp):
    """Runner put together with deadly parts."""

    def __init__(self, server: LeaseServer, deadly: Deadly) -> None:
        super().__init__(Settings.from_environment(os.environ), server)
        self._deadly, self._source = deadly, DeadlySource(server, deadly)

    def journal(self) -> Journal:
        journal = DeadlyJournal(self.layout.journal, self.clock)
        journal.deadly = self._deadly
        return journal

    def make_driver(self, engine: str) -> Any:
        driver, deadly = super().make_driver(engine), self._deadly
        create = driver.create

        def made(spec: SandboxSpec) -> Any:
            sandbox = create(spec)
            start = sandbox.start

            def started(*arguments: Any) -> None:
                start(*arguments)
                deadly.at("started")

            sandbox.start = started
            return sandbox

        driver.create = made
        return driver


class Told:
    """Prints what steps write."""

    def event(self, record: Record) -> None:
        print(type(record.event).__name__, file=sys.stderr, flush=True)

    def output(self, step: str, attempt: int, stream: str, data: bytes) -> None:
        del attempt, stream
        print(step, data.decode(errors="replace"), end="", file=sys.stderr, flush=True)


def main(server: str, kill: str, act: str, *rest: str) -> int:
    app = DeadlyApp(LeaseServer(Path(server)), Deadly(kill))
    stop = Cancellation()
    signal.signal(signal.SIGTERM, lambda *_: stop.cancel("SIGTERM"))
    watching = Watching(Told(), stop, Cancellation(), lambda text: print(text, file=sys.stderr, flush=True))
    if act == "start":
        plan = plan_to_run(Settings.from_environment(os.environ), Path(rest[0]), "staging", {})
        report, code = Runs(app).start(plan, "bubblewrap", watching)
        print_json(report)
    elif act == "resume":
        report, code = Runs(app).resume(rest[0], watching)
        print_json(report)
    elif act == "sweep":
        with app.journal() as journal:
            code = int(any(tried.left for tried in Sweep(app, journal).take_back(Sweep(app, journal).dead())))
    else:
        name, workflow = rest
        done = revoke(app, Revocation(name, "", workflow, "anna", app.clock.now()))
        code = print_revoked(app, done, as_json=True)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
