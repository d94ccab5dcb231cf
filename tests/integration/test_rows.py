"""Rows read from libpq itself: right, and without keeping other threads from their work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql
from support.postgres import Database, PostgresServer

from guardian.adapters.postgres.rows import copy_sum
from guardian.backup.fingerprint import sum_rows


def copy(query: str) -> sql.Composed:
    return sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query))


@pytest.mark.parametrize("rows", [0, 1, 200_000])
def test_each_row_counts_once(
    pg18: PostgresServer, fresh_database: Callable[..., Database], rows: int
) -> None:
    query = f"SELECT g, repeat('x', g % 50) FROM generate_series(1, {rows}) g"
    with fresh_database(pg18).connect() as connection:
        expected = sum_rows((f"{g}\t{'x' * (g % 50)}\n".encode() for g in range(1, rows + 1)), 7)
        assert copy_sum(connection, copy(query), 7) == (rows, expected)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_error_in_the_middle_is_the_servers(
    pg18: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    with fresh_database(pg18).connect() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            copy_sum(connection, copy("SELECT 1 / (5000 - g) FROM generate_series(1, 9000) g"), 7)
        with pytest.raises(psycopg.errors.UndefinedTable):
            copy_sum(connection, copy("SELECT * FROM nowhere"), 7)
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("query", ["SELECT pg_sleep(60)", "SELECT 1 UNION ALL SELECT 2 + sleepy()"])
def test_while_the_server_says_nothing_others_go_on(
    pg18: PostgresServer, fresh_database: Callable[..., Database], query: str
) -> None:
    """Else nobody could renew a lease, see a deadline, or cancel: before and among the rows."""
    database = fresh_database(pg18)
    database.execute(
        "CREATE FUNCTION sleepy() RETURNS int LANGUAGE sql VOLATILE "
        "AS 'SELECT 1 FROM (SELECT pg_sleep(60)) AS waited'"
    )
    raised: list[BaseException] = []
    with database.connect() as connection:

        def read() -> None:
            try:
                copy_sum(connection, copy(query), 7)
            except psycopg.Error as error:
                raised.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        asleep = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
            "AND datname = current_database()"
        )
        while database.rows(asleep) != [(1,)]:
            pass
        connection.cancel_safe(timeout=20)
        thread.join(20)
        assert [type(error) for error in raised] == [psycopg.errors.QueryCanceled]
