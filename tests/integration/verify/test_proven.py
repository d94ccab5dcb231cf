"""Every kind of database is proven, on each major, from a folder and from a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.drilling import (
    SMALL,
    by_database,
    create_demo,
    create_pgbench,
    ensure_roles,
    proofs_in,
    results,
    scratch_databases,
    sessions_of_ours,
    verify,
)
from support.postgres import Database, PostgresServer
from support.rebuilding import s3_section
from support.s3 import RcloneS3
from support.site import Site
from support.zoo import HOSTILE_NAME, KEEPERS, OWNER, READER, create_zoo, drop_database

EVERYWHERE = ["p_demo", "p_pgbench", HOSTILE_NAME, "p_empty"]
BYTES = ["p_latin1", "p_ascii"]
PROVEN = ("proven", None)


@dataclass
class Proven:
    """One server's backups in two stores, and what drills from each said."""

    server: PostgresServer
    site: Site
    names: list[str]
    local: list[dict[str, Any]]
    offsite: list[dict[str, Any]]


@pytest.fixture(scope="module")
def proven(
    pg: PostgresServer, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proven]:
    names = [*EVERYWHERE, *(BYTES if pg.major == 15 else [])]
    create_demo(pg, "p_demo")
    create_pgbench(pg, "p_pgbench")
    create_zoo(pg)
    pg.create_database("p_empty")
    if pg.major == 15:
        _create_bytes(pg)
    site = Site(tmp_path_factory.mktemp("proven") / "site", pg.dsn())
    site.server = {"databases": names}
    bucket = rclone_s3.new_bucket("proven")
    site.stores["offsite"] = s3_section(rclone_s3, bucket)
    assert site.back_up().code == 0
    local = verify(site, code=None)
    offsite = verify(site, "latest", "--store", "offsite", code=None)
    yield Proven(pg, site, names, local, offsite)
    for name in names:
        drop_database(pg, name)


def _create_bytes(pg: PostgresServer) -> None:
    """Encodings whose bytes are not UTF-8, also in names."""
    latin1 = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    pg.create_database("p_latin1", options=latin1).execute(
        SMALL,
        'CREATE TABLE "Gr\u00f6\u00dfe" (id int PRIMARY KEY, "\u00e4" text)',
        "INSERT INTO \"Gr\u00f6\u00dfe\" VALUES (1, '\u00e9t\u00e9 \u00a7'), (2, NULL)",
    )
    ascii_ = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    pg.create_database("p_ascii", options=ascii_).execute(
        SMALL,
        'DO $$ BEGIN CREATE ROLE "M\u00fcller"; EXCEPTION WHEN duplicate_object THEN END $$',
        'CREATE TABLE "Gr\u00f6\u00dfe" (id int PRIMARY KEY, "\u00e4" text)',
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I (%I int)', E'caf\\351', E'\\377'); END $$",
        "DO $$ BEGIN EXECUTE format('INSERT INTO %I VALUES (7)', E'caf\\351'); END $$",
        'GRANT SELECT ON "Gr\u00f6\u00dfe" TO "M\u00fcller"',
        "INSERT INTO users VALUES (1001, E'caf\\351'), (1002, E'\\377\\376\\\\n')",
        "CREATE VIEW v AS SELECT name FROM users WHERE name <> E'\\351'",
    )


def test_all_are_proven_from_a_folder(proven: Proven) -> None:
    assert results(proven.local) == dict.fromkeys(proven.names, PROVEN)
    assert {drill["store"] for drill in proven.local} == {"local"}


def test_all_are_proven_from_a_bucket(proven: Proven) -> None:
    assert results(proven.offsite) == dict.fromkeys(proven.names, PROVEN)
    assert {drill["store"] for drill in proven.offsite} == {"offsite"}


def test_what_was_compared_is_told(proven: Proven) -> None:
    drills = by_database(proven.local)
    for name, drill in drills.items():
        with proven.server.connect(name, client_encoding="UTF8") as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE relkind = 'r' AND relpersistence <> 't' AND nspname !~ '^pg_' "
                "AND nspname <> 'information_schema'"
            ).fetchone()
        assert row is not None
        # A tree of hash partitions is read as one table, an extension's tables as it wants them.
        assert drill["tables"] == row[0] or name in {HOSTILE_NAME, "p_demo"}
        assert drill["differences"] == drill["checks"] == []
        assert drill["seconds"] >= drill["restore_seconds"] > 0
    assert drills["p_empty"]["tables"] == drills["p_empty"]["rows"] == 0
    assert drills["p_pgbench"]["rows"] == 100_011
    assert drills[HOSTILE_NAME]["rows"] > 30_000
    assert drills["p_demo"]["rows"] > 5_000


def test_the_catalog_and_the_store_know_it(proven: Proven) -> None:
    listed = proven.site.run("backup", "list", "--json", check=True).json
    assert {item["database"]: item["proven"] for item in listed} == dict.fromkeys(
        proven.names, True
    )
    beside = proofs_in(proven.site.store)
    for item in listed:
        assert [proof["result"] for proof in beside[item["id"]]] == ["proven"]
        assert item["proven_at"] is not None


def test_nothing_is_left_on_the_source(proven: Proven) -> None:
    assert scratch_databases(proven.server) == []
    assert sessions_of_ours(proven.server) == []


# --- from 15 to 18, on a server that was given ----------------------------------------------------


@pytest.fixture
def roles_on_18(pg18: PostgresServer) -> None:
    ensure_roles(pg18, OWNER, KEEPERS, READER, "mina_app", "mina_read")


@pytest.mark.usefixtures("roles_on_18")
def test_from_15_to_18(
    pg15: PostgresServer, pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The wheel's 18 has no contrib: what needs it stays at home.
    zoo = create_zoo(replace(pg15, has_contrib=False), "z_zoo")
    demo = create_demo(pg15, "z_demo")
    try:
        site = Site(tmp_path_factory.mktemp("to18") / "site", pg15.dsn())
        site.server = {
            "databases": [zoo.name, demo.name],
            "verify": {"scratch": pg18.uri(), "jobs": 1},
        }
        assert site.back_up().code == 0
        drills = verify(site, code=None)
        assert results(drills) == dict.fromkeys(["z_zoo", "z_demo"], PROVEN)
        assert scratch_databases(pg18) == []
        assert sessions_of_ours(pg18) == []
    finally:
        drop_database(pg15, zoo.name)
        drop_database(pg15, demo.name)


# --- many tables ----------------------------------------------------------------------------------


def test_two_thousand_tables(
    pg16: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    many = Database(pg16, "p_many")
    pg16.create_database(many.name)
    many.execute(
        *(
            f"DO $do$ BEGIN FOR i IN {start}..{start + 249} LOOP "
            "EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', i); "
            "EXECUTE format('INSERT INTO t%s VALUES (%s)', i, i); END LOOP; END $do$"
            for start in range(0, 2000, 250)
        )
    )
    try:
        site = Site(tmp_path_factory.mktemp("many") / "site", many.dsn())
        assert site.back_up().code == 0
        (drill,) = verify(site, code=None)
        assert (drill["result"], drill["reason"]) == PROVEN
        assert (drill["tables"], drill["rows"]) == (2000, 2000)
    finally:
        pg16.drop_database(many.name)
