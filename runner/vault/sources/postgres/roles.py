"""The end of a role that a step had: a role can be dropped only when nothing is left of it anywhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg import errors, sql

from runner.errors import SourceUnavailable
from runner.vault.sources.postgres.connection import connected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from runner.vault.sources.declared import Postgres

NAME = r"runner_[a-z0-9_]+_[0-9]+[a-z]_[0-9a-f]{8}_[0-9a-f]{6}"
_TRIES = 5
_PAUSE = 0.005  # seconds


def expired(connection: Connection, but: str) -> list[str]:
    """Return our roles that can no longer log in for a minute or more, save one."""
    query = """SELECT rolname FROM pg_roles
               WHERE rolname ~ %s AND rolname <> %s AND rolvaliduntil < now() - interval '1 minute'"""
    return [row[0] for row in connection.execute(query, (f"^{NAME}$", but)).fetchall()]


def made_for(connection: Connection, whose: str) -> list[str]:
    """Return the roles whose names begin with ``whose``."""
    query = "SELECT rolname FROM pg_roles WHERE rolname ~ %s"
    return [row[0] for row in connection.execute(query, (f"^{whose}_[0-9a-f]{{6}}$",)).fetchall()]


def forget(connection: Connection, role: str, database: Postgres, parts: Mapping[str, str]) -> None:
    """Drop a role, whatever it holds; nothing to do for one that is gone.

    First no new session can begin; then the open ones are ended: neither ``VALID UNTIL`` nor dropping the
    role does that. What a session that came in between leaves is met by trying again.
    """
    found = connection.execute("SELECT oid FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if not found:
        return
    name = sql.Identifier(role)
    connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))  # who is no superuser needs it
    for _ in range(_TRIES):
        _end_sessions(connection, found[0])
        for place in _places(connection, found[0]):
            with connected({**parts, "dbname": place}, database.timeout) as inside:
                _empty(inside, role, database.owner)
        _end_sessions(connection, found[0])
        try:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))
        except errors.DependentObjectsStillExist:
            continue
        return
    raise SourceUnavailable(f"the role {role} still owns something", cure="look at it: DROP OWNED BY says")


def _end_sessions(connection: Connection, oid: int) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s"
    while connection.execute(query, (oid,)).fetchall():
        time.sleep(_PAUSE)  # until none is left, or the deadline of the connection


def _places(connection: Connection, oid: int) -> list[str]:
    """Return the databases that hold something of the role: objects, privileges, prepared transactions."""
    query = """SELECT datname FROM pg_database WHERE datallowconn AND (
                   datname = current_database()
                   OR oid IN (SELECT dbid FROM pg_shdepend
                              WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s)
                   OR datname IN (SELECT database FROM pg_prepared_xacts WHERE owner = %s::regrole::text))"""
    return [row[0] for row in connection.execute(query, (oid, oid)).fetchall()]


def _empty(connection: Connection, role: str, owner: str | None) -> None:
    query = "SELECT gid FROM pg_prepared_xacts WHERE owner = %s AND database = current_database()"
    for (transaction,) in connection.execute(query, (role,)).fetchall():
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(transaction)))
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner or "")}
    if owner:
        connection.execute(sql.SQL("REASSIGN OWNED BY {role} TO {owner}").format(**names))
    connection.execute(sql.SQL("DROP OWNED BY {role}").format(**names))
