"""The demo's sample database: the same rows everywhere, restorable, and alive."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.compare import assert_same_database, differences
from support.postgres import Database, PostgresServer

from guardian.demo.seed import SeedSummary, seed

SMALL = 0.02
DIGEST = "abb220d4d71666e57c9b94bbdaad5198d67410a187b3fced63183adb70697867"
"""Of the rows at this scale with the default seed; to be renewed when the sample is changed."""


@pytest.fixture(scope="module")
def sample(pg: PostgresServer) -> tuple[Database, SeedSummary]:
    database = pg.create_database()
    return database, seed(database.dsn(), scale=SMALL)


def digest(database: Database, summary: SeedSummary) -> str:
    """A hash over all rows of all tables, in an order of their text."""
    total = hashlib.sha256()
    with database.connect(options="-c TimeZone=UTC") as connection:
        for table in sorted(summary.rows_by_table):
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT".encode()) as copy,
            ):
                lines = b"".join(copy).split(b"\n")
            total.update(table.encode() + b"\n".join(sorted(lines)))
    return total.hexdigest()


def test_the_same_seed_makes_the_same_rows_on_every_major(
    sample: tuple[Database, SeedSummary],
) -> None:
    assert digest(*sample) == DIGEST


def test_another_seed_makes_other_rows(pg16: PostgresServer) -> None:
    database = pg16.create_database()
    summary = seed(database.dsn(), scale=SMALL, seed=7)
    assert digest(database, summary) != DIGEST


def test_a_product_of_more_than_twenty_tables(sample: tuple[Database, SeedSummary]) -> None:
    database, summary = sample
    assert summary.tables >= 20
    assert all(rows > 0 for rows in summary.rows_by_table.values())
    counted = {
        table: database.rows(f"SELECT count(*) FROM {table}")[0][0]
        for table in summary.rows_by_table
    }
    assert counted == summary.rows_by_table
    assert summary.database_bytes > 8_000_000
    kinds = {kind for (kind,) in database.rows("SELECT DISTINCT relkind FROM pg_class")}
    assert kinds >= {"r", "p", "v", "m", "i", "I", "S"}


def test_nothing_is_in_the_future_or_before_the_product(
    sample: tuple[Database, SeedSummary],
) -> None:
    database, _ = sample
    columns = database.rows(
        """
        SELECT table_schema, table_name, column_name
        FROM information_schema.columns
        WHERE table_schema IN ('public', 'billing', 'audit') AND data_type LIKE 'timestamp%'
          AND column_name NOT IN ('expires_at', 'month')
        """
    )
    assert len(columns) > 20
    for schema, table, column in columns:
        outside = database.rows(
            f"SELECT count(*) FROM {schema}.{table}"
            f" WHERE {column} NOT BETWEEN '2025-04-25 00:00+00' AND '2026-12-01 00:00+00'"
        )
        assert outside == [(0,)], f"{schema}.{table}.{column}"
    assert database.rows("SELECT count(*) FROM meetings_later") == [(0,)]


def test_stock_tools_restore_it(sample: tuple[Database, SeedSummary], tmp_path: Path) -> None:
    database, _ = sample
    server = database.server
    copy = server.create_database()
    file = tmp_path / "sample.dump"
    subprocess.run([server.tool("pg_dump"), "-Fc", "-f", file, "-d", database.dsn()], check=True)
    subprocess.run(
        [server.tool("pg_restore"), "--exit-on-error", "-d", copy.dsn(), file], check=True
    )
    assert_same_database(database.dsn(), copy.dsn(), server.bindir)
    copy.execute("UPDATE users SET locale = 'xx' WHERE id = 1")
    assert any(
        "public.users" in found for found in differences(database.dsn(), copy.dsn(), server.bindir)
    )


@pytest.fixture
def live(pg16: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    database = fresh_database(pg16)
    seed(database.dsn(), scale=SMALL)
    return database


def test_it_works_as_an_application_would_use_it(live: Database) -> None:
    with live.connect() as connection:
        connection.execute("INSERT INTO users (email, full_name) VALUES ('new@a.example', 'New')")
        connection.execute("UPDATE users SET full_name = 'Ada' WHERE id = 1")
        (touched,) = connection.execute(
            "SELECT updated_at > '2026-11-01' FROM users WHERE id = 1"
        ).fetchone() or (None,)
        assert touched
        connection.execute("UPDATE api_keys SET name = 'renamed' WHERE id = 1")
        assert connection.execute(
            "SELECT change -> 'new' ->> 'name' FROM audit.log ORDER BY id DESC LIMIT 1"
        ).fetchone() == ("renamed",)
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("UPDATE users SET email = 'not an address' WHERE id = 1")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("DELETE FROM workspaces WHERE id = 1")
        connection.execute("CALL billing.close_period('2027-01-01')")
        word = connection.execute(
            "SELECT count(*) FROM workspaces w, search_meetings(w.id, 'review or planning')"
        ).fetchone()
        assert word is not None
        assert word[0] > 0


def test_row_security_shows_an_application_its_own_workspace_only(live: Database) -> None:
    with live.connect() as connection:
        everything = connection.execute("SELECT count(*) FROM comments").fetchone()
        connection.execute("SET ROLE mina_app")
        assert connection.execute("SELECT count(*) FROM comments").fetchone() == (0,)
        connection.execute("SET mina.workspace_id = '1'")
        own = connection.execute("SELECT count(*), min(workspace_id) FROM comments").fetchone()
        assert own is not None
        assert everything is not None
        assert 0 < own[0] < everything[0]
        assert own[1] == 1
        connection.execute("RESET ROLE")
        connection.execute("SET ROLE mina_read")
        assert connection.execute("SELECT count(*) FROM comments").fetchone() == everything
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT password FROM users")


def test_progress_hears_of_every_table(
    pg16: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    heard: dict[str, int] = {}
    with fresh_database(pg16).connect() as connection:
        summary = seed(connection, scale=0.001, progress=heard.__setitem__)
    assert heard == summary.rows_by_table


def test_a_second_seeding_fails_and_leaves_the_first_alone(live: Database) -> None:
    before = live.rows("SELECT count(*) FROM users")
    with pytest.raises(psycopg.errors.DuplicateSchema):
        seed(live.dsn(), scale=SMALL)
    assert live.rows("SELECT count(*) FROM users") == before


def test_a_whole_sample_has_some_hundred_thousand_rows(
    pg18: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    summary = seed(fresh_database(pg18).dsn())
    assert 300_000 < summary.rows < 700_000
    assert 60_000_000 < summary.database_bytes < 170_000_000
