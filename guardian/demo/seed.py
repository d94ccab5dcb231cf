"""Make the demo's sample database: ``mina``, a meeting-transcription product.

The rows are built by the server, from generate_series and hashes with a fixed seed: the same seed
and scale make the same rows on every PostgreSQL from 15 to 18.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

_BLOCK = re.compile(r"^-- name: (\S+)\n", re.MULTILINE)

Heard = Callable[[str, int], None]
"""Hears of each table, as ``schema.name``, and its rows, once they are in."""


@dataclass(frozen=True, slots=True)
class SeedSummary:
    """What a sample database holds. ``rows_by_table`` counts a partitioned table once."""

    rows_by_table: Mapping[str, int]
    database_bytes: int
    seconds: float

    @property
    def tables(self) -> int:
        """Tables that a person would draw, so partitions not counted."""
        return len(self.rows_by_table)

    @property
    def rows(self) -> int:
        """Rows over all tables."""
        return sum(self.rows_by_table.values())


def seed(
    connection_or_dsn: psycopg.Connection[Any] | str,
    scale: float = 1.0,
    seed: int = 2026,
    progress: Heard | None = None,
) -> SeedSummary:
    """Create the sample schema in an empty database and fill it, in one transaction.

    At ``scale`` 1 it holds about half a million rows, some 150 MB. Creates the roles ``mina_app``
    and ``mina_read`` where the server lacks them. Raises psycopg's errors, such as DuplicateSchema
    where a sample is there already; nothing is left behind then.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale is {scale}, and must be a number above 0")
    began = time.monotonic()
    counts: dict[str, int] = {}
    with _connected(connection_or_dsn) as connection, connection.transaction():
        _prepare(connection, scale, seed)
        connection.execute(_script("sample.sql"))
        for table, statements in _blocks():
            rows = connection.execute(statements.encode()).rowcount
            if table.startswith("("):  # preparation, not a table
                continue
            counts[table] = rows
            if progress is not None:
                progress(table, rows)
        connection.execute(_script("sample_rest.sql"))
        size = _database_bytes(connection)
    return SeedSummary(counts, size, time.monotonic() - began)


@contextmanager
def _connected(
    connection_or_dsn: psycopg.Connection[Any] | str,
) -> Iterator[psycopg.Connection[Any]]:
    if isinstance(connection_or_dsn, str):
        with psycopg.connect(connection_or_dsn, autocommit=True) as connection:
            yield connection
    else:
        yield connection_or_dsn


def _script(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _blocks() -> Iterator[tuple[str, str]]:
    """Each block of ``sample_rows.sql``: the table it fills, with its schema, and its SQL."""
    _, *parts = _BLOCK.split(_script("sample_rows.sql").decode())
    for name, statements in zip(parts[::2], parts[1::2], strict=True):
        yield name if "." in name or name.startswith("(") else f"public.{name}", statements


def _prepare(connection: psycopg.Connection[Any], scale: float, seed: int) -> None:
    """Pin what rows could depend on, and define the dice and the scale for the scripts."""
    connection.execute(
        b"SET LOCAL search_path = public; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO';"
        b"SET LOCAL IntervalStyle = 'postgres'; SET LOCAL statement_timeout = 0;"
        b"SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronous_commit = off;"
        b"SET LOCAL maintenance_work_mem = '128MB'; SET LOCAL work_mem = '64MB'"
    )
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION pg_temp.dice(key bigint, salt bigint) RETURNS bigint"
            " LANGUAGE sql IMMUTABLE AS"
            " 'SELECT hashint8extended(key, salt * 1000003 + {seed}) & 9223372036854775807'"
        ).format(seed=sql.SQL(str(int(seed))))
    )
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION pg_temp.sized(n bigint) RETURNS bigint"
            " LANGUAGE sql IMMUTABLE AS 'SELECT greatest(1, round(n * {scale}))::bigint'"
        ).format(scale=sql.SQL(f"{scale:.6f}"))
    )


def _database_bytes(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0
