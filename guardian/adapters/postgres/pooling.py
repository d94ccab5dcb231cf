"""Whether somebody between us and the server lends its own connections: PgBouncer and its kind.

In session mode a connection is ours until we hang up, and is cleaned then. In transaction mode each
transaction may get another one, and what was SET stays in it for whoever gets it next: an empty
``search_path`` in the application's connections, a dump without the settings that it asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import psycopg

from guardian.adapters.postgres.connection import Connector
from guardian.errors import ConnectionFailedError

LENDING_MEND = "let the dsn lead to the server itself, or to a pool in session mode"

_TRIES = 5


def is_pooled(connection: psycopg.Connection) -> bool:
    """Whether the backend is another one than we were told at login. Raises psycopg.Error."""
    return _backend(connection) != connection.info.backend_pid


def is_lent(connector: Connector, connection: psycopg.Connection) -> bool:
    """Whether the connection is a pooler's that gives each transaction one of its own.

    It shows when two of ours get the same backend, or one of them gets another than before. Others
    who use the pool at this very moment may hide it.

    Raises:
        psycopg.Error, ConnectionFailedError, PermissionDeniedError: it cannot be told.
    """
    if not is_pooled(connection):
        return False
    ours, theirs = set(), set()
    with connector.connect(connection.info.dbname, "pool") as other:
        for _ in range(_TRIES):
            ours.add(_backend(connection))
            theirs.add(_backend(other))
    return len(ours) > 1 or len(theirs) > 1 or ours == theirs


def refuse_lent(connector: Connector, connection: psycopg.Connection) -> None:
    """Before anything is SET.

    Raises:
        ConnectionFailedError: a pooler in transaction mode stands between.
        psycopg.Error, PermissionDeniedError: it cannot be told.
    """
    if is_lent(connector, connection):
        raise ConnectionFailedError(
            f"a pooler in transaction mode (PgBouncer or the like) stands between us and server "
            f"{connector.server} ({connector.where}): what we set would stay in connections that "
            "others get",
            mend=LENDING_MEND,
            transient=False,
        )


@contextlib.contextmanager
def bounded(connection: psycopg.Connection, longest: timedelta) -> Iterator[None]:
    """A transaction in which no statement takes longer; no pool keeps the setting.

    Raises psycopg.Error.
    """
    milliseconds = round(longest.total_seconds() * 1000)
    connection.execute(  # one message: a session may be allowed to wait for no more than 1 ms
        f"BEGIN; SET LOCAL statement_timeout = {milliseconds}; "
        "SET LOCAL idle_in_transaction_session_timeout = 0".encode()
    )
    try:
        yield
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    pid: int = row[0]
    return pid
