"""A step's role in PostgreSQL: what it may do, and that nothing of it is left, whatever it did."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import source_bench as bench
from source_bench import HOLDER, Operator

from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.lease import Lease, Minted
from runner.vault.sources.postgres.connection import connected, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secret_servers import Server

GRANTS = "grants: ['USAGE, CREATE ON SCHEMA work', 'SELECT, INSERT ON work.rows']"


@dataclass(frozen=True)
class Bench:
    """A database with a schema in which steps may make things."""

    operator: Operator
    server: Server

    @property
    def source(self) -> Any:
        return self.operator.sources()["postgres"]

    def declare(self, more: str, admin: str = "") -> None:
        url = self.operator.keep("admin.url", admin or bench.admin_url(self.server.port))
        self.operator.declare(bench.postgres_words(url, more))

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(bench.admin_url(self.server.port, database), autocommit=True)

    def roles(self) -> list[str]:
        with self.admin() as made:
            return [row[0] for row in made.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^runner_'")]


@pytest.fixture
def place(postgres_server: Server, tmp_path: Any) -> Iterator[Bench]:
    made = Bench(Operator(tmp_path), postgres_server)
    made.declare(GRANTS)
    with made.admin() as admin:
        admin.execute("CREATE SCHEMA work")
        admin.execute("CREATE TABLE work.rows (n int)")
        admin.execute("CREATE ROLE keeper NOLOGIN")
        admin.execute("CREATE DATABASE other")
    yield made
    left = made.roles()
    with made.admin() as admin:
        admin.execute("DROP SCHEMA work CASCADE")
        admin.execute("DROP DATABASE other WITH (FORCE)")
        for role in (*left, "keeper"):
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")
    assert not left


def test_a_role_may_what_was_granted_and_tells_whose_it_is(place: Bench) -> None:
    minted = place.source.mint("main", HOLDER, 60)
    name = minted.values["username"].decode()
    assert name.startswith("runner_20261125_014456_ab12cd_load_m_1")
    assert len(place.source.mint("main", replace(HOLDER, step="s" * 90), 60).values["username"]) <= 63
    with psycopg.connect(minted.values["url"].decode()) as made:
        made.execute("INSERT INTO work.rows VALUES (1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            made.execute("DELETE FROM work.rows")
    for role in place.roles():
        place.source.revoke("main", Lease(role, 0))


def test_the_servers_log_never_has_the_password(place: Bench) -> None:
    minted = place.source.mint("main", HOLDER, 60)
    place.source.revoke("main", minted.lease)
    assert "CREATE ROLE" in place.server.log
    assert minted.values["password"].decode() not in place.server.log
    assert bench.ADMIN_PASSWORD not in place.server.log


@pytest.mark.parametrize("owner", ["", "keeper"])
def test_what_a_step_made_is_dropped_or_handed_on(place: Bench, owner: str) -> None:
    place.declare(GRANTS + (f", owner: {owner}" if owner else ""))
    minted = place.source.mint("main", HOLDER, 60)
    with psycopg.connect(minted.values["url"].decode(), autocommit=True) as made:
        made.execute("CREATE TABLE work.made AS SELECT 1 AS n")
        made.execute("CREATE VIEW work.seen AS SELECT * FROM work.made")
        made.execute("CREATE TEMP TABLE passing (n int)")
        made.execute("GRANT SELECT ON work.made TO PUBLIC")
        made.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA work GRANT SELECT ON TABLES TO PUBLIC")
    place.source.revoke("main", minted.lease)
    with place.admin() as admin:
        found = admin.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'made'").fetchall()
    assert found == ([(owner,)] if owner else [])


def test_what_a_step_left_in_another_database_goes_too(place: Bench) -> None:
    minted = place.source.mint("main", HOLDER, 60)
    for database in (b"other", b"template1"):
        url = minted.values["url"].replace(b"/postgres", b"/" + database).decode()
        with psycopg.connect(url) as made:
            made.execute("SELECT lo_create(0)")
    place.source.revoke("main", minted.lease)


def test_a_prepared_transaction_does_not_hold_the_role(place: Bench) -> None:
    minted = place.source.mint("main", HOLDER, 60)
    with bench.session(minted, place.server.port) as made:
        made.execute("BEGIN")
        made.execute("CREATE TABLE work.hidden (n int)")
        made.execute("PREPARE TRANSACTION 'it''s mine'")
    place.source.revoke("main", minted.lease)


def test_sessions_that_reconnect_all_the_time_end(place: Bench) -> None:
    minted, stop, refused = place.source.mint("main", HOLDER, 60), threading.Event(), threading.Event()

    def again() -> None:
        while not stop.is_set():
            with suppress(psycopg.Error):
                refused.clear()
                with bench.session(minted, place.server.port) as made:
                    while True:
                        made.execute("CREATE TABLE IF NOT EXISTS work.again AS SELECT 1 AS n")
            refused.set()

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    try:
        place.source.revoke("main", minted.lease)
        with place.admin() as admin:
            assert admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename ~ '^runner_'"
            ).fetchone() == (0,)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert refused.is_set()


def test_a_role_that_cannot_be_dropped_yet_is_of_no_use_meanwhile(place: Bench) -> None:
    minted = place.source.mint("main", HOLDER, 60)
    with bench.session(minted, place.server.port) as made, place.admin() as admin:
        made.execute("CREATE TABLE work.made AS SELECT 1 AS n")
        admin.execute("CREATE VIEW work.needs_it AS SELECT * FROM work.made")
        with pytest.raises(SourceUnavailable, match="cannot be dropped yet") as caught:
            place.source.revoke("main", minted.lease)
        assert caught.value.cure
        with pytest.raises(psycopg.OperationalError):
            made.execute("SELECT 1")
        assert not bench.logs_in(minted, place.server.port)
        admin.execute("DROP VIEW work.needs_it")
    place.source.revoke("main", minted.lease)


def test_a_role_whose_maker_died_goes_with_the_next_one(place: Bench) -> None:
    lost, living = place.source.mint("main", HOLDER, 60), place.source.mint("main", HOLDER, 60)
    minted = place.source.mint("main", HOLDER, 60)
    with place.admin() as admin:
        name = lost.values["username"].decode()
        admin.execute(f"ALTER ROLE {name} VALID UNTIL '{time.strftime('%Y-%m-%d', time.gmtime(0))}'")
    place.source.revoke("main", minted.lease)
    assert place.roles() == [living.values["username"].decode()]
    place.source.revoke("main", living.lease)


def test_what_was_made_for_one_attempt_is_found_without_its_lease(place: Bench) -> None:
    others = [replace(HOLDER, attempt=2), replace(HOLDER, phase="repair"), replace(HOLDER, step="load_m_1__")]
    minted, *kept = (place.source.mint("main", holder, 60) for holder in (HOLDER, *others))
    place.source.reclaim("main", HOLDER)
    assert not bench.logs_in(minted, place.server.port)
    assert sorted(place.roles()) == sorted(each.values["username"].decode() for each in kept)
    place.source.reclaim("main", HOLDER)
    for holder in others:
        place.source.reclaim("main", holder)


def test_an_admin_that_is_no_superuser_is_enough(place: Bench) -> None:
    with place.admin() as admin:
        admin.execute("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'boss-password'")
        admin.execute("GRANT ALL ON SCHEMA work TO boss WITH GRANT OPTION")
        admin.execute("GRANT ALL ON work.rows TO boss WITH GRANT OPTION")
        admin.execute("GRANT keeper TO boss")
        admin.execute("GRANT CREATE ON SCHEMA work TO keeper")
    boss = f"postgresql://boss:boss-password@127.0.0.1:{place.server.port}/postgres"
    try:
        for more in (GRANTS, f"{GRANTS}, owner: keeper"):
            place.declare(more, boss)
            minted = place.source.mint("main", HOLDER, 60)
            with bench.session(minted, place.server.port) as made:
                made.execute("CREATE TABLE work.made (n int)")
                place.source.revoke("main", minted.lease)
                with pytest.raises(psycopg.OperationalError):
                    made.execute("SELECT 1")
            assert not bench.logs_in(minted, place.server.port)
        place.declare("grants: ['SELECT ON pg_authid']", boss)
        with pytest.raises(PolicyDenied, match="permission denied"):
            place.source.mint("main", HOLDER, 60)
    finally:
        with place.admin() as admin:
            admin.execute("REVOKE GRANT OPTION FOR ALL ON SCHEMA work FROM boss CASCADE")
            admin.execute("DROP OWNED BY boss CASCADE")
            admin.execute("DROP ROLE boss")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("grants: [nobody]", "nobody"),
        ("grants: ['SELECT ON nothing']", "nothing"),
        ("owner: postgres", "is a superuser"),
        ("owner: nobody", "does not exist"),
    ],
)
def test_a_declaration_that_cannot_hold_is_denied_and_makes_no_role(
    place: Bench, more: str, words: str
) -> None:
    place.declare(more)
    with pytest.raises(PolicyDenied, match=words) as caught:
        place.source.mint("main", HOLDER, 60)
    assert caught.value.cure
    assert not place.roles()


def test_a_wrong_password_of_the_admin_is_told_without_it(place: Bench) -> None:
    place.declare(GRANTS, f"postgresql://postgres:not-the-password@127.0.0.1:{place.server.port}/postgres")
    with pytest.raises(SourceUnavailable, match="authentication failed") as caught:
        place.source.mint("main", HOLDER, 60)
    assert "not-the-password" not in str(caught.value)
    for url in (
        "not-a-url-but-a-password",
        "service=not-a-url",
        "password=not-a-url",
        "postgresql://a,b/not-a-url",
    ):
        place.declare(GRANTS, url)
        with pytest.raises(PolicyDenied, match=r"sources\.postgres\.main\.admin") as denied:
            place.source.mint("main", HOLDER, 60)
        assert "not-a-url" not in str(denied.value)


@pytest.mark.parametrize("address", ["db.example", "203.0.113.1"])
def test_an_admins_password_goes_to_another_machine_only_encrypted(place: Bench, address: str) -> None:
    place.declare(GRANTS, f"postgresql://postgres:secret-word@{address}/postgres?sslmode=prefer")
    with pytest.raises(PolicyDenied, match="another machine") as caught:
        place.source.mint("main", HOLDER, 60)
    assert "secret-word" not in str(caught.value)


def test_only_roles_of_runners_are_ever_dropped(place: Bench) -> None:
    for name in ("keeper", "postgres", 'runner_x"; DROP TABLE work.rows'):
        with pytest.raises(PolicyDenied, match="no role of Runner's"):
            place.source.revoke("main", Lease(name, 0))


def test_a_server_that_stops_in_the_middle_is_left_in_time(place: Bench) -> None:
    def ask() -> None:
        with connected(parsed(bench.admin_url(place.server.port), "admin"), 1) as made:
            made.execute("SELECT 1")
            with place.server.paused():
                made.execute("SELECT 1")

    began = time.monotonic()
    with pytest.raises(SourceUnavailable):
        ask()
    assert time.monotonic() - began < 5


def test_where_steps_see_the_server_elsewhere_the_operator_says_so(place: Bench) -> None:
    place.declare("host: db.example, port: 6432, database: other")
    minted: Minted = place.source.mint("main", HOLDER, 60)
    assert minted.values["url"].endswith(b"@db.example:6432/other")
    assert (minted.values["host"], minted.values["port"]) == (b"db.example", b"6432")
    place.source.revoke("main", minted.lease)
