"""Damage done on purpose: one thing alone, which a comparison sees and no restore does."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from support.drilling import create_demo
from support.postgres import Database, PostgresServer, Role
from support.zoo import create_zoo, drop_database

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.damage import damage_database
from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.model import DatabaseDamage, Fingerprint, ProofLevel
from guardian.verify.compare import compare

SEED = 5


def taken(dsn: str) -> Fingerprint:
    with psycopg.connect(dsn, autocommit=True) as connection:
        settle_session(connection, "UTF8")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        tables = list_tables(connection, measured=True)
        return Fingerprinter(connection, tables, seed=SEED).take(ProofLevel.CONTENT, lambda _: None)


def damaged(
    database: Database, damage: DatabaseDamage, *, role: Role | None = None
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Damage this very database; what was said to be damaged, and what a comparison names."""
    before = taken(database.dsn())
    dsn = database.dsn(role=role) if role else database.dsn()
    with psycopg.connect(dsn, autocommit=True) as connection:
        objects = damage_database(connection, damage, before, "UTF8")
    found, major = taken(database.dsn()), database.server.major
    told = compare(before, found, source_major=major, target_major=major)
    return objects, [one.object for one in told]


@pytest.fixture(scope="module")
def empty(pg15: PostgresServer) -> Database:
    return pg15.create_database()


@pytest.fixture
def bare(empty: Database) -> Database:
    """A database with nothing in it, shared by the tests one after the other."""
    empty.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return empty


