"""Sections of the diagnosis on real servers, each provoked; none spoils another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from support.postgres import Database, PostgresServer, Role, installation, running_server
from support.site import Site

from guardian.adapters.postgres import diagnosis
from guardian.adapters.postgres.diagnosis import ServerDiagnosis
from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.questions import Timeouts
from guardian.adapters.postgres.statements import how_to_get_it
from guardian.watch.diagnosis import Section, TableFacts

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]


def named(section: Section[tuple[TableFacts, ...]]) -> dict[str, TableFacts]:
    assert section.facts is not None, section.notes
    return {one.name: one for one in section.facts}


def test_a_fresh_server_answers_every_section(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    with database.connect() as look:
        asked = ServerDiagnosis(look)
        server = asked.server().facts
        assert server is not None
        assert (server.version_num // 10000, server.role) == (pg.major, "postgres")
        assert server.database == database.name
        assert server.started_at < server.at
        assert not server.is_standby
        assert server.connections_available == 57  # max_connections 60, 3 reserved
        databases = asked.databases()
        assert not databases.notes
        (own,) = [one for one in databases.facts or () if one.name == database.name]
        assert (own.bytes or 0) > 1 << 20
        assert own.connections in {1, 2}  # a worker of autovacuum may look in
        replication = asked.replication().facts
        assert replication is not None
        assert (replication.is_standby, replication.replicas) == (False, ())
        report = asked.database()
        assert (report.tables.facts, report.indexes.facts) == ((), ())


# --- tables and indexes -------------------------------------------------------------------------


def test_the_largest_tables_as_postgresql_counts_them(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute(
        'CREATE SCHEMA "Odd"',
        'CREATE TABLE "Odd"."T ä" (id serial PRIMARY KEY, words text)',
        'ALTER TABLE "Odd"."T ä" ALTER words SET STORAGE external',
        'INSERT INTO "Odd"."T ä" (words) SELECT repeat(\'x\', 9000) FROM generate_series(1, 300)',
        "CREATE TABLE small (id int)",
        "INSERT INTO small SELECT generate_series(1, 5000)",
        "CREATE TABLE part (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (9)",
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM small",
        "SELECT pg_stat_force_next_flush()",  # else this session's rows may be added afterwards
    )
    database.execute("VACUUM ANALYZE")
    with database.connect() as look:
        report = ServerDiagnosis(look).database()
        tables = named(report.tables)
        assert list(tables) == ['"Odd"."T ä"', "public.seen", "public.small", "public.part_1"]
        for name, one in tables.items():
            (total, heap) = look.execute(
                "SELECT pg_total_relation_size(%s::regclass), pg_indexes_size(%s::regclass)",
                [name, name],
            ).fetchone() or (0, 0)
            assert (one.total_bytes, one.index_bytes) == (total, heap)
            assert one.table_bytes + one.index_bytes + one.toast_bytes == one.total_bytes
            assert not one.estimated
        odd = tables['"Odd"."T ä"']
        assert odd.toast_bytes > 2 << 20
        assert odd.rows == 300
        assert odd.last_vacuum is not None
        assert tables["public.small"].rows == 5000
        (index,) = report.indexes.facts or ()
        assert (index.name, index.table) == ('"Odd"."T ä_pkey"', '"Odd"."T ä"')
        assert (index.unique, index.valid, index.hint) == (True, True, None)


def test_top_limits_each_list(pg18: PostgresServer, fresh_database: FreshDatabase) -> None:
    database = fresh_database(pg18)
    for size in range(4):
        database.execute(
            f"CREATE TABLE t{size} AS SELECT generate_series(1, {size * 1000 + 1}) AS id",
            f"CREATE INDEX i{size} ON t{size} (id)",
        )
    with database.connect() as look:
        report = ServerDiagnosis(look, top=2).database()
    assert list(named(report.tables)) == ["public.t3", "public.t2"]
    assert [one.name for one in report.indexes.facts or ()] == ["public.i3", "public.i2"]


def test_dead_rows_ask_for_a_vacuum_which_helps(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute(
        "CREATE TABLE big AS SELECT generate_series(1, 50000) AS id",
        "CREATE TABLE hot (id int) WITH (autovacuum_enabled = off)",
        "INSERT INTO hot SELECT generate_series(1, 12000)",
        "SELECT pg_stat_force_next_flush()",
    )
    database.execute("ANALYZE hot")
    database.execute("DELETE FROM hot WHERE id > 1500", "SELECT pg_stat_force_next_flush()")
    with database.connect() as look:
        # Beyond the largest ones, so it is shown for its dead rows.
        hot = named(ServerDiagnosis(look, top=1).database().tables)["public.hot"]
        assert (hot.rows, hot.dead_rows, hot.dead_percent) == (1500, 10500, 87.5)
        assert hot.last_vacuum is None
        assert hot.hint == "VACUUM (ANALYZE) public.hot;"
        look.execute(hot.hint.encode())
        after = named(ServerDiagnosis(look).database().tables)["public.hot"]
        assert (after.dead_rows, after.hint) == (0, None)
        assert after.last_vacuum is not None


def test_a_locked_table_does_not_hold_up_the_others(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute(
        "CREATE TABLE locked (id int PRIMARY KEY)",
        "INSERT INTO locked SELECT generate_series(1, 5000)",
        "CREATE TABLE free (id int)",
        "INSERT INTO free VALUES (1)",
        "VACUUM ANALYZE",
    )
    with database.connect() as ddl, database.connect() as look:
        ddl.execute("BEGIN")
        ddl.execute("LOCK TABLE locked")
        report = ServerDiagnosis(look).database()
        assert not report.tables.notes
        tables = named(report.tables)
        assert tables["public.locked"].estimated
        assert tables["public.locked"].total_bytes > 5000 * 28
        assert not tables["public.free"].estimated
        (index,) = report.indexes.facts or ()
        assert not index.estimated  # only the table is locked
        ddl.execute("ROLLBACK")
        assert not named(ServerDiagnosis(look).database().tables)["public.locked"].estimated


def test_sizes_that_take_too_long_are_estimated(
    pg18: PostgresServer, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = fresh_database(pg18)
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 5000) AS id", "VACUUM ANALYZE t")
    monkeypatch.setattr(
        diagnosis,
        "query",
        lambda name: query(name).replace("pg_relation_size(f.oid)", "(SELECT 1 FROM pg_sleep(60))"),
    )
    with database.connect() as look:
        section = (
            ServerDiagnosis(look, timeouts=Timeouts(statement=timedelta(milliseconds=300)))
            .database()
            .tables
        )
    (table,) = section.facts or ()
    assert table.estimated
    assert table.table_bytes > 5000 * 28
    assert "took too long" in section.notes[0].text


def test_unused_and_invalid_indexes(pg: PostgresServer, fresh_database: FreshDatabase) -> None:
    database = fresh_database(pg)
    database.execute(
        "CREATE TABLE t AS SELECT n AS id, n AS twice, n / 2 AS half, n AS used"
        " FROM generate_series(1, 60000) n",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "CREATE INDEX idle ON t (twice)",
        "CREATE INDEX busy ON t (used)",
        "CREATE TABLE tiny (id int)",
        "CREATE INDEX little ON tiny (id)",
        "VACUUM ANALYZE",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (half)")
    with database.connect() as look:
        look.execute("SET enable_seqscan = off")
        look.execute("SELECT * FROM t WHERE used = 5")
        look.execute("SELECT pg_stat_force_next_flush()")
        found = {one.name: one for one in ServerDiagnosis(look).database().indexes.facts or ()}
        assert found["public.busy"].scans == 1
        assert (found["public.busy"].last_scan is not None) == (pg.major >= 16)
        assert found["public.idle"].hint is not None
        assert "DROP INDEX CONCURRENTLY public.idle;" in found["public.idle"].hint
        assert not found["public.broken"].valid
        assert found["public.broken"].hint == "invalid: REINDEX INDEX CONCURRENTLY public.broken;"
        for name in ("public.busy", "public.t_pkey", "public.little"):
            assert found[name].hint is None


# --- pg_stat_statements -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counting() -> Iterator[PostgresServer]:
    """Debian's 15 with pg_stat_statements loaded, and created in template1 and postgres."""
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    with running_server(installation(15, from_wheel=False), more=settings) as server:
        yield server


