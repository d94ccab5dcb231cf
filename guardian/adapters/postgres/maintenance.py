"""Looking after databases from outside: connected to another one of the same server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.pooling import refuse_lent
from guardian.adapters.postgres.queries import query
from guardian.errors import ConnectionFailedError, PermissionDeniedError

_USUAL = ("postgres", "template1")

_SETTINGS = {
    "client_encoding": "UTF8",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "search_path": "",
}
_SINCE = {"idle_session_timeout": 140000, "transaction_timeout": 170000}

_SESSIONS = """
SELECT coalesce(usename::text, '?'), coalesce(nullif(application_name, ''), ''), count(*)
  FROM pg_catalog.pg_stat_activity
 WHERE datid = %s AND pid <> ALL (%s) AND usesysid IS NOT NULL
   AND backend_type IS DISTINCT FROM 'parallel worker'
 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds: counts by kind (``3 tables``), its extensions, and who looked."""

    made: tuple[str, ...]
    extensions: tuple[str, ...]
    looked: int

    @property
    def is_empty(self) -> bool:
        """Nothing was made in it, and nothing installed but what every database has."""
        return not self.made and set(self.extensions) <= {"plpgsql"}


def settle(connection: psycopg.Connection) -> None:
    """Let no setting of role or database come between."""
    for name, value in _SETTINGS.items():
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    for name, version in _SINCE.items():
        if connection.info.server_version >= version:
            connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(name)))


def connect_beside(connector: Connector, database: str, purpose: str) -> psycopg.Connection:
    """Connect to another database of the server than this one; to it where no other lets us in.

    Raises:
        ConnectionFailedError, PermissionDeniedError: none lets us in, or only a pooler that lends.
    """
    first: ConnectionFailedError | PermissionDeniedError | None = None
    for name in (*(one for one in _USUAL if one != database), database):
        try:
            connection = connector.connect(name, purpose)
        except (ConnectionFailedError, PermissionDeniedError) as error:
            if error.transient:  # the server does not answer: it will not for another name
                raise
            first = first or error
            continue
        try:
            refuse_lent(connector, connection)
            settle(connection)
        except BaseException:
            connection.close()
            raise
        return connection
    assert first is not None
    raise first


def look_inside(connector: Connector, database: str, purpose: str) -> Contents:
    """What was made in a database.

    Raises:
        ConnectionFailedError, PermissionDeniedError: it cannot be looked at.
    """
    with connector.connect(database, purpose) as connection:
        try:
            settle(connection)
            counts = connection.execute(query("contents")).fetchall()
            extensions = connection.execute(
                "SELECT extname::text FROM pg_catalog.pg_extension ORDER BY 1"
            ).fetchall()
        except psycopg.Error as error:
            raise connector.translate(error, database) from error
        return Contents(
            made=tuple(_counted(kind, count) for kind, count in counts),
            extensions=tuple(name for (name,) in extensions),
            looked=connection.info.backend_pid,
        )


def sessions_in(
    connection: psycopg.Connection, oid: int, ours: Collection[int] = ()
) -> tuple[str, ...]:
    """Who is connected to a database, less the processes that are ``ours``: ``2 of app (web)``."""
    pids = [connection.info.backend_pid, *ours]
    found = [
        f"{count} of {user}" + (f" ({application})" if application else "")
        for user, application, count in connection.execute(_SESSIONS, (oid, pids)).fetchall()
    ]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return tuple(found[:_SHOWN] + more)


def database_oid(connection: psycopg.Connection, name: str) -> int | None:
    """Its number, which stays when it is renamed; None when there is no such database."""
    row = connection.execute(
        "SELECT oid::int8 FROM pg_catalog.pg_database WHERE datname = %s", (name,)
    ).fetchone()
    return None if row is None else int(row[0])


def database_name(connection: psycopg.Connection, oid: int) -> str | None:
    """Its present name."""
    row = connection.execute(
        "SELECT datname::text FROM pg_catalog.pg_database WHERE oid = %s::int8::oid", (oid,)
    ).fetchone()
    return None if row is None else str(row[0])


def database_names(connection: psycopg.Connection) -> set[str]:
    """All of the server's."""
    rows = connection.execute("SELECT datname::text FROM pg_catalog.pg_database").fetchall()
    return {name for (name,) in rows}


def discard_database(connector: Connector, beside: str, name: str, purpose: str) -> None:
    """Drop a database that is ours to drop, whatever was restored into it, and whoever is in it.

    A subscription would hold it, and a template flag; both go first. Fine when it is gone.

    Raises:
        GuardianError: it could not be dropped.
    """
    with connector.connect(beside, purpose) as connection:
        try:
            settle(connection)
            if (oid := database_oid(connection, name)) is None:
                return
            _loosen(connection, connector, name, oid, purpose)
            force = " WITH (FORCE)" if connection.info.server_version >= 130000 else ""
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + sql.SQL(force)
            )
        except psycopg.Error as error:
            raise connector.translate(error, name) from error


def _loosen(
    connection: psycopg.Connection, connector: Connector, name: str, oid: int, purpose: str
) -> None:
    row = connection.execute(
        "SELECT datistemplate, EXISTS ("
        "SELECT FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid) "
        "FROM pg_catalog.pg_database d WHERE oid = %s::int8::oid",
        (oid,),
    ).fetchone()
    if row is None:
        return
    is_template, has_subscriptions = row
    if is_template:
        connection.execute(
            sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name))
        )
    if has_subscriptions:
        with connector.connect(name, purpose) as inside:
            settle(inside)
            rows = inside.execute(
                "SELECT subname::text FROM pg_catalog.pg_subscription "
                "WHERE subdbid = %s::int8::oid",
                (oid,),
            ).fetchall()
            for (subscription,) in rows:  # restored ones are off; their slots are the source's
                for statement in (
                    "ALTER SUBSCRIPTION {} DISABLE",
                    "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                    "DROP SUBSCRIPTION {}",
                ):
                    inside.execute(sql.SQL(statement).format(sql.Identifier(subscription)))


def _counted(kind: str, count: int) -> str:
    if count == 1:
        return f"1 {kind}"
    plural = "es" if kind.endswith("ss") else "s"
    return f"{count:,} {kind[:-1]}ies" if kind.endswith("y") else f"{count:,} {kind}{plural}"
