"""A database that is there already: empty, full, in use, or the source itself."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql
from support.postgres import Database, PostgresServer, Role
from support.restoring import Restoring, run_inside, wait_for
from support.site import Outcome
from support.zoo import HOSTILE_NAME

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.maintenance import look_inside


def test_one_that_is_not_there_needs_create(shop: Restoring) -> None:
    name = shop.new_name()
    said = shop.refused(name)
    assert f"database {name!r}" in said
    assert "does not exist; --create makes it" in said


def test_an_empty_one_is_taken_with_what_was_set_for_it(shop: Restoring) -> None:
    empty = shop.existing()
    before = shop.databases()[empty.name]
    empty.execute(
        f"ALTER DATABASE {empty.name} CONNECTION LIMIT 9",
        f"ALTER DATABASE {empty.name} SET work_mem = '5MB'",  # the backup has settings of its own
    )
    document = shop.restored(empty.name)
    assert document["kept_old"] is None
    assert before not in shop.databases().values()
    shop.assert_restored(empty.name)
    ((limit,),) = empty.rows(f"SELECT datconnlimit FROM pg_database WHERE datname = '{empty.name}'")
    assert limit == 9
    assert empty.rows("SHOW work_mem") == shop.source.rows("SHOW work_mem")
    assert empty.rows("SHOW default_transaction_read_only") == [("on",)]


def test_an_empty_one_with_extensions_is_kept(shop: Restoring) -> None:
    """Their tables may hold rows that are somebody's."""
    empty = shop.existing("CREATE EXTENSION citext")
    number = shop.databases()[empty.name]
    document = shop.restored(empty.name)
    assert shop.databases()[document["kept_old"]] == number


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t ()",
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE SEQUENCE s",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE e AS ENUM ('a')",
        "CREATE TYPE c AS (a int)",
        "CREATE DOMAIN d AS int",
        "CREATE SCHEMA s",
        "SELECT lo_create(0)",
        "CREATE PUBLICATION p",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE CAST (int AS json) WITH INOUT",
        "CREATE COLLATION col (locale = 'C')",
        "CREATE TEXT SEARCH CONFIGURATION tc (COPY = simple)",
        "CREATE OPERATOR FAMILY fam USING btree",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
        "SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')",
    ],
)
def test_whatever_is_in_a_database_it_is_not_empty(
    pg15: PostgresServer, fresh_database: Callable[..., Database], statement: str
) -> None:
    database = fresh_database(pg15)
    connector = Connector("test", database.dsn())
    assert look_inside(connector, database.name, "test").is_empty
    slot = f"s_{secrets.token_hex(4)}"
    database.execute(statement.format(slot=slot))
    try:
        contents = look_inside(connector, database.name, "test")
        assert not contents.is_empty
        assert contents.made
        assert all(one.startswith("1 ") for one in contents.made)
    finally:
        if "slot" in statement:
            database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
        if "SUBSCRIPTION" in statement:
            database.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s")


def test_a_full_one_is_refused_then_replaced_and_kept(shop: Restoring) -> None:
    name = HOSTILE_NAME
    shop.server.create_database(name)
    full = Database(shop.server, name)
    try:
        full.execute("CREATE TABLE mine AS SELECT 42 AS answer", "CREATE TABLE other ()")
        number = shop.databases()[name]
        said = shop.refused(name, "--create", "--force-disconnect")
        assert "is not empty: it holds 2 tables" in said
        assert "--replace" in said
        document = shop.restored(name, "--replace")
        kept = document["kept_old"]
        assert len(kept.encode()) <= 63
        assert kept.startswith("Zoo")
        assert "_before_2" in kept
        assert shop.databases()[kept] == number
        assert Database(shop.server, kept).rows("SELECT answer FROM mine") == [(42,)]
        shop.assert_restored(name, database_settings=True)
    finally:
        for one in shop.databases():
            if one.startswith("Zoo"):
                shop.server.drop_database(one)


