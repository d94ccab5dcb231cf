"""Damaging a database on purpose, one thing at a time, so that a drill has something to catch.

Only ever done to a copy that we made ourselves. Each damage is of a kind that nothing but a
comparison can see: the damaged database can still be dumped and restored without an error. So no
row is taken that another refers to, and what cannot be damaged so is passed over for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import psycopg
from psycopg import sql

from guardian.adapters.postgres.damage_rows import changed_row, lost_row
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import Table, list_tables
from guardian.model import DatabaseDamage, Fingerprint, SequencePosition
from guardian.verify.names import comparable, one_line, qualified, quoted

_MOST_ATTEMPTS = 500
"""A database that refuses so often is not damaged so."""

Attempt = tuple[tuple[str, ...], sql.Composed]
"""The names, any of which a drill must tell, and the statement that does the damage."""

_INDEXES = """
SELECT n.nspname::text, c.relname::text
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indisvalid AND c.relpersistence <> 't' AND NOT c.relispartition
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid
                      AND k.contype IN ('p', 'u', 'x'))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'
                      AND d.objid IN (c.oid, i.indrelid))
 ORDER BY c.relpages DESC, 1, 2
"""
_CONSTRAINTS = """
SELECT n.nspname::text, c.relname::text, i.relname::text, k.conname::text
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_class i ON i.oid = k.conindid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype IN ('p', 'u', 'x') AND k.conparentid = 0 AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'
                      AND d.objid = c.oid)
 ORDER BY i.relpages DESC, 1, 2, 4
"""


def damage_database(
    connection: psycopg.Connection, damage: DatabaseDamage, expected: Fingerprint, encoding: str
) -> tuple[str, ...] | None:
    """Do one damage to the connected database, which must be a copy of our own.

    ``expected`` tells what a drill compares. Returns the names, any of which a drill must tell;
    None where there is no such thing to damage, and then nothing was changed.

    Raises:
        psycopg.Error: the connection was lost, the disk is full.
    """
    settle_session(connection, encoding)
    connection.execute("SET default_transaction_read_only = off")
    with suppress(psycopg.errors.InsufficientPrivilege):
        # No triggers, rules, event triggers; foreign keys are looked after by the choice of rows.
        connection.execute("SET session_replication_role = replica")
    attempts = islice(_ATTEMPTS[damage](connection, expected), _MOST_ATTEMPTS)
    for names, statement in attempts:
        if _done(connection, statement, one_row=damage in _ROWS):
            return tuple(map(one_line, names))
    return None


class _UntouchedError(Exception):
    """The statement went through and damaged nothing."""


def _done(connection: psycopg.Connection, statement: sql.Composed, *, one_row: bool) -> bool:
    """Whether the statement did what it should; else nothing was changed."""
    try:
        _run(connection, statement, one_row=one_row)
    except psycopg.errors.DiskFull:
        raise
    except (psycopg.Error, _UntouchedError):  # a constraint, a dependency, no privilege …
        if connection.closed:
            raise
        return False
    return True


def _run(connection: psycopg.Connection, statement: sql.Composed, *, one_row: bool) -> None:
    with connection.transaction():
        if connection.execute(statement).rowcount != 1 and one_row:
            raise _UntouchedError


def _tables(connection: psycopg.Connection, expected: Fingerprint) -> list[tuple[Table, int]]:
    """The tables whose rows are compared, and how many those are; most rows first."""
    rows = {(one.schema, one.name): one.rows for one in expected.tables}
    found = [
        (table, rows[table.schema, table.name])
        for table in list_tables(connection)
        if table.is_read and table.condition is None and (table.schema, table.name) in rows
    ]
    return sorted(found, key=lambda one: -one[1])


def _row_lost(connection: psycopg.Connection, expected: Fingerprint) -> Iterator[Attempt]:
    for table in _filled(connection, expected):
        yield _named("table", table.schema, table.name), lost_row(connection, table)


def _row_changed(connection: psycopg.Connection, expected: Fingerprint) -> Iterator[Attempt]:
    for table in _filled(connection, expected):
        for statement in changed_row(connection, table):
            yield _named("table", table.schema, table.name), statement


def _filled(connection: psycopg.Connection, expected: Fingerprint) -> list[Table]:
    """Tables with rows, those that no foreign key refers to first."""
    cursor = connection.execute(
        "SELECT DISTINCT confrelid::int8 FROM pg_catalog.pg_constraint WHERE contype = 'f'"
    )
    referenced = {oid for (oid,) in cursor}
    tables = [table for table, rows in _tables(connection, expected) if rows]
    return sorted(tables, key=lambda table: table.oid in referenced)


def _table_missing(connection: psycopg.Connection, expected: Fingerprint) -> Iterator[Attempt]:
    for table, _ in _tables(connection, expected):
        statement = sql.SQL("DROP TABLE {} RESTRICT").format(table.identifier)
        yield _named("table", table.schema, table.name), statement


def _index_missing(connection: psycopg.Connection, expected: Fingerprint) -> Iterator[Attempt]:
    """An index that is there for its own sake, else one with its constraint."""
    del expected
    for schema, name in connection.execute(_INDEXES).fetchall():
        statement = sql.SQL("DROP INDEX {} RESTRICT").format(sql.Identifier(schema, name))
        yield _named("index", schema, name), statement
    for schema, table, index, name in connection.execute(_CONSTRAINTS).fetchall():
        statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {} RESTRICT").format(
            sql.Identifier(schema, table), sql.Identifier(name)
        )
        constraint = f"table constraint {quoted(name)} on table {qualified(schema, table)}"
        yield (constraint, *_named("index", schema, index)), statement


def _sequence_behind(connection: psycopg.Connection, expected: Fingerprint) -> Iterator[Attempt]:
    """One value less was handed out than a drill may find."""
    del connection
    left_out = set(map(comparable, expected.left_out))
    cycling = set(map(comparable, expected.objects.get("hint: cycles", ())))
    for one in sorted(expected.sequences, key=lambda one: one.before != one.after):
        name = comparable(qualified(one.schema, one.name))
        if name in left_out or (name in cycling and one.before != one.after):
            continue
        yield _named("sequence", one.schema, one.name), _set_behind(one)


def _set_behind(sequence: SequencePosition) -> sql.Composed:
    return sql.SQL("SELECT pg_catalog.setval({}::regclass, {}, false)").format(
        sql.Literal(qualified(sequence.schema, sequence.name)), sql.Literal(sequence.before)
    )


def _named(kind: str, schema: str, name: str) -> tuple[str, ...]:
    return (f"{kind} {qualified(schema, name)}",)


_ROWS = frozenset({DatabaseDamage.ROW_LOST, DatabaseDamage.ROW_CHANGED})
_Attempts = Callable[[psycopg.Connection, Fingerprint], Iterator[Attempt]]
_ATTEMPTS: dict[DatabaseDamage, _Attempts] = {
    DatabaseDamage.ROW_LOST: _row_lost,
    DatabaseDamage.ROW_CHANGED: _row_changed,
    DatabaseDamage.TABLE_MISSING: _table_missing,
    DatabaseDamage.INDEX_MISSING: _index_missing,
    DatabaseDamage.SEQUENCE_BEHIND: _sequence_behind,
}
