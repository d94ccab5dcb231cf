"""The zoo can be restored by PostgreSQL's own tools, and the comparison sees what differs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support.compare import assert_same_database, differences, roles_of
from support.postgres import Database, PostgresServer, installation, running_server
from support.zoo import HOSTILE_NAME, create_zoo, drop_database, install_config_extension


def dump(database: Database, file: Path, *options: str) -> None:
    words: list[str | Path] = [database.server.tool("pg_dump"), "-Fc", "--encoding=UTF8"]
    words += ["-f", file, "-d", database.dsn(), *options]
    subprocess.run(words, check=True)


def restore(file: Path, target: Database, *options: str) -> None:
    words: list[str | Path] = [target.server.tool("pg_restore"), "--exit-on-error"]
    words += ["-d", target.dsn(), *options, file]
    subprocess.run(words, check=True)


@pytest.fixture(scope="module")
def zoo(pg: PostgresServer) -> Iterator[Database]:
    database = create_zoo(pg)
    yield database
    drop_database(pg, database.name)


@pytest.fixture(scope="module")
def archive(zoo: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("zoo") / "zoo.dump"
    dump(zoo, file)
    return file


@pytest.fixture(scope="module")
def copy(zoo: Database, archive: Path) -> Iterator[Database]:
    database = zoo.server.create_database(options="TEMPLATE template0")
    restore(archive, database)
    yield database
    drop_database(zoo.server, database.name)


def test_stock_tools_restore_the_zoo(zoo: Database, copy: Database) -> None:
    assert_same_database(zoo.dsn(), copy.dsn(), zoo.server.bindir)


def test_settings_of_the_database_are_compared_on_demand(zoo: Database, copy: Database) -> None:
    found = differences(zoo.dsn(), copy.dsn(), zoo.server.bindir, database_settings=True)
    told = " ".join(found)
    for name in ("DateStyle", "client_encoding", '"zoo reader" work_mem', "itself"):
        assert f"database {name}: " in told


KINDS = {
    "ACCESS METHOD", "ACL", "AGGREGATE", "BLOB", "CAST", "CHECK CONSTRAINT", "COLLATION",
    "COMMENT", "CONSTRAINT", "CONVERSION", "DEFAULT", "DEFAULT ACL", "DOMAIN", "EVENT TRIGGER",
    "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FUNCTION", "INDEX", "INDEX ATTACH",
    "MATERIALIZED VIEW", "MATERIALIZED VIEW DATA", "OPERATOR", "OPERATOR CLASS",
    "OPERATOR FAMILY", "POLICY", "PROCEDURAL LANGUAGE", "PROCEDURE", "PUBLICATION",
    "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "ROW SECURITY", "RULE", "SCHEMA",
    "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET", "SERVER", "SHELL TYPE", "STATISTICS",
    "SUBSCRIPTION", "TABLE", "TABLE ATTACH", "TABLE DATA", "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "TRIGGER", "TYPE",
    "USER MAPPING", "VIEW",
}  # fmt: skip


def test_the_zoo_has_every_kind_of_object(zoo: Database, archive: Path) -> None:
    listed = subprocess.run(
        [zoo.server.tool("pg_restore"), "--list", archive],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    missing = {kind for kind in KINDS if f" {kind} " not in listed}
    # From 17 on pg_dump lists large objects in groups.
    assert not missing - ({"BLOB"} if " BLOB METADATA " in listed else set())


def test_the_zoo_has_what_its_server_can(zoo: Database) -> None:
    extensions = {name for (name,) in zoo.rows("SELECT extname FROM pg_extension")}
    if zoo.server.has_contrib:
        assert extensions >= {"hstore", "citext", "pg_trgm", "ltree", "uuid-ossp", "postgres_fdw"}
    else:
        assert "vector" in extensions
    virtual = zoo.rows("SELECT count(*) FROM pg_attribute WHERE attgenerated = 'v'")
    assert virtual == [(1 if zoo.server.major >= 18 else 0,)]
    assert zoo.name == HOSTILE_NAME


def test_a_dump_that_does_not_pin_the_encoding_fails(zoo: Database, tmp_path: Path) -> None:
    done = subprocess.run(
        [zoo.server.tool("pg_dump"), "-Fc", "-f", tmp_path / "x", "-d", zoo.dsn()],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"LATIN1" in done.stderr


def test_a_dump_with_create_brings_the_database_itself(
    pg16: PostgresServer, tmp_path: Path
) -> None:
    """Onto another server, with the roles from pg_dumpall: nothing is missing at all."""
    source = create_zoo(pg16, "zoo to move '🦒'")
    dump(source, tmp_path / "zoo.dump")
    roles = subprocess.run(
        [pg16.tool("pg_dumpall"), "--roles-only", "-d", pg16.dsn()], capture_output=True, check=True
    ).stdout
    with running_server(installation(16, from_wheel=True)) as other:
        subprocess.run(
            [other.tool("psql"), "-X", "-q", "-d", other.dsn()],
            input=roles, capture_output=True, check=True,
        )  # fmt: skip
        restore(tmp_path / "zoo.dump", Database(other, "postgres"), "--create")
        moved = Database(other, source.name)
        assert_same_database(source.dsn(), moved.dsn(), pg16.bindir, database_settings=True)
        here, there = roles_of(source.dsn()), roles_of(moved.dsn())
        assert here == there
        with other.connect() as connection:
            connection.execute("ALTER ROLE \"ZOO Keepers\" SET work_mem = '1MB'")
        assert roles_of(moved.dsn())["ZOO Keepers"] != here["ZOO Keepers"]
    drop_database(pg16, source.name)


def test_an_extension_with_configuration_tables(tmp_path: Path) -> None:
    with running_server(installation(18, from_wheel=True)) as server:
        install_config_extension(server)
        zoo = create_zoo(server, config_extension=True)
        dump(zoo, tmp_path / "zoo.dump")
        copy = server.create_database(options="TEMPLATE template0")
        restore(tmp_path / "zoo.dump", copy)
        assert_same_database(zoo.dsn(), copy.dsn(), server.bindir)
        settings = copy.rows("""SELECT name, value FROM "con fig".settings ORDER BY 1""")
        assert settings == [("default", "brought"), ("user's own", "kept"), ("user's too", "kept")]
        copy.execute("""DELETE FROM "con fig".everything WHERE id = 2""")
        (found,) = differences(zoo.dsn(), copy.dsn(), server.bindir)
        assert "everything" in found


# --- the comparison can fail ----------------------------------------------------------------------

PAIR = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (id int PRIMARY KEY, v numeric, j json, f float8);
INSERT INTO t VALUES (1, 1.0, '{"a": 1}', 0), (2, NULL, NULL, NULL), (3, 3, NULL, '-0');
CREATE INDEX t_v ON t (v);
CREATE TABLE twins (a int);
INSERT INTO twins VALUES (1), (1), (2), (2);
CREATE TABLE by_mood (m mood) PARTITION BY HASH (m);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_mood SELECT unnest(enum_range(NULL::mood));
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
CREATE SEQUENCE s;
SELECT setval('s', 10, false);
CREATE MATERIALIZED VIEW m AS SELECT 1 AS x;
CREATE TABLE hidden (id int);
INSERT INTO hidden VALUES (1), (2);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON hidden USING (id = 1);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT lo_from_bytea(4711, 'large object');
"""

