"""What a source made for one attempt: journaled before it is handed out, renewed, shared, taken back."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from leasing_world import LeaseServer, LeasingFake

from runner.clock import SystemClock
from runner.errors import PolicyDenied, SourceUnavailable, StoreError, UsageError
from runner.events import AttemptStarted, LeaseAsked, LeaseReturned, LeaseTaken
from runner.planning.plan import Plan
from runner.store.journal import Ownership
from runner.store.layout import Layout
from runner.store.quarantine import Quarantine
from runner.vault.binding import Binding, Revocation, Terms
from runner.vault.bindings import Bindings
from runner.vault.lease import Holder, Minted
from runner.vault.leases import Leases
from runner.vault.opened import secret_of
from runner.vault.store import SecretStore
from runner.wiring import RunSecrets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.events import Event

HOLDER = Holder("r1", "digest", "staging", "load", 2, "run", "d" * 64, "p" * 64)


@dataclass
class Journal:
    """Remembers events; ``refuses`` makes it fail for that kind."""

    events: list[Event] = field(default_factory=list)
    refuses: type | None = None

    def record(self, events: Sequence[Event]) -> None:
        if self.refuses and any(isinstance(event, self.refuses) for event in events):
            raise StoreError("the disk is full")
        self.events += events

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@pytest.fixture
def server(tmp_path: Path) -> LeaseServer:
    return LeaseServer(tmp_path / "server")


@pytest.fixture
def journal() -> Journal:
    return Journal()


def leases_of(journal: Journal) -> Leases:
    return Leases(HOLDER, journal.record, SystemClock())


def test_a_lease_stands_in_the_journal_before_its_value_is_handed_out(
    server: LeaseServer, journal: Journal
) -> None:
    leases = leases_of(journal)
    minted = leases.take("db", "lease:ro", LeasingFake(server), 60)
    assert journal.kinds() == ["LeaseAsked", "LeaseTaken"]
    assert server.accepts(minted.values["password"])
    leases.give_back()
    assert not server.accepts(minted.values["password"])
    assert journal.events[-1] == LeaseReturned("load", 2, "run", "lease:ro", server.names("ended")[0])


def test_a_lease_that_cannot_be_journaled_is_revoked_at_once(server: LeaseServer, journal: Journal) -> None:
    journal.refuses = LeaseTaken
    with pytest.raises(StoreError):
        leases_of(journal).take("db", "lease:ro", LeasingFake(server), 60)
    assert server.names("live") == []
    assert len(server.names("ended")) == 1


def test_nothing_is_made_where_not_even_the_intent_can_be_journaled(
    server: LeaseServer, journal: Journal
) -> None:
    journal.refuses = LeaseAsked
    with pytest.raises(StoreError):
        leases_of(journal).take("db", "lease:ro", LeasingFake(server), 60)
    assert server.minted == []


def test_an_answer_that_was_lost_leaves_nothing_at_the_source(server: LeaseServer, journal: Journal) -> None:
    class LosesItsAnswer(LeasingFake):
        def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
            super().mint(reference, holder, ttl)
            raise SourceUnavailable("the connection was reset")

    leases = leases_of(journal)
    with pytest.raises(SourceUnavailable):
        leases.take("db", "lease:ro", LosesItsAnswer(server), 60)
    assert len(server.names("live")) == 1
    leases.give_back()
    assert server.names("live") == []
    assert journal.kinds() == ["LeaseAsked", "LeaseReturned"]


def test_two_names_with_the_same_reference_share_one_lease(server: LeaseServer, journal: Journal) -> None:
    leases, source = leases_of(journal), LeasingFake(server)
    first = leases.take("user", "lease:ro", source, 60)
    second = leases.take("password", "lease:ro", source, 60)
    other = leases.take("admin", "lease:rw", source, 60)
    assert first is second is not other
    assert len(server.names("live")) == 2
    taken = [(event.name, event.lease) for event in journal.events if isinstance(event, LeaseTaken)]
    assert [name for name, _ in taken] == ["user", "password", "admin"]
    assert taken[0][1] == taken[1][1]
    leases.give_back()
    assert server.names("live") == []


def test_a_short_lease_is_renewed_for_as_long_as_the_attempt_needs(
    server: LeaseServer, journal: Journal
) -> None:
    leases = leases_of(journal)
    minted = leases.take("db", "lease:ro", LeasingFake(server, most=1.5), 60)
    time.sleep(3.5)
    assert server.accepts(minted.values["password"])
    leases.give_back()
    assert len(server.names("renewed")) >= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("renew-")]
    assert [event.expires for event in journal.events if isinstance(event, LeaseTaken)][-1] > time.time() - 3


def test_a_renewal_outlives_a_source_that_is_away_for_a_moment(server: LeaseServer, journal: Journal) -> None:
    leases = leases_of(journal)
    minted = leases.take("db", "lease:ro", LeasingFake(server, most=2.5), 60)
    server.down = True
    time.sleep(1.6)
    server.down = False
    time.sleep(1.6)
    assert server.accepts(minted.values["password"])
    leases.give_back()


def test_a_lease_that_lasts_is_not_renewed(server: LeaseServer, journal: Journal) -> None:
    leases = leases_of(journal)
    leases.take("db", "lease:ro", LeasingFake(server), 60)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("renew-")]
    leases.give_back()


def test_a_source_that_is_down_at_the_end_leaves_the_lease_to_a_later_try(
    server: LeaseServer, journal: Journal
) -> None:
    leases = leases_of(journal)
    leases.take("db", "lease:ro", LeasingFake(server), 60)
    server.down = True
    leases.give_back()
    assert journal.kinds() == ["LeaseAsked", "LeaseTaken"]
    assert len(server.names("live")) == 1


def test_a_field_the_only_value_or_all_of_them() -> None:
    minted = Minted({"user": b"anna", "password": b"geheim-1"})
    assert secret_of(Binding("x", "lease:ro#password"), minted).reveal() == b"geheim-1"
    whole = secret_of(Binding("x", "lease:ro"), minted)
    assert json.loads(whole.reveal()) == {"user": "anna", "password": "geheim-1"}
    assert set(whole.to_mask()) == {whole.reveal(), b"anna", b"geheim-1"}
    assert secret_of(Binding("x", "lease:ro"), Minted({"token": b"t"})).reveal() == b"t"
    with pytest.raises(PolicyDenied, match="no such field") as caught:
        secret_of(Binding("x", "lease:ro#nope"), minted)
    assert "password, user" in caught.value.message
    assert "geheim" not in str(caught.value)
    with pytest.raises(PolicyDenied, match="not all of them are text"):
        secret_of(Binding("x", "lease:ro"), Minted({"a": b"\xff\xfe", "b": b"b"}))


def test_a_file_may_have_a_hash_in_its_name_and_no_field() -> None:
    assert Binding("x", "file:/a/b#c").reference == "/a/b#c"
    assert Binding("x", "file:/a/b#c").value_field == ""
    assert (Binding("x", "bao:a/b#c.d").reference, Binding("x", "bao:a/b#c.d").value_field) == ("a/b", "c.d")


def test_a_secret_carries_the_terms_of_its_binding() -> None:
    terms = Terms(("api.example.com",), "Authorization: Bearer {}", ("GET",), ("/v1/*",))
    assert secret_of(Binding("x", "lease:ro", terms=terms), Minted({"": b"value"})).terms == terms


class Own:
    """What ``RunSecrets`` asks of a run's journal."""

    def __init__(self, journal: Journal) -> None:
        self.ownership = Ownership("r1", "me", 1)
        self.record = journal.record


