"""A role of the step's own in a PostgreSQL database, and its end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from psycopg import sql

from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.lease import Lease, Minted
from runner.vault.sources.postgres.connection import connected, parsed
from runner.vault.sources.postgres.roles import NAME, expired, forget, made_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg import Connection
    from psycopg.abc import Query
    from psycopg.errors import Diagnostic

    from runner.vault.lease import Holder
    from runner.vault.sources.declared import Postgres

_NOT_GRANTED = "01007"


class PostgresSource:
    """``postgres:NAME``, NAME as declared; one role gives all values. A lease is the role's name."""

    def __init__(self, databases: Mapping[str, Postgres], resolve: Callable[[str], str]) -> None:
        """Make roles in ``databases``; ``resolve`` opens the reference of an admin's connection string."""
        self._databases, self._resolve = databases, resolve

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Make a role with the declared grants that cannot log in after ``ttl`` seconds."""
        database, parts = self._database(reference)
        role, password = f"{_whose(holder)}_{os.urandom(3).hex()}", secrets.token_urlsafe(32)
        expires = time.time() + ttl
        with connected(parts, database.timeout) as connection:
            _refuse_superuser(connection, database)
            with connection.transaction():
                _create(connection, database, role, password, ttl)
        return Minted(_values(database, parts, role, password), Lease(role, expires))

    def renew(self, reference: str, lease: Lease, ttl: float) -> Lease:
        """Let the role log in for ``ttl`` seconds more; sessions that are open stay open anyway."""
        database, parts = self._database(reference)
        expires = time.time() + ttl
        with connected(parts, database.timeout) as connection:
            words = "ALTER ROLE {} VALID UNTIL {}"
            connection.execute(sql.SQL(words).format(sql.Identifier(lease.id), _in(connection, ttl)))
        return Lease(lease.id, expires)

    def revoke(self, reference: str, lease: Lease) -> None:
        """End the role's sessions, hand on or drop what it owns, and drop it.

        So too with roles of ours that have expired: one whose maker died before it could tell anybody.
        """
        database, parts = self._database(reference)
        if not re.fullmatch(NAME, lease.id):
            raise PolicyDenied(f"{lease.id!r} is no role of Runner's", cure="look at it by hand")
        with _dropping(database, parts) as connection:
            for role in (lease.id, *expired(connection, lease.id)):
                forget(connection, role, database, parts)

    def reclaim(self, reference: str, holder: Holder) -> None:
        """End every role that was made for the holder's attempt."""
        database, parts = self._database(reference)
        with _dropping(database, parts) as connection:
            for role in made_for(connection, _whose(holder)):
                forget(connection, role, database, parts)

    def _database(self, name: str) -> tuple[Postgres, dict[str, str]]:
        if name not in self._databases:
            known = ", ".join(sorted(self._databases)) or "none"
            raise PolicyDenied(
                f"the operator's policy declares no postgres:{name}",
                cure=f"declare it under sources.postgres (declared: {known})",
            )
        database = self._databases[name]
        parts = parsed(self._resolve(database.admin), f"sources.postgres.{name}.admin")
        return database, {**parts, **({"dbname": database.database} if database.database else {})}


@contextlib.contextmanager
def _dropping(database: Postgres, parts: Mapping[str, str]) -> Iterator[Connection]:
    """Connect to drop roles; whatever is in the way may be out of it later."""
    try:
        with connected(parts, database.timeout) as connection:
            yield connection
    except PolicyDenied as error:
        raise SourceUnavailable(f"a role cannot be dropped yet: {error.message}", cure=error.cure) from None


def _whose(holder: Holder) -> str:
    """Return how the names of an attempt's roles begin: readable as far as 63 bytes allow, and unique."""
    whole = (holder.run, holder.step, str(holder.attempt), holder.phase)
    digest = hashlib.sha256("\0".join(whole).encode()).hexdigest()
    run, step = (re.sub("[^a-z0-9]+", "_", text.lower()) for text in whole[:2])
    return f"runner_{run[:24]}_{step[:8]}_{holder.attempt % 10000}{holder.phase[0]}_{digest[:8]}"


def _values(database: Postgres, parts: Mapping[str, str], role: str, password: str) -> dict[str, bytes]:
    host = database.host or parts.get("host") or parts["hostaddr"]
    port = database.port or parts.get("port", 5432)
    dbname = parts.get("dbname") or parts.get("user", "postgres")
    mode = f"?sslmode={parts['sslmode']}" if "sslmode" in parts else ""
    named = f"[{host}]" if ":" in host else quote(host, safe="")
    url = f"postgresql://{role}:{password}@{named}:{port}/{quote(dbname, safe='')}{mode}"
    values = {
        "": url,
        "url": url,
        "username": role,
        "password": password,
        "host": host,
        "port": str(port),
        "database": dbname,
    }
    return {field: value.encode() for field, value in values.items()}


def _refuse_superuser(connection: Connection, database: Postgres) -> None:
    """What a step leaves may contain code of its own, which runs as its owner."""
    found = connection.execute(
        "SELECT rolsuper FROM pg_roles WHERE rolname = %s", (database.owner,)
    ).fetchone()
    if database.owner and not (found and not found[0]):
        why = "is a superuser" if found else "does not exist"
        raise PolicyDenied(
            f"{database.owner} cannot own what steps leave: it {why}",
            cure="name a role that may no more than the steps may, or none",
        )


def _create(connection: Connection, database: Postgres, role: str, password: str, ttl: float) -> None:
    refused: list[str] = []

    def listen(notice: Diagnostic) -> None:
        if notice.sqlstate == _NOT_GRANTED:
            refused.append(notice.message_primary or "")

    connection.add_notice_handler(listen)
    # Hashed here: what a server is told may stand in its log.
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    words = "CREATE ROLE {} LOGIN PASSWORD {} VALID UNTIL {} CONNECTION LIMIT {}"
    until, limit = _in(connection, ttl), sql.Literal(database.connections)
    connection.execute(sql.SQL(words).format(sql.Identifier(role), sql.Literal(hashed), until, limit))
    for grant in database.grants:
        connection.execute(_granting(grant, role))
    if refused:
        raise PolicyDenied(f"PostgreSQL did not grant all: {refused[0]}", cure="let the admin grant it")


def _granting(grant: str, role: str) -> Query:
    return sql.SQL("GRANT ") + sql.SQL(grant) + sql.SQL(" TO ") + sql.Identifier(role)


def _in(connection: Connection, seconds: float) -> sql.Literal:
    """Return the server's time in ``seconds``."""
    found = connection.execute("SELECT (now() + make_interval(secs => %s))::text", (seconds,)).fetchone()
    return sql.Literal(found[0] if found else "-infinity")
