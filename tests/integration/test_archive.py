"""Heads of real archives: read as pg_restore reads them, usable alone, a base to choose from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import FreshDatabase
from psycopg import sql
from support.compare import _session, assert_same_database
from support.postgres import Database, PostgresServer
from support.zoo import create_zoo, drop_database

from guardian.restore.archive import Toc, TocReader
from guardian.restore.selection import Selection, select

ARCHIVE_VERSIONS = {15: (1, 14, 0), 16: (1, 15, 0), 18: (1, 16, 0)}


@dataclass(frozen=True)
class Archive:
    """A dump as it came through a pipe, in a file, and its parsed head beside it."""

    source: Database
    path: Path
    toc: Toc
    head: Path

    @property
    def server(self) -> PostgresServer:
        return self.source.server

    def listed(self, path: Path, *options: str) -> str:
        return run(self.server.tool("pg_restore"), "--list", *options, path).decode()

    def restore(self, target: Database, *options: str | Path, path: Path | None = None) -> None:
        """Fails on the first error, and on any warning."""
        tool = target.server.tool("pg_restore")
        run(tool, "--exit-on-error", "-d", target.dsn(), *options, path or self.path)


def run(*words: str | Path) -> bytes:
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout


def dumped(source: Database, folder: Path, *options: str) -> Archive:
    words = [*options, "--encoding=UTF8", "-d", source.dsn()]
    data = run(source.server.tool("pg_dump"), "-Fc", "-Z0", *words)
    path, head = folder / "all.dump", folder / "head.dump"
    path.write_bytes(data)
    reader = TocReader()
    toc = reader.feed(data)
    assert toc is not None
    head.write_bytes(reader.head)
    return Archive(source, path, toc, head)


@pytest.fixture(scope="module")
def zoo(pg: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    database = create_zoo(pg)
    yield dumped(database, tmp_path_factory.mktemp("zoo"))
    drop_database(pg, database.name)


# --- the head -----------------------------------------------------------------------------------


def test_entries_are_those_that_pg_restore_lists(zoo: Archive) -> None:
    expected: list[str] = []
    needs: dict[int, list[int]] = {}
    for line in zoo.listed(zoo.path, "--verbose").splitlines():
        if found := re.match(r"(\d+; )\d+ \d+ (.*)$", line):
            expected.append(found[1] + found[2])
        elif found := re.match(r";\tdepends on: ([\d ]+)$", line):
            needs[int(expected[-1].split(";")[0])] = [int(word) for word in found[1].split()]

    def flat(text: str) -> str:
        return re.sub(r"[\r\n]", " ", text)

    assert [
        f"{e.dump_id}; {e.kind} {flat(e.namespace) or '-'} {flat(e.tag)} {flat(e.owner)}"
        for e in zoo.toc.entries
    ] == expected
    assert {e.dump_id: list(e.dependencies) for e in zoo.toc.entries if e.dependencies} == needs


@pytest.mark.parametrize("size", [1, 7, 1009, 65536])
def test_blocks_may_be_of_any_size(zoo: Archive, size: int) -> None:
    data = zoo.path.read_bytes()
    reader = TocReader()
    for start in range(0, len(data), size):
        if toc := reader.feed(data[start : start + size]):
            assert toc == zoo.toc
            assert toc.head_bytes <= start + size < toc.head_bytes + size + 1
            break
    assert reader.head == zoo.head.read_bytes()


def test_facts_of_the_header_and_of_entries(zoo: Archive) -> None:
    toc = zoo.toc
    listed = zoo.listed(zoo.path)
    assert toc.version == ARCHIVE_VERSIONS[zoo.server.major]
    assert toc.database == zoo.source.name
    assert f"Dumped from database version: {toc.server_version}" in listed
    assert f"Dumped by pg_dump version: {toc.dump_version}" in listed
    assert f"TOC Entries: {len(toc.entries)}\n" in listed
    with_data = {e.kind for e in toc.entries if e.has_data}
    assert with_data == {"TABLE DATA", "BLOBS"}
    assert {e.kind for e in toc.entries if e.copy_statement} == {"TABLE DATA"}
    sections = {e.kind: e.section for e in toc.entries}
    assert [sections[kind] for kind in ("SCHEMA", "TABLE DATA", "FK CONSTRAINT")] == [
        "pre-data",
        "data",
        "post-data",
    ]
    script = run(zoo.server.tool("pg_restore"), "--section=pre-data", "-f", "-", zoo.path).decode()
    for entry in toc.entries:
        if entry.kind in {"VIEW", "FUNCTION", "TYPE"}:
            assert entry.definition in script


@pytest.mark.parametrize("options", [["-Z1"], ["--schema-only"], ["--no-owner", "--no-acl"]])
def test_other_dumps_are_read_too(zoo: Archive, tmp_path: Path, options: list[str]) -> None:
    other = dumped(zoo.source, tmp_path, *options)
    assert f"TOC Entries: {len(other.toc.entries)}\n" in zoo.listed(other.head)


def test_the_head_alone_is_listed_and_restores_what_comes_after_the_rows(
    zoo: Archive, fresh_database: FreshDatabase
) -> None:
    target = fresh_database(zoo.server, options="TEMPLATE template0")
    assert zoo.head.stat().st_size < zoo.path.stat().st_size / 10
    assert zoo.listed(zoo.head, "--verbose") == zoo.listed(zoo.path, "--verbose")
    try:
        zoo.restore(target, "--section=pre-data", "--section=data")
        assert target.rows("SELECT FROM pg_constraint WHERE contype = 'f'") == []
        # One after the other: of several jobs, pg_restore may check a foreign key to a partitioned
        # table before the index that it needs is attached.
        zoo.restore(target, "--section=post-data", path=zoo.head)
        assert_same_database(zoo.source.dsn(), target.dsn(), zoo.server.bindir)
    finally:
        drop_database(target.server, target.name)  # for its subscriptions


# --- a choice -----------------------------------------------------------------------------------


def restored(archive: Archive, chosen: Selection, target: Database, folder: Path) -> Database:
    lines = folder / "list"
    lines.write_text("".join(f"{line}\n" for line in chosen.list_lines()), encoding="utf-8")
    archive.restore(target, "-L", lines)
    return target


def rows(database: Database, name: tuple[str, str], *, only: str = "ONLY") -> list[bytes]:
    """Sorted, with columns in order of name: those of an heir come back in another."""
    table = sql.SQL("{} {}").format(sql.SQL(only), sql.Identifier(*name))
    with _session(database.dsn()) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table))
        assert cursor.description is not None
        columns = sql.SQL(", ").join(
            map(sql.Identifier, sorted(c.name for c in cursor.description))
        )
        query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, table)
        with cursor.copy(query) as copy:
            return sorted(b"".join(copy).splitlines())


def relations(database: Database) -> set[tuple[str, str]]:
    """Tables, views and the like that are in a database, but sequences, and an extension's own."""
    with database.connect(client_encoding="UTF8") as connection:
        return set(
            connection.execute(
                """
                SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384 AND nspname !~ '^pg_'
                  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')
                """
            )
        )


