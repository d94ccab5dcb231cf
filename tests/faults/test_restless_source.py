"""While somebody writes, alters and truncates all the time: each backup is proven, or says why not.

A few backups in a row, and fifty with ``GUARDIAN_LONG=1`` in the environment.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from support.postgres import Database, PostgresServer
from support.restoring import run_inside
from support.site import Site

CAUSES = {"locked", "dump", "connection", "timeout"}
"""For which a backup of such a source may fail."""

START = """
CREATE SEQUENCE counter;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE accounts (id bigserial PRIMARY KEY, balance numeric NOT NULL, mood mood, note text);
INSERT INTO accounts (balance, mood, note)
    SELECT g, 'glad', md5(g::text) FROM generate_series(1, 3000) g;
CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY, one bigint REFERENCES accounts, other bigint, t text);
CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), line text) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');
CREATE TABLE log_new PARTITION OF log DEFAULT;
CREATE MATERIALIZED VIEW totals AS SELECT mood, sum(balance) FROM accounts GROUP BY mood;
CREATE UNLOGGED TABLE cache (key text, value text);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""

OPERATIONS = {
    (
        "INSERT INTO accounts (balance, mood, note) SELECT random(), 'sad', 'n' FROM "
        "generate_series(1, 50)"
    ): 9,
    (
        "INSERT INTO transfers (one, other, t) SELECT id, id, 'x' FROM accounts ORDER BY "
        "random() LIMIT 20"
    ): 6,
    "INSERT INTO log (line) SELECT g::text FROM generate_series(1, 100) g": 6,
    "INSERT INTO cache SELECT g, random() FROM generate_series(1, 100) g": 4,
    "UPDATE accounts SET balance = balance + 1 WHERE id % 7 = (random() * 6)::int": 8,
    "UPDATE accounts SET note = repeat('x', 5000) WHERE id % 97 = 0": 3,
    (
        "DELETE FROM accounts a WHERE random() < 0.02 AND NOT EXISTS (SELECT FROM transfers "
        "WHERE one = a.id)"
    ): 6,
    "DELETE FROM log WHERE random() < 0.3": 3,
    "SELECT nextval('counter') FROM generate_series(1, 10)": 5,
    "SELECT setval('counter', 1, false)": 1,
    "TRUNCATE transfers": 2,
    "TRUNCATE accounts, transfers RESTART IDENTITY": 1,
    "TRUNCATE cache": 3,
    "TRUNCATE log_new": 2,
    "ALTER TABLE accounts ADD COLUMN extra int DEFAULT (random() * 10)::int": 2,
    "ALTER TABLE accounts DROP COLUMN IF EXISTS extra": 2,
    "ALTER TABLE transfers ALTER t TYPE varchar(10)": 1,
    "ALTER TABLE transfers ALTER t TYPE text": 1,
    "ALTER TABLE cache SET LOGGED": 1,
    "ALTER TABLE cache SET UNLOGGED": 1,
    "ALTER TABLE log DETACH PARTITION log_old": 1,
    "ALTER TABLE log ATTACH PARTITION log_old FOR VALUES FROM ('2020-01-01') TO ('2026-01-01')": 1,
    "CREATE TABLE IF NOT EXISTS passing AS SELECT g FROM generate_series(1, 500) g": 3,
    "DROP TABLE IF EXISTS passing": 3,
    "ALTER TABLE passing RENAME TO moved": 1,
    "DROP TABLE IF EXISTS moved": 1,
    "CREATE INDEX IF NOT EXISTS by_note ON accounts (note)": 2,
    "DROP INDEX IF EXISTS by_note": 2,
    "REINDEX TABLE accounts": 1,
    "CLUSTER accounts USING accounts_pkey": 1,
    "VACUUM accounts": 2,
    "VACUUM FULL log_new": 1,
    "VACUUM (FREEZE) transfers": 1,
    "ANALYZE": 1,
    "REFRESH MATERIALIZED VIEW totals": 2,
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'": 1,
    "CREATE OR REPLACE VIEW seen AS SELECT id, mood FROM accounts": 1,
    "CREATE OR REPLACE VIEW seen AS SELECT id, mood FROM accounts WHERE note IN ('n', 'm')": 1,
    "CREATE OR REPLACE VIEW also AS SELECT s.id FROM accounts s WHERE s.balance > 1": 1,
    "CREATE OR REPLACE VIEW also AS SELECT s.id FROM accounts s WHERE s.balance > 2": 1,
    "DROP VIEW IF EXISTS also": 1,
    "ALTER TABLE accounts ALTER note SET DEFAULT 'n'": 1,
    "ALTER TABLE accounts ALTER note DROP DEFAULT": 1,
    "ALTER FUNCTION f() STABLE": 1,
    "ALTER FUNCTION f() VOLATILE": 1,
    "ALTER SEQUENCE counter CACHE 5": 1,
    "ALTER SEQUENCE counter CACHE 1": 1,
    "DROP VIEW IF EXISTS seen": 1,
    "GRANT SELECT ON accounts TO PUBLIC": 1,
    "REVOKE ALL ON accounts FROM PUBLIC": 1,
    "COMMENT ON TABLE accounts IS 'some'": 1,
    "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'so-so'": 1,
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 2": 1,
    "SELECT lo_from_bytea(0, decode(md5(random()::text), 'hex')) FROM generate_series(1, 3)": 2,
}