def test_the_source_itself_is_named(shop: Restoring) -> None:
    said = shop.refused(shop.source.name, "--create")
    assert "is the source of this backup itself" in said
    assert "--replace" in said


def test_others_are_connected(shop: Restoring) -> None:
    full = shop.existing("CREATE TABLE mine ()")
    number = shop.databases()[full.name]
    with full.connect(application_name="their web"):
        said = shop.refused(full.name, "--replace")
        assert f"others are connected to database '{full.name}'" in said
        assert f"1 of {shop.server.superuser.name} (their web)" in said
        assert "--force-disconnect" in said
    with full.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("PREPARE TRANSACTION 'theirs'")
    said = shop.refused(full.name, "--replace", "--force-disconnect")
    assert "prepared transactions: theirs" in said
    full.execute("ROLLBACK PREPARED 'theirs'")
    assert shop.databases()[full.name] == number


def test_somebody_comes_back_before_the_end(shop: Restoring) -> None:
    """The copy is kept, under a name that no restore removes, and the printed SQL finishes."""
    full = shop.existing("CREATE TABLE mine ()")
    process = shop.site.start(*shop.words(full.name, "--replace"))
    wait_for(lambda: bool(shop.beside()))
    with full.connect(application_name="their web"):
        out, err = process.communicate(timeout=60)
    outcome = Outcome(process.returncode, out, err)
    outcome.assert_clean()
    assert outcome.code == 1
    document = outcome.json
    assert document["status"] == "kept_aside"
    assert "others are connected to it: 1 of" in document["reason"]
    kept = document["kept_as"]
    assert kept.startswith(f"{full.name}_restored_2")
    assert full.rows("SELECT * FROM mine") == []
    with shop.server.connect() as connection:
        for statement in document["statements"]:
            connection.execute(statement.encode())
    shop.assert_restored(full.name, database_settings=True)
    assert any(name.startswith(f"{full.name}_before_2") for name in shop.databases())


class Pool:
    """Sessions of an application that come back at once, as pools do."""

    def __init__(self, dsn: str, size: int) -> None:
        self.connects = 0
        self._dsn = dsn
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(size)]

    def __enter__(self) -> Pool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    self.connects += 1
                    while not self._over.is_set():
                        connection.execute("SELECT pg_sleep(0.05)")
            except psycopg.Error:
                continue


def test_a_pool_that_reconnects_at_once_cannot_win(shop: Restoring) -> None:
    full = shop.existing("CREATE TABLE mine ()")
    with Pool(full.dsn(), 4) as pool:
        wait_for(lambda: pool.connects >= 4)
        document = shop.restored(full.name, "--replace", "--force-disconnect")
        sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{full.name}'"
        wait_for(lambda: shop.source.rows(sessions) == [(4,)])  # they are in the restored one
    assert document["kept_old"].startswith(f"{full.name}_before_2")
    shop.assert_restored(full.name, database_settings=True)


def test_sessions_that_our_role_may_not_end(
    shop: Restoring, fresh_role: Callable[..., Role]
) -> None:
    """The owner of a database may not end a superuser's session; nothing is lost by that."""
    role = fresh_role(shop.server, attributes="CREATEDB")
    full = shop.existing("CREATE TABLE mine ()")
    with shop.server.connect() as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(full.name), sql.Identifier(role.name)
            )
        )
    with full.connect():
        outcome = run_inside(
            shop.site,
            *("restore", shop.backup, "--to", full.dsn(role=role), "--json", "--replace"),
            *("--force-disconnect", "--no-owner", "--no-privileges"),
        )
    outcome.assert_clean()
    assert outcome.code == 1, outcome.err
    assert "may not end the sessions of" in outcome.json["reason"]
    assert Database(shop.server, outcome.json["kept_as"]).rows("SELECT count(*) FROM notes") == [
        (2000,)
    ]
    for name in (outcome.json["kept_as"], full.name):
        shop.server.drop_database(name)