def run_secrets(
    folder: Path, source: LeasingFake, journal: Journal, **more: Any
) -> tuple[RunSecrets, Bindings]:
    store = SecretStore(folder / "home", folder / "config")
    bindings = Bindings(folder / "config", store, SystemClock(), {"lease": source})
    bindings.bind(Binding("db", "lease:ro#password", **more))
    plan = Plan("digest", "w.yaml", "staging", "d" * 64, "p", "", "", {}, {})
    quarantine = Quarantine(Layout(folder / "home"), "r1", lambda: store)
    own: Any = Own(journal)
    return RunSecrets(lambda: bindings, own, plan, SystemClock(), quarantine), bindings


def test_who_revokes_while_a_value_is_made_leaves_nothing_behind(
    tmp_path: Path, server: LeaseServer, journal: Journal
) -> None:
    class RevokedMeanwhile(LeasingFake):
        def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
            minted = super().mint(reference, holder, ttl)
            bindings.revoke(Revocation("db", "", "", "anna", time.time()))
            return minted

    secrets, bindings = run_secrets(tmp_path, RevokedMeanwhile(server), journal)
    start = AttemptStarted("load", 1)
    with pytest.raises(PolicyDenied, match="revoked by anna"):
        secrets.open("db", start, 60)
    assert len(server.names("live")) == 1
    secrets.close(start)
    assert server.names("live") == []