class Writers:
    """Sessions that do one thing after the other, as fast as they can, again and again."""

    def __init__(self, database: Database, count: int) -> None:
        self.done: Counter[str] = Counter()
        self._database = database
        self._chances = [random.Random(seed) for seed in range(count)]
        self._stopping = threading.Event()

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._stopping.clear()
        threads = [
            threading.Thread(target=self._write, args=(chance,), daemon=True)
            for chance in self._chances
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _write(self, chance: random.Random) -> None:
        statements, weights = list(OPERATIONS), list(OPERATIONS.values())
        with self._database.connect(application_name="writer") as connection:
            connection.execute("SET lock_timeout = '3s'")
            while not self._stopping.is_set():
                (statement,) = chance.choices(statements, weights)
                try:
                    connection.execute(statement.encode())
                except psycopg.Error:  # a lock, a deadlock, a column that is not there just now
                    self.done["refused"] += 1
                else:
                    self.done[statement.split()[0]] += 1


@pytest.fixture
def restless(pg15: PostgresServer) -> Iterator[Database]:
    database = pg15.create_database()
    database.execute(START)
    yield database
    pg15.drop_database(database.name)


def test_each_backup_is_proven_or_says_why_not(
    restless: Database, pg15: PostgresServer, tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", restless.dsn())
    # A server of its own for each drill would take most of the time.
    site.server = {"verify": {"scratch": pg15.dsn(), "allow_source_server": True}}
    back_up_and_drill(site, restless, rounds=4)


@pytest.mark.takes_long
@pytest.mark.timeout(3000)
def test_fifty_backups_in_a_row(restless: Database, tmp_path: Path) -> None:
    back_up_and_drill(Site(tmp_path / "site", restless.dsn()), restless, rounds=50)


def back_up_and_drill(site: Site, restless: Database, rounds: int) -> None:
    """So many backups while others write; each that succeeds must be proven."""
    site.server |= {"backup": {"lock_timeout": "5s"}}
    came: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    writers = Writers(restless, 3)
    for _ in range(rounds):
        with writers.writing():
            backup = run_inside(site, "backup", "now", "--json").result
        if backup["status"] == "failed":
            assert backup["error"]["cause"] in CAUSES, backup["error"]
            assert len(backup["error"]["message"]) > 20
            came["failed"] += 1
            failures[backup["error"]["message"]] += 1
            continue
        assert backup["proof"] == "content", backup["warnings"]
        # A drill does not touch the source; those who write would only slow it down.
        outcome = run_inside(site, "verify", "--json", backup["id"])
        (drill,) = outcome.json
        assert (drill["result"], drill["reason"]) == ("proven", None)
        came["proven"] += 1
    print(dict(came), dict(writers.done), dict(failures))
    assert came["proven"] > rounds // 2, came
    for verb in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "ALTER", "VACUUM", "DROP"):
        assert writers.done[verb], writers.done