def test_slow_queries(
    counting: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database = fresh_database(counting)
    database.execute('CREATE SCHEMA "My Ext"')
    with database.connect() as look:
        missing = ServerDiagnosis(look).slow_queries()
        assert missing.facts is None
        (note,) = missing.notes
        assert "is loaded, but not created" in note.text
        assert note.mend == "CREATE EXTENSION pg_stat_statements;"
        look.execute('CREATE EXTENSION pg_stat_statements SCHEMA "My Ext"')
        look.execute('SELECT "My Ext".pg_stat_statements_reset()')
        for _ in range(3):
            look.execute("SELECT pg_sleep(0.3)")
        look.execute("SELECT count(*) FROM generate_series(1, 200000)")
        look.execute("CREATE ROLE brief PASSWORD 'hunter2'")
        look.execute("DROP ROLE brief")
        found = ServerDiagnosis(look, top=3).slow_queries()
        assert not found.notes
        assert found.facts is not None
        assert (len(found.facts.by_total), len(found.facts.by_mean)) == (3, 3)
        top = found.facts.by_total[0]
        assert top.query == "SELECT pg_sleep($1)"
        assert (top.calls, top.rows, top.user, top.database) == (3, 3, "postgres", database.name)
        assert top.total_seconds >= 0.9
        assert top.mean_seconds == pytest.approx(top.total_seconds / 3)
        assert top.max_seconds >= 0.3
        assert 0 < top.share <= 100
        totals = [one.total_seconds for one in found.facts.by_total]
        assert totals == sorted(totals, reverse=True)
        assert found.facts.since is not None
        every = ServerDiagnosis(look, top=100).slow_queries().facts
        assert every is not None
        texts = [one.query for one in every.by_total]
        assert "CREATE ROLE brief PASSWORD ********" in texts
        assert "hunter2" not in repr(every)
    role = fresh_role(counting)
    with database.connect(role=role) as eyes:
        (note,) = ServerDiagnosis(eyes).slow_queries().notes
        assert note.text.startswith('pg_stat_statements lies in schema "My Ext"')
        assert note.mend == f'GRANT USAGE ON SCHEMA "My Ext" TO {role.name};'
        database.execute(note.mend)
        hidden = ServerDiagnosis(eyes).slow_queries()
        assert hidden.facts is not None
        assert hidden.facts.by_total[0].query is None
        assert hidden.facts.by_total[0].calls >= 3
        (note,) = hidden.notes
        assert note.mend == f"GRANT pg_read_all_stats TO {role.name};"
        database.execute(note.mend)
        seen = ServerDiagnosis(eyes).slow_queries()
        assert not seen.notes
        assert seen.facts is not None
        assert seen.facts.by_total[0].query is not None


def test_slow_queries_are_found_in_whichever_database_has_them(
    counting: PostgresServer, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    without, having = fresh_database(counting), fresh_database(counting)
    having.execute("CREATE EXTENSION pg_stat_statements", "SELECT pg_sleep(0.1)")
    site = Site(tmp_path / "site", without.uri())
    (alone,) = site.run_here("diagnose", "--json").json["servers"]
    assert not alone["slow_queries"]["known"]
    site.server = {"databases": [without.name, having.name]}
    (report,) = site.run_here("diagnose", "--json").json["servers"]
    assert "SELECT pg_sleep($1)" in [one["query"] for one in report["slow_queries"]["by_mean"]]
    assert report["slow_queries"]["notes"] == []
    assert "pg_sleep" in site.run_here("diagnose").out


def test_without_the_library_it_says_how(pg: PostgresServer, fresh_database: FreshDatabase) -> None:
    database = fresh_database(pg)
    with database.connect() as look:
        (note,) = ServerDiagnosis(look).slow_queries().notes
        (libraries,) = look.execute("SHOW shared_preload_libraries").fetchone() or ("",)
        assert note.mend is not None
        if not pg.has_contrib:
            assert "is not installed on the server's host" in note.text
            assert "contrib" in note.mend
            return
        assert libraries == ""
        assert note.text == "pg_stat_statements is not loaded by the server"
        assert "restart the server" in note.mend
        # The statement is one that PostgreSQL takes.
        look.execute(note.mend.partition(";")[0].encode())
        look.execute("ALTER SYSTEM RESET shared_preload_libraries")
        look.execute("CREATE EXTENSION pg_stat_statements")
        (created,) = ServerDiagnosis(look).slow_queries().notes
        assert "CREATE EXTENSION" not in (created.mend or "")


def test_libraries_are_kept_apart() -> None:
    state = {"version": None, "loaded": False, "available": True, "libraries": "a, pg_cron"}
    note = how_to_get_it(state, "mina", "me")
    assert note is not None
    assert "= 'a', 'pg_cron', 'pg_stat_statements';" in (note.mend or "")
    assert (note.mend or "").endswith("then: CREATE EXTENSION pg_stat_statements;")
    hidden = how_to_get_it({**state, "libraries": None}, "mina", "me")
    assert "keep what is in it" in (hidden.mend if hidden and hidden.mend else "")


# --- replication --------------------------------------------------------------------------------


def test_slots_are_told(
    pg18: PostgresServer, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    database = fresh_database(pg18)
    database.execute("SELECT pg_create_physical_replication_slot('spare', true)")
    try:
        with database.connect() as look:
            found = ServerDiagnosis(look).replication().facts
        assert found is not None
        (slot,) = found.slots
        assert (slot.name, slot.kind, slot.active) == ("spare", "physical", False)
        assert (slot.retained_bytes or 0) >= 0
        shown = Site(tmp_path / "site", database.uri()).run_here("diagnose").out
        (line,) = [line for line in shown.splitlines() if line.startswith("  spare")]
        assert line.split()[:4] == ["spare", "physical", "no", "reserved"]
    finally:
        database.execute("SELECT pg_drop_replication_slot('spare')")


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_role_without_any_grant(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database, other, role = fresh_database(pg), fresh_database(pg), fresh_role(pg)
    database.execute(
        f'REVOKE CONNECT ON DATABASE "{other.name}" FROM PUBLIC', "CREATE TABLE t (id int)"
    )
    with database.connect(role=role) as look:
        asked = ServerDiagnosis(look)
        assert asked.server().facts is not None
        databases = asked.databases()
        sizes = {one.name: one.bytes for one in databases.facts or ()}
        assert sizes[other.name] is None
        assert sizes[database.name] is not None
        (note,) = databases.notes
        assert note.text == f"the size of 1 databases is hidden from {role.name}"
        assert note.mend == f"GRANT pg_monitor TO {role.name};"
        report = asked.database()
        assert list(named(report.tables)) == ["public.t"]
        database.execute(note.mend)
        assert not asked.databases().notes


def test_one_failing_section_spoils_no_other(
    pg18: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        diagnosis, "query", lambda n: "SELECT 1 / 0" if n == "diagnosis_tables" else query(n)
    )
    with pg18.connect() as look:
        asked = ServerDiagnosis(look)
        report = asked.database()
        assert report.tables.facts is None
        assert report.tables.notes[0].text == "division by zero"
        assert report.indexes.facts == ()
        look.execute("SET statement_timeout = 1")  # the role's own does not bind us
        assert asked.databases().facts


def test_a_lost_connection_is_told(pg18: PostgresServer) -> None:
    with pg18.connect() as look, pg18.connect() as killer:
        killer.execute("SELECT pg_terminate_backend(%s, 10000)", [look.info.backend_pid])
        asked = ServerDiagnosis(look)
        assert asked.databases().facts is None
        assert asked.database().tables.notes[0].text == "the connection was lost"