CHANGES = {
    "UPDATE t SET v = 1.00 WHERE id = 1": ["rows of public.t: 3 and 3", "1.00"],
    """UPDATE t SET j = '{"a":1}' WHERE id = 1""": ["rows of public.t: 3 and 3"],
    "UPDATE t SET f = '-0' WHERE id = 1": ["rows of public.t: 3 and 3", "-0"],
    "DELETE FROM t WHERE id = 2": ["rows of public.t: 3 and 2", r"2\t\\N"],
    "TRUNCATE t": ["rows of public.t: 3 and 0"],
    "UPDATE twins SET a = 3 WHERE a = 1": ["rows of public.twins: 4 and 4"],
    "INSERT INTO twins VALUES (1), (1)": ["rows of public.twins: 4 and 6"],
    "DELETE FROM by_mood WHERE m = 'ok'": ["rows of public.by_mood: 3 and 2"],
    "INSERT INTO none DEFAULT VALUES": ['rows of public."none": 1 and 2'],
    "DELETE FROM hidden WHERE id = 2": ["rows of public.hidden: 2 and 1"],
    "DROP INDEX t_v": ["INDEX public.t_v: is missing in the second"],
    "DROP INDEX t_v; CREATE INDEX t_v ON t (v DESC)": ["INDEX public.t_v: defined differently"],
    "CREATE INDEX more ON t (v)": ["INDEX public.more: is only in the second"],
    "SELECT nextval('s')": ["sequence public.s: (10, False) and (10, True)"],
    "ALTER SEQUENCE s INCREMENT 2": ["SEQUENCE public.s: defined differently"],
    "SELECT lo_put(4711, 3, 'G')": ["large object 4711: 12 and 12 bytes", "from byte 3"],
    "SELECT lo_put(4711, 12, 's')": ["large object 4711: 12 and 13 bytes", "from byte 12"],
    "SELECT lo_unlink(4711)": ["large object 4711: ", " and missing"],
    "REFRESH MATERIALIZED VIEW m WITH NO DATA": [
        "materialized view public.m: populated true and false"
    ],
    "ALTER POLICY p ON hidden USING (id = 2)": ["POLICY public.hidden p: defined differently"],
    "ALTER TABLE hidden NO FORCE ROW LEVEL SECURITY": ["TABLE public.hidden"],
    "GRANT SELECT ON t TO PUBLIC": ["ACL public.TABLE t: is only in the second"],
    "COMMENT ON COLUMN t.v IS 'x'": ["COMMENT public.COLUMN t.v: is only in the second"],
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'": [
        "FUNCTION public.f(): defined differently",
        "SELECT 2",
    ],
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'glum'": [
        "TYPE public.mood: defined differently",
        "rows of public.by_mood: 3 and 3",
    ],
    "DROP TABLE twins": ["TABLE public.twins: is missing", "rows of public.twins: only the first"],
}


