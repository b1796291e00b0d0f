"""Taking leases back where one of them cannot be: the others are, and the journal keeps that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from leasing_world import LeaseServer, LeasingApp, LeasingFake

from runner.clock import SystemClock
from runner.custody.sweep import Sweep
from runner.errors import StoreError
from runner.events import Event, LeaseReturned, LeaseTaken, RunCreated
from runner.settings import Settings
from runner.vault.bindings import Bindings
from runner.vault.lease import Holder, Lease
from runner.vault.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOLDER = Holder("r1", "digest", "staging", "load", 1, "run", "d" * 64, "p" * 64)


class NeedsTheStore(LeasingFake):
    """A source whose own login stands in the store, which cannot be read any more."""

    def revoke(self, reference: str, lease: Lease) -> None:
        del reference, lease
        raise StoreError("the value of the login cannot be read")


class BrokenApp(LeasingApp):
    """Runner with such a source beside one that works."""

    def bindings(self) -> Bindings:
        store, own = self.secret_store(), super().bindings()
        sources = {"lease": own.source("lease"), "broken": NeedsTheStore(self.server)}
        return Bindings(self.layout.home, store, SystemClock(), sources)


@pytest.fixture
def server(tmp_path: Path) -> LeaseServer:
    return LeaseServer(tmp_path / "server")


def test_the_end_of_an_attempt_takes_back_the_others(server: LeaseServer) -> None:
    events: list[Event] = []

    def record(more: Sequence[Event]) -> None:
        events.extend(more)

    leases = Leases(HOLDER, record, SystemClock())
    leases.take("admin", "broken:rw", NeedsTheStore(server), 60)
    minted = leases.take("db", "lease:ro", LeasingFake(server), 60)
    leases.give_back()
    assert not server.accepts(minted.values["password"])
    assert [event.source for event in events if isinstance(event, LeaseReturned)] == ["lease:ro"]


def test_a_sweep_takes_back_the_others_and_says_why_one_is_left(tmp_path: Path, server: LeaseServer) -> None:
    app = BrokenApp(Settings(tmp_path / "home", tmp_path, tmp_path, tmp_path / "policy"), server)
    minted = LeasingFake(server).mint("ro", HOLDER, 60)
    assert minted.lease
    with app.journal() as journal:
        ownership = journal.create_run("r1", "{}", RunCreated("digest", "staging", "fake", "d", "p"))
        journal.append(
            ownership,
            [
                LeaseTaken("load", 1, "run", "admin", "broken:rw", "one", minted.lease.expires),
                LeaseTaken("load", 1, "run", "db", "lease:ro", minted.lease.id, minted.lease.expires),
            ],
        )
        sweep = Sweep(app, journal)
        tried = {each.lease.source: each.left for each in sweep.take_back(sweep.dead())}
        assert tried == {"broken:rw": "the value of the login cannot be read", "lease:ro": ""}
        assert [lease.source for lease in journal.open_leases()] == ["broken:rw"]
    assert not server.accepts(minted.values["password"])