@pytest.mark.parametrize(("cap", "granted"), [(None, 90), (45.0, 45)])
def test_a_lease_lasts_as_long_as_the_attempt_and_no_longer_than_the_operator_says(
    tmp_path: Path, server: LeaseServer, journal: Journal, cap: float | None, granted: float
) -> None:
    secrets, _ = run_secrets(tmp_path, LeasingFake(server), journal, ttl=cap)
    secrets.open("db", AttemptStarted("load", 1), 60)
    (taken,) = [event for event in journal.events if isinstance(event, LeaseTaken)]
    assert granted - 1 < taken.expires - time.time() < granted + 1
    secrets.close(AttemptStarted("load", 1))
    secrets.close(AttemptStarted("load", 1))


def test_a_binding_of_the_first_format_still_holds(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir(mode=0o700)
    old = {"name": "db", "source": "lease:ro", "mode": "staging", "workflow": "digest", "host": "a.example"}
    path = tmp_path / "config" / "bindings.json"
    path.write_text(json.dumps({"version": 1, "bindings": [old]}))
    path.chmod(0o600)
    bindings = Bindings(
        tmp_path / "config",
        SecretStore(tmp_path, tmp_path),
        SystemClock(),
        {"lease": LeasingFake(LeaseServer(tmp_path))},
    )
    found = bindings.find("db", "digest", "staging")
    assert (found.source, found.workflows, found.terms.hosts) == ("lease:ro", ("digest",), ("a.example",))
    bindings.bind(Binding("db", "lease:rw", workflows=("other",)))
    assert [each.source for each in bindings.list()] == ["lease:ro", "lease:rw"]
    with pytest.raises(PolicyDenied):
        bindings.find("db", "third", "staging")


def test_a_workflow_is_bound_to_one_source_at_a_time(
    tmp_path: Path, server: LeaseServer, journal: Journal
) -> None:
    _, bindings = run_secrets(tmp_path, LeasingFake(server), journal, workflows=("a", "b"))
    bindings.bind(Binding("db", "lease:rw", workflows=("b", "c")))
    assert [(each.source, each.workflows) for each in bindings.list()] == [
        ("lease:ro#password", ("a",)),
        ("lease:rw", ("b", "c")),
    ]


@pytest.mark.parametrize(
    "terms",
    [
        Terms(("a b",)),
        Terms(("a.example",), "Authorization Bearer"),
        Terms(("a.example",), "Authorization: {} {}"),
        Terms(("a.example",), "A: {}\r\nB: c"),
        Terms((), "Authorization: {}"),
        Terms(("a.example",), methods=("get",)),
        Terms(("a.example",), paths=("v1",)),
    ],
)
def test_terms_that_no_request_could_be_held_to_are_refused(
    tmp_path: Path, server: LeaseServer, journal: Journal, terms: Terms
) -> None:
    _, bindings = run_secrets(tmp_path, LeasingFake(server), journal)
    with pytest.raises(UsageError):
        bindings.bind(Binding("db", "lease:ro", terms=terms))
