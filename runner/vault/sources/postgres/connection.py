"""The operator's connection to a PostgreSQL server, with one deadline for all that is done on it."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runner.errors import PolicyDenied, SourceUnavailable
from runner.vault.sources.declared import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORDS = 200
_ENCRYPTED = ("require", "verify-ca", "verify-full")


def parsed(url: str, where: str) -> dict[str, str]:
    """Return a connection string's parts by libpq's names; raises ``PolicyDenied`` without repeating it."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.Error:
        raise PolicyDenied(
            f"{where} is no connection string of PostgreSQL",
            cure="give it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        ) from None
    if "service" in parts or not (parts.get("host") or parts.get("hostaddr")) or "," in parts.get("host", ""):
        raise PolicyDenied(
            f"{where} does not name one host", cure="give it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    if parts.get("sslmode") not in _ENCRYPTED and not _is_here(parts):
        raise PolicyDenied(
            f"{where} names another machine, where libpq's default would do without encryption",
            cure="put ?sslmode=verify-full at its end (or verify-ca, require)",
        )
    return parts


def _is_here(parts: Mapping[str, str]) -> bool:
    host = parts.get("hostaddr") or parts["host"]
    return host.startswith("/") or is_loopback(host)


@contextlib.contextmanager
def connected(parts: Mapping[str, str], seconds: float) -> Iterator[psycopg.Connection]:
    """Connect for a block that may take ``seconds``; each statement is a transaction of its own.

    Every error of the server becomes ``SourceUnavailable`` (it may go away) or ``PolicyDenied`` (it stays).
    """
    within = {
        "connect_timeout": str(max(2, math.ceil(seconds))),  # libpq knows no shorter one
        "application_name": "runner",
        "options": f"{parts.get('options', '')} -c statement_timeout={int(seconds * 1000)}",
    }
    try:
        with (
            psycopg.connect(make_conninfo("", **{**parts, **within}), autocommit=True) as connection,
            _deadline(connection, seconds),
        ):
            yield connection
    except psycopg.OperationalError as error:
        raise SourceUnavailable(
            f"PostgreSQL at {_place(parts)} does not serve: {_words(error, parts)}",
            cure="see whether it runs, is reachable, and lets the declared admin in",
        ) from None
    except psycopg.Error as error:
        raise PolicyDenied(
            f"PostgreSQL at {_place(parts)} refuses: {_words(error, parts)}",
            cure="correct the grants or the owner under sources.postgres, or what the admin may do",
        ) from None


@contextlib.contextmanager
def _deadline(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Cut the connection when time is up: a server that stopped answering sends no error either."""
    with socket.socket(fileno=connection.fileno()) as borrowed:
        timer = threading.Timer(seconds, _cut, (borrowed,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            borrowed.detach()


def _cut(borrowed: socket.socket) -> None:
    with contextlib.suppress(OSError):
        borrowed.shutdown(socket.SHUT_RDWR)


def _place(parts: Mapping[str, str]) -> str:
    return f"{parts.get('host', 'localhost')}:{parts.get('port', '5432')}"


def _words(error: psycopg.Error, parts: Mapping[str, str]) -> str:
    said = error.diag.message_primary or str(error)
    for form in filter(None, (parts.get("password"), quote(parts.get("password", ""), safe=""))):
        said = said.replace(form, "***")
    return " ".join(said.split())[:_WORDS]
