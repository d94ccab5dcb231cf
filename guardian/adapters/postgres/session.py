"""What decides how rows look as text, pinned alike on the source and on a restored copy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg
from psycopg import sql

from guardian.adapters.postgres.tables import Table

_LOCK_BATCH = 500

_PINNED = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "jit": "off",  # compiling the inventory query takes seconds, running it milliseconds
}
"""Database- and role-level settings may change any of these, and with them the text of equal rows.

``row_security = off`` makes a query that a policy would filter fail instead of hiding rows.
"""


def settle_session(
    connection: psycopg.Connection, encoding: str, lock_timeout: timedelta | None = None
) -> None:
    """Pin the session. None of this takes a snapshot. ``encoding`` is the database's.

    Bytes of SQL_ASCII come as they are, see :meth:`Connector.connect`.
    """
    if connection.info.server_version >= 170000:
        connection.execute("SET transaction_timeout = 0")
    for name, value in _PINNED.items():
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    client = "LATIN1" if encoding == "SQL_ASCII" else "UTF8"
    connection.execute(sql.SQL("SET client_encoding = {}").format(sql.Literal(client)))
    if lock_timeout is not None:
        milliseconds = max(1, int(lock_timeout.total_seconds() * 1000))
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(milliseconds)))


def lock_tables(
    connection: psycopg.Connection, tables: Sequence[Table], *, nowait: bool = False
) -> None:
    """ACCESS SHARE on each table itself, in batches, in the order given. Takes no snapshot."""
    for start in range(0, len(tables), _LOCK_BATCH):
        batch = tables[start : start + _LOCK_BATCH]
        names = sql.SQL(", ").join(sql.SQL("ONLY ") + table.identifier for table in batch)
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE{}").format(
                names, sql.SQL(" NOWAIT") if nowait else sql.SQL("")
            )
        )
