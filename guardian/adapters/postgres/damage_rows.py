"""Statements that lose or change one row of a table, whatever its columns are.

Rows are found by where they lie (tableoid, ctid), so a table needs no key. A statement may fail, or
touch no row; then the next is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import psycopg
from psycopg import sql

from guardian.adapters.postgres.tables import Table

_REFERRING = """
SELECT n.nspname::text, c.relname::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (num, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
              ORDER BY place),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (num, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num
              ORDER BY place)
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'f' AND k.confrelid = %s
"""
# Plain columns first, then those of checks, then those of indexes. A key's part must stay as it is.
_COLUMNS = """
SELECT a.attname::text AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       b.typcategory::text AS category,
       NOT a.attnotnull AS nullable,
       ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid
              ORDER BY e.enumsortorder LIMIT 3) AS labels
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_constraint k
        WHERE k.contype = 'f' AND (k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey)
                                   OR k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey)))
 ORDER BY EXISTS (SELECT FROM pg_catalog.pg_index i
                   WHERE i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)),
          EXISTS (SELECT FROM pg_catalog.pg_constraint k
                   WHERE k.contype = 'c' AND k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey)),
          a.attnum
"""

# By pg_type.typcategory: values of which at least one is another than the row's.
_VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "A": ("{}", "{NULL}"),
        "B": ("false", "true"),
        "D": ("2000-01-01", "2000-01-02", "00:00:01", "00:00:02"),
        "G": ("(0,0)", "(1,1)"),
        "I": ("127.0.0.1", "127.0.0.2"),
        "N": ("0", "1", "2147483646"),
        "R": ("empty",),
        "S": ("", "x", "guardian"),
        "T": ("1 day", "2 days"),
        "V": ("0", "1"),
    }
)
_OTHERS = (
    "{}",
    "[]",
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-000000000001",
    "\\x00",
    "",
    "x",
)


class _Column(NamedTuple):
    name: str
    type: str
    category: str
    nullable: bool
    labels: list[str]

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.labels) or _VALUES.get(self.category, _OTHERS)


def lost_row(connection: psycopg.Connection, table: Table) -> sql.Composed:
    """Delete one row that no other row refers to."""
    unreferenced = [
        _unreferenced(*row) for row in connection.execute(_REFERRING, [table.oid]).fetchall()
    ]
    return sql.SQL(
        "DELETE FROM {table} AS t WHERE (t.tableoid, t.ctid) = "
        "(SELECT v.tableoid, v.ctid FROM {table} AS v WHERE {unreferenced} LIMIT 1)"
    ).format(
        table=_rows_of(table),
        unreferenced=sql.SQL(" AND ").join([sql.SQL("true"), *unreferenced]),
    )


def changed_row(connection: psycopg.Connection, table: Table) -> Iterator[sql.Composed]:
    """Change one value of one row: to that of another row, to a common one, to NULL."""
    rows = connection.execute(_COLUMNS, [table.oid]).fetchall()
    for column in (_Column(*row) for row in rows):
        yield _as_another_row(table, column)
        for value in column.values:
            literal = sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(column.type))
            yield _set(table, column, literal)
        if column.nullable:
            yield _set(table, column, sql.SQL("NULL"))


def _rows_of(table: Table) -> sql.Composable:
    """Where its rows are read: in the table itself, or below a tree of hash partitions."""
    return table.identifier if table.kind == "p" else sql.SQL("ONLY ") + table.identifier


def _unreferenced(schema: str, name: str, theirs: list[str], ours: list[str]) -> sql.Composed:
    pairs = [
        sql.SQL("r.{} OPERATOR(pg_catalog.=) v.{}").format(sql.Identifier(one), sql.Identifier(two))
        for one, two in zip(theirs, ours, strict=True)
    ]
    return sql.SQL("NOT EXISTS (SELECT FROM {} AS r WHERE {})").format(
        sql.Identifier(schema, name), sql.SQL(" AND ").join(pairs)
    )


def _as_another_row(table: Table, column: _Column) -> sql.Composed:
    """The values of a column satisfy what the table demands of them."""
    return sql.SQL(
        "WITH one AS (SELECT v.tableoid, v.ctid, v.{column} AS x FROM {table} AS v LIMIT 1), "
        "other AS (SELECT w.{column} AS x FROM {table} AS w, one "
        "WHERE CAST(w.{column} AS pg_catalog.text) IS DISTINCT FROM "
        "CAST(one.x AS pg_catalog.text) LIMIT 1) "
        "UPDATE {table} AS t SET {column} = other.x FROM one, other "
        "WHERE t.tableoid = one.tableoid AND t.ctid = one.ctid"
    ).format(table=_rows_of(table), column=sql.Identifier(column.name))


def _set(table: Table, column: _Column, value: sql.Composable) -> sql.Composed:
    """Put a value into the first row that has another, by its text: not every type has an ``=``."""
    return sql.SQL(
        "UPDATE {table} AS t SET {column} = {value} WHERE (t.tableoid, t.ctid) = "
        "(SELECT v.tableoid, v.ctid FROM {table} AS v "
        "WHERE CAST(v.{column} AS pg_catalog.text) IS DISTINCT FROM "
        "CAST({value} AS pg_catalog.text) LIMIT 1)"
    ).format(table=_rows_of(table), column=sql.Identifier(column.name), value=value)
