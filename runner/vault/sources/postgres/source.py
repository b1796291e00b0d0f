"""A role of the step's own in a PostgreSQL database, and its end."""

from __future__ import annotations

import os
import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from psycopg import sql

from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.lease import Lease, Minted
from runner.vault.sources.fields import choose, without_field
from runner.vault.sources.postgres.connection import connected, parsed
from runner.vault.sources.postgres.roles import NAME, expired, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from psycopg import Connection
    from psycopg.abc import Query
    from psycopg.errors import Diagnostic

    from runner.vault.lease import Holder
    from runner.vault.sources.declared import Postgres

_NOT_GRANTED = "01007"


class PostgresSource:
    """``postgres:NAME#FIELD``, NAME as declared; fields are url (the default), username, password and others.

    A lease is the role's name.
    """

    def __init__(self, databases: Mapping[str, Postgres], resolve: Callable[[str], str]) -> None:
        """Make roles in ``databases``; ``resolve`` opens the reference of an admin's connection string."""
        self._databases, self._resolve = databases, resolve

    def mint(self, reference: str, holder: Holder, ttl: float) -> Minted:
        """Make a role with the declared grants that cannot log in after ``ttl`` seconds."""
        name, field = without_field(reference)
        database, parts = self._database(name)
        role, password = _name(holder), secrets.token_urlsafe(32)
        values = choose(_values(database, parts, role, password), field, f"postgres:{name}")
        expires = time.time() + ttl
        with connected(parts, database.timeout) as connection:
            _refuse_superuser(connection, database)
            with connection.transaction():
                _create(connection, database, role, password, ttl)
        return Minted(values, Lease(role, expires))

    def renew(self, reference: str, lease: Lease, ttl: float) -> Lease:
        """Let the role log in for ``ttl`` seconds more; sessions that are open stay open anyway."""
        database, parts = self._database(without_field(reference)[0])
        expires = time.time() + ttl
        with connected(parts, database.timeout) as connection:
            words = "ALTER ROLE {} VALID UNTIL {}"
            connection.execute(sql.SQL(words).format(sql.Identifier(lease.id), _in(connection, ttl)))
        return Lease(lease.id, expires)

    def revoke(self, reference: str, lease: Lease) -> None:
        """End the role's sessions, hand on or drop what it owns, and drop it.

        So too with roles of ours that have expired: one whose maker died before it could tell anybody.
        """
        database, parts = self._database(without_field(reference)[0])
        if not re.fullmatch(NAME, lease.id):
            raise PolicyDenied(f"{lease.id!r} is no role of Runner's", cure="look at it by hand")
        try:
            with connected(parts, database.timeout) as connection:
                for role in (lease.id, *expired(connection, lease.id)):
                    forget(connection, role, database, parts)
        except PolicyDenied as error:
            raise SourceUnavailable(
                f"the role {lease.id} cannot be dropped yet: {error.message}", cure=error.cure
            ) from None

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


def _name(holder: Holder) -> str:
    """Return a role's name: whose it is as far as 63 bytes allow, and a part that nobody else has."""
    run, step = (re.sub("[^a-z0-9]+", "_", text.lower()) for text in (holder.run, holder.step))
    return f"runner_{run[:24]}_{step[:14]}_{holder.attempt % 10000}{holder.phase[0]}_{os.urandom(4).hex()}"


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