@pytest.fixture(scope="module")
def pair(pg16: PostgresServer) -> Iterator[tuple[Database, Database]]:
    first = pg16.create_database()
    first.execute(PAIR)
    second = pg16.create_database(options=f"TEMPLATE {first.name}")
    yield first, second
    pg16.drop_database(first.name)
    pg16.drop_database(second.name)


def test_equal_databases_are_equal(pair: tuple[Database, Database]) -> None:
    assert_same_database(pair[0].dsn(), pair[1].dsn(), pair[0].server.bindir)


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_is_reported(pair: tuple[Database, Database], change: str) -> None:
    first, template = pair
    second = first.server.create_database(options=f"TEMPLATE {template.name}")
    second.execute(change)
    with pytest.raises(AssertionError) as caught:
        assert_same_database(first.dsn(), second.dsn(), first.server.bindir)
    for part in CHANGES[change]:
        assert part in str(caught.value)
    first.server.drop_database(second.name)


def test_a_database_whose_settings_change_how_data_reads_is_still_the_same(
    pair: tuple[Database, Database],
) -> None:
    first, template = pair
    second = first.server.create_database(options=f"TEMPLATE {template.name}")
    with first.server.connect() as connection:
        for setting in (
            "extra_float_digits = -15",
            "quote_all_identifiers = on",
            "search_path = s",
        ):
            connection.execute(f"ALTER DATABASE {second.name} SET {setting}".encode())
    assert_same_database(first.dsn(), second.dsn(), first.server.bindir)
    first.server.drop_database(second.name)


def test_changes_in_the_zoo_itself_are_named(zoo: Database, archive: Path) -> None:
    copy = zoo.server.create_database(options="TEMPLATE template0")
    restore(archive, copy)
    strange = sql.Identifier("zoo", "new\nline\r\n\\. table")
    with psycopg.connect(copy.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DELETE FROM {} WHERE note = 'two'").format(strange))
        connection.execute("UPDATE zoo.numbers SET d = 0 WHERE id = 1")  # was -0
        connection.execute("SELECT lo_put(424205, 2000000, '\\x00')")
        connection.execute("SELECT nextval('zoo.never_called')")
        connection.execute("DROP INDEX zoo.many_brin")
    found = "\n".join(differences(zoo.dsn(), copy.dsn(), zoo.server.bindir))
    for part in (
        '\\. table": 2 and 1', "rows of zoo.numbers: 10 and 10",
        "large object 424205: 2880000 and 2880000 bytes, which differ from byte 2000000",
        "sequence zoo.never_called: (42, False) and (42, True)", "INDEX zoo.many_brin: is missing",
    ):  # fmt: skip
        assert part in found
    drop_database(zoo.server, copy.name)