def same_rows(archive: Archive, target: Database, chosen: Selection) -> None:
    hashed_by_enum = {name for name in chosen.loaded if name[1].startswith("by_mood_")}
    for name in set(chosen.loaded) - hashed_by_enum:
        assert rows(target, name) == rows(archive.source, name), name
    if hashed_by_enum:  # a row may come back in another partition
        root = ("zoo", "by_mood")
        assert rows(target, root, only="") == rows(archive.source, root, only="")


SHOP = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SCHEMA app;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.double(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION app.unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE app.customers (id serial PRIMARY KEY, name text UNIQUE, mood mood DEFAULT 'ok');
CREATE TABLE app.orders (
    id int GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    customer int REFERENCES app.customers, first int REFERENCES app.orders,
    twice int DEFAULT app.double(4), CHECK (twice > 0));
CREATE INDEX orders_twice ON app.orders (app.double(twice)) WHERE first IS NULL;
CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.orders USING (customer > 0);
CREATE POLICY known ON app.orders USING (customer IN (SELECT id FROM app.customers));
COMMENT ON COLUMN app.orders.twice IS 'two times';
GRANT SELECT ON app.orders TO PUBLIC;
CREATE TABLE app.events (at date, what text, who int REFERENCES app.customers)
    PARTITION BY RANGE (at);
CREATE TABLE app.events_2025 PARTITION OF app.events
    FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.events_2026 PARTITION OF app.events
    FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX events_what ON app.events (what);
CREATE TABLE public.likeness (LIKE app.customers INCLUDING ALL);
CREATE VIEW public.grouped AS
    SELECT c.*, count(*) AS n FROM app.customers c JOIN app.orders o ON o.customer = c.id
    GROUP BY c.id;
CREATE MATERIALIZED VIEW public.counted AS SELECT what, count(*) FROM app.events GROUP BY what;
CREATE UNIQUE INDEX counted_what ON public.counted (what);
INSERT INTO app.customers (name) VALUES ('a'), ('b');
INSERT INTO app.orders (customer) VALUES (1), (2), (1);
INSERT INTO app.events
    VALUES ('2025-05-05', 'x', 1), ('2026-06-06', 'y', 2), ('2026-07-07', 'y', 2);
INSERT INTO public.likeness (name) VALUES ('c');
REFRESH MATERIALIZED VIEW public.counted;
GRANT CREATE ON SCHEMA public TO PUBLIC;
"""


@pytest.fixture(scope="module")
def shop(pg: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    database = pg.create_database(options="TEMPLATE template0")
    with database.connect() as connection:
        connection.execute(SHOP.encode())
    yield dumped(database, tmp_path_factory.mktemp("shop"))
    pg.drop_database(database.name)


Restored = tuple[Selection, Database]


def choose(shop: Archive, fresh_database: FreshDatabase, folder: Path, *tables: str) -> Restored:
    chosen = select(shop.toc, tables=tables)
    target = fresh_database(shop.server, options="TEMPLATE template0")
    restored(shop, chosen, target, folder)
    assert relations(target) == set(chosen.tables)
    same_rows(shop, target, chosen)
    return chosen, target


def names(database: Database, query: str) -> set[str]:
    return {row[0] for row in database.rows(query)}


CONSTRAINTS = (
    "SELECT conname::text FROM pg_constraint WHERE contype IN ('p', 'u', 'f', 'c')"
    " AND conrelid > 16384"
)
INDEXES = "SELECT indexname::text FROM pg_indexes WHERE schemaname IN ('app', 'public')"
FUNCTIONS = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'app'::regnamespace"


def test_a_table_comes_with_all_that_is_its_own(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "orders")
    assert chosen.tables == (("app", "orders"),)
    assert " | ".join(chosen.left_out) == (
        "foreign key orders_customer_fkey of app.orders is left out: it needs "
        "app.customers, not selected | "
        "policy known of app.orders is left out: it needs app.customers, not selected"
    )
    assert names(target, CONSTRAINTS) == {
        "orders_pkey",
        "orders_first_fkey",
        "orders_twice_check",
    }
    assert names(target, INDEXES) == {"orders_pkey", "orders_twice"}
    assert names(target, FUNCTIONS) == {"touch", "double"}
    assert names(target, "SELECT polname::text FROM pg_policy") == {"own"}
    assert target.rows("SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal") == [("touch",)]
    assert target.rows("SELECT relrowsecurity FROM pg_class WHERE relname = 'orders'") == [(True,)]
    assert target.rows("SELECT has_table_privilege('pg_monitor', 'app.orders', 'SELECT')") == [
        (True,)
    ]
    assert target.rows("SELECT col_description('app.orders'::regclass, 4)") == [("two times",)]
    target.execute("INSERT INTO app.orders (customer) VALUES (7)")
    assert target.rows("SELECT id, twice FROM app.orders ORDER BY id DESC LIMIT 1") == [(103, 8)]


def test_keys_between_chosen_tables_stay(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "orders", "app.cust*")
    assert chosen.left_out == ()
    assert "orders_customer_fkey" in names(target, CONSTRAINTS)
    assert names(target, "SELECT polname::text FROM pg_policy") == {"own", "known"}
    target.execute("INSERT INTO app.customers (name) VALUES ('new')")
    assert target.rows("SELECT id, mood::text FROM app.customers WHERE name = 'new'") == [(4, "ok")]
    assert target.rows("SELECT pg_get_serial_sequence('app.customers', 'id')") == [
        ("app.customers_id_seq",)
    ]


def test_a_partitioned_table_comes_with_its_partitions(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "events")
    assert chosen.brought_along == ()
    assert set(chosen.loaded) == {("app", "events_2025"), ("app", "events_2026")}
    assert target.rows("SELECT count(*) FROM app.events") == [(3,)]
    assert target.rows(
        "SELECT bool_and(indisvalid), count(*) FROM pg_index i JOIN pg_class c ON "
        "c.oid = indrelid WHERE relname LIKE 'events%'"
    ) == [(True, 3)]
    assert [line for line in chosen.left_out if "events_who_fkey of app.events is" in line]


def test_a_partition_comes_with_its_parent_and_without_its_sisters(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "events_2025")
    assert chosen.tables == (("app", "events"), ("app", "events_2025"))
    assert chosen.brought_along == (("app", "events"),)
    assert target.rows("SELECT count(*) FROM app.events") == [(1,)]


def test_a_default_brings_another_tables_sequence_but_not_the_table(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "likeness")
    assert chosen.sequences == (("app", "customers_id_seq"),)
    target.execute("INSERT INTO public.likeness (name) VALUES ('new')")
    assert target.rows("SELECT id FROM public.likeness WHERE name = 'new'") == [(4,)]
    assert target.rows("SELECT has_schema_privilege('pg_monitor', 'public', 'CREATE')") == [(True,)]


def test_views_bring_what_they_show(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen, target = choose(shop, fresh_database, tmp_path, "grouped", "counted")
    assert set(chosen.brought_along) == {
        ("app", "customers"),
        ("app", "orders"),
        ("app", "events"),
        ("app", "events_2025"),
        ("app", "events_2026"),
    }
    assert chosen.left_out == ()
    assert target.rows("SELECT id, n FROM grouped ORDER BY id") == [(1, 2), (2, 1)]
    assert target.rows("SELECT * FROM counted ORDER BY 1") == [("x", 1), ("y", 2)]


def test_schema_first_then_data(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen = select(shop.toc, tables=["customers"], schema_only=True)
    target = restored(
        shop, chosen, fresh_database(shop.server, options="TEMPLATE template0"), tmp_path
    )
    assert target.rows("SELECT count(*) FROM app.customers") == [(0,)]
    assert chosen.loaded == ()
    data = select(shop.toc, tables=["customers"], data_only=True)
    restored(shop, data, target, tmp_path)
    same_rows(shop, target, data)
    assert target.rows("SELECT nextval('app.customers_id_seq')") == [(4,)]


def test_a_schema_comes_with_its_functions_and_types(
    shop: Archive, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    chosen = select(shop.toc, schemas=["app"])
    target = fresh_database(shop.server, options="TEMPLATE template0")
    restored(shop, chosen, target, tmp_path)
    assert names(target, FUNCTIONS) == {"touch", "double", "unrelated"}
    assert {schema for schema, _ in chosen.tables} == {"app"}
    assert chosen.left_out == ()
    same_rows(shop, target, chosen)


def batches(toc: Toc) -> list[Sequence[str]]:
    """The tables of the zoo, each in one of them.

    But zoo.odd: its rows name tables and functions by regclass, which is no dependency.
    """
    tables = [
        e
        for e in toc.entries
        if e.kind in {"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"}
        and e.tag != "odd"
    ]
    patterns = [
        ".".join('"' + w.replace('"', '""') + '"' for w in (e.namespace, e.tag)) for e in tables
    ]
    return [patterns[start::12] for start in range(12)]


@pytest.mark.parametrize("number", range(12))
def test_any_tables_of_the_zoo_restore_without_an_error(
    zoo: Archive, fresh_database: FreshDatabase, tmp_path: Path, number: int
) -> None:
    chosen = select(zoo.toc, tables=batches(zoo.toc)[number])
    target = fresh_database(zoo.server, options="TEMPLATE template0")
    restored(zoo, chosen, target, tmp_path)
    assert relations(target) == set(chosen.tables)
    same_rows(zoo, target, chosen)


@pytest.mark.parametrize("schema", ["zoo", '"select"', "*"])
def test_schemas_of_the_zoo_restore_without_an_error(
    zoo: Archive, fresh_database: FreshDatabase, tmp_path: Path, schema: str
) -> None:
    chosen = select(zoo.toc, schemas=[schema])
    target = fresh_database(zoo.server, options="TEMPLATE template0")
    restored(zoo, chosen, target, tmp_path)
    assert relations(target) == set(chosen.tables)
    same_rows(zoo, target, chosen)
