"""Locks first, then the snapshot: dump and fingerprint see one instant, whatever DDL does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from support.postgres import Database, PostgresServer

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.source import PostgresSource
from guardian.errors import LockedError
from guardian.model import Fingerprint, ProofLevel

TABLES = """
CREATE TABLE a AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 1000) g;
CREATE TABLE b (id int);
INSERT INTO b SELECT generate_series(1, 10);
CREATE SEQUENCE s; SELECT nextval('s'), nextval('s');
"""


@pytest.fixture
def database(pg: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    made = fresh_database(pg)
    made.execute(*[line for line in TABLES.strip().splitlines() if line])
    return made


def source(database: Database, **options: object) -> PostgresSource:
    return PostgresSource(Connector("main", database.dsn()), **options)  # type: ignore[arg-type]


def rows(fingerprint: Fingerprint) -> dict[str, int]:
    return {table.name: table.rows for table in fingerprint.tables}


def test_what_others_commit_after_the_snapshot_is_not_in_it(database: Database) -> None:
    with source(database).snapshot(database.name) as snapshot:
        database.execute("INSERT INTO b VALUES (11)", "DELETE FROM a", "SELECT nextval('s')")
        first = snapshot.fingerprint(ProofLevel.CONTENT, lambda _: None)
        final = snapshot.with_final_positions(first)
    assert rows(first) == {"a": 1000, "b": 10}
    (sequence,) = final.sequences
    assert (sequence.before, sequence.after) == (2, 3)


def test_truncate_waits_for_the_snapshot_and_cannot_empty_it(database: Database) -> None:
    with source(database).snapshot(database.name) as snapshot:
        with database.connect() as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("TRUNCATE a")
        assert rows(snapshot.fingerprint(ProofLevel.COUNTS, lambda _: None))["a"] == 1000


def test_dump_does_not_wait_for_ever_behind_ddl_that_waits_for_us(database: Database) -> None:
    """ALTER waits for our lock, pg_dump would wait behind ALTER: nobody would ever move."""
    short = source(database, lock_timeout=timedelta(milliseconds=500))
    with short.snapshot(database.name) as snapshot:

        def alter() -> None:
            with database.connect() as other:
                other.execute("ALTER TABLE a ADD COLUMN x int")

        waiting = threading.Thread(target=alter)
        waiting.start()
        with database.connect() as looker:
            while not looker.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                pass
        with snapshot.open_dumps(1) as (stream,):
            while stream.read():
                pass
            with pytest.raises(LockedError):
                stream.finish()
        # The connection that holds the locks reads on, all the same.
        assert rows(snapshot.fingerprint(ProofLevel.CONTENT, lambda _: None))["a"] == 1000
    waiting.join()


def test_a_fingerprint_that_takes_too_long_falls_back_to_counts(database: Database) -> None:
    database.execute(
        "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 20) t FROM generate_series(1, 80000) g"
    )
    hurried = source(database, content_limit=timedelta(milliseconds=20))
    with hurried.snapshot(database.name) as snapshot:
        found = snapshot.fingerprint(ProofLevel.CONTENT, lambda _: None)
    assert found.level is ProofLevel.COUNTS
    assert rows(found)["big"] == 80000


def test_a_database_read_by_a_process_of_its_own_gives_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guardian.adapters.postgres import fingerprinter

    monkeypatch.setattr("secrets.randbits", lambda _: 7)
    with source(database).snapshot(database.name) as snapshot:
        inline = snapshot.fingerprint(ProofLevel.CONTENT, lambda _: None)
    monkeypatch.setattr(fingerprinter, "WORTH_A_PROCESS", 0)
    with source(database).snapshot(database.name) as snapshot:
        elsewhere = snapshot.fingerprint(ProofLevel.CONTENT, lambda _: None)
    assert elsewhere == inline


def test_nothing_of_ours_is_left_on_the_server(database: Database) -> None:
    with source(database).snapshot(database.name):
        pass
    query = (
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'guardian%' "
        "AND datname = current_database()"
    )
    deadline = time.monotonic() + 20  # a session ends a moment after its connection
    while (left := database.rows(query)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