@pytest.fixture(scope="module", params=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module", params=["demo", "zoo"])
def database(request: pytest.FixtureRequest, server: PostgresServer) -> Iterator[Database]:
    if request.param == "demo":
        made = create_demo(server, "damage_demo")
    else:
        made = create_zoo(server, 'damage "zoo" %s {} 🦒', settings=False)
        made.execute(_WITHOUT_SUBSCRIPTIONS)
    yield made
    drop_database(server, made.name)


# A template with a subscription would bring it into the copy, and drills leave them out.
_WITHOUT_SUBSCRIPTIONS = """
DO $$ DECLARE s name; BEGIN
    FOR s IN SELECT subname FROM pg_subscription
        JOIN pg_database d ON d.oid = subdbid AND datname = current_database()
    LOOP EXECUTE format('DROP SUBSCRIPTION %I', s); END LOOP;
END $$
"""


@pytest.fixture
def copy(database: Database) -> Iterator[Database]:
    template = database.name.replace('"', '""')
    made = database.server.create_database(options=f'TEMPLATE "{template}"')
    yield made
    drop_database(database.server, made.name)


@pytest.mark.parametrize("damage", DatabaseDamage)
def test_one_thing_is_damaged_and_named(copy: Database, damage: DatabaseDamage) -> None:
    objects, told = damaged(copy, damage)
    assert objects is not None
    assert set(objects) & set(told)
    if damage is not DatabaseDamage.TABLE_MISSING:  # partitions go with their table
        assert len(told) == 1, told


def test_what_is_left_can_still_be_restored(bare: Database) -> None:
    """No row is taken that another refers to, though no trigger watches."""
    bare.execute(
        "CREATE TABLE parent (id int PRIMARY KEY, up int REFERENCES parent)",
        "INSERT INTO parent VALUES (1, NULL), (2, 1), (3, 2)",
    )
    assert damaged(bare, DatabaseDamage.ROW_CHANGED) == (None, [])  # all columns are keys
    objects, told = damaged(bare, DatabaseDamage.ROW_LOST)
    assert objects == ("table public.parent",)
    assert told == ["table public.parent"]
    assert bare.rows("SELECT id FROM parent ORDER BY 1") == [(1,), (2,)]


HARD = {
    "no key, all rows alike": "CREATE TABLE t (a text); INSERT INTO t VALUES ('x'), ('x'), ('x')",
    "one column, a key": "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (0)",
    "generated columns": "CREATE TABLE t (b bool, g text GENERATED ALWAYS AS (b::text) STORED);"
    "INSERT INTO t VALUES (true)",
    "an identity": "CREATE TABLE t (i int GENERATED ALWAYS AS IDENTITY, v uuid);"
    "INSERT INTO t (v) VALUES (gen_random_uuid())",
    "an enum": "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE t (v e NOT NULL, UNIQUE (v));"
    "INSERT INTO t VALUES ('a')",
    "not a number": "CREATE TABLE t (v float8 NOT NULL); INSERT INTO t VALUES ('NaN')",
    "a strict domain": "CREATE DOMAIN d AS text NOT NULL CHECK (VALUE ~ '^[a-z]{8}$');"
    "CREATE TABLE t (v d); INSERT INTO t VALUES ('guardian'), ('xxxxxxxx')",
    "json": """CREATE TABLE t (v json NOT NULL); INSERT INTO t VALUES ('{}')""",
    "arrays": "CREATE TABLE t (v int[] NOT NULL); INSERT INTO t VALUES ('{}')",
    "triggers and rules that refuse": "CREATE TABLE t (v int); INSERT INTO t VALUES (0);"
    "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING;"
    "CREATE RULE u AS ON UPDATE TO t DO INSTEAD NOTHING",
    "hash partitions": "CREATE TABLE t (v int) PARTITION BY HASH (v);"
    "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
    "INSERT INTO t VALUES (1), (2), (3)",
    "range partitions": "CREATE TABLE t (v int, w text) PARTITION BY RANGE (v);"
    "CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (10); INSERT INTO t VALUES (1, 'x')",
    "row security": "CREATE TABLE t (v int); INSERT INTO t VALUES (1);"
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "a hostile name": 'CREATE TABLE "t%s {} ""x"" \\ 🦒" ("c%s {}" text);'
    'INSERT INTO "t%s {} ""x"" \\ 🦒" VALUES (\'1\')',
}


@pytest.mark.parametrize("shape", HARD)
def test_hard_tables(bare: Database, shape: str) -> None:
    bare.execute(*HARD[shape].split(";"))
    for damage in (
        DatabaseDamage.ROW_CHANGED,
        DatabaseDamage.ROW_LOST,
        DatabaseDamage.TABLE_MISSING,
    ):
        objects, told = damaged(bare, damage)
        assert objects is not None, damage
        assert set(objects) <= set(told), damage


def test_what_is_not_there_is_not_damaged(bare: Database) -> None:
    bare.execute("CREATE SEQUENCE never_used")
    for damage in DatabaseDamage:
        assert damaged(bare, damage) == (None, [])


def test_a_key_is_dropped_where_there_is_no_other_index(bare: Database) -> None:
    bare.execute('CREATE TABLE t (a int CONSTRAINT "The Key" PRIMARY KEY)')
    objects, told = damaged(bare, DatabaseDamage.INDEX_MISSING)
    assert objects is not None
    assert told == [objects[0]]


def test_a_role_without_superpowers_damages_what_it_may(bare: Database) -> None:
    owner = bare.server.create_role()
    bare.execute(
        f"GRANT CREATE, USAGE ON SCHEMA public TO {owner.name}",
        "CREATE TABLE a_theirs AS SELECT generate_series(1, 9) v",
        f"SET ROLE {owner.name}; CREATE TABLE mine (v int, w serial);"
        "INSERT INTO mine VALUES (1), (2)",
    )
    for damage in (
        DatabaseDamage.ROW_CHANGED,
        DatabaseDamage.ROW_LOST,
        DatabaseDamage.SEQUENCE_BEHIND,
        DatabaseDamage.TABLE_MISSING,
    ):
        objects, told = damaged(bare, damage, role=owner)
        assert objects is not None, damage
        assert set(objects) <= set(told)
        assert "theirs" not in objects[0]


def test_a_lost_connection_is_told_and_not_taken_for_a_refusal(bare: Database) -> None:
    bare.execute("CREATE TABLE t (v int)", "INSERT INTO t VALUES (1)")
    before = taken(bare.dsn())
    connector = Connector("scratch", bare.dsn())
    with connector.connect(purpose="damage") as connection:
        pid = connection.info.backend_pid
        bare.execute(f"SELECT pg_terminate_backend({pid})")
        with pytest.raises(psycopg.Error):
            damage_database(connection, DatabaseDamage.ROW_LOST, before, "UTF8")
