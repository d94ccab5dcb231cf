"""Each vital provoked on real servers, and its mend applied where it is SQL."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from support.clients import Crowd
from support.postgres import Database, PostgresServer, Role

from guardian.adapters.postgres import vitals
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.vitals import (
    Timeouts,
    read_database_vitals,
    read_server_vitals,
    read_vitals,
)
from guardian.config.watching import VitalsConfig
from guardian.watch.advice import mend
from guardian.watch.vitals import (
    DATABASE_VITALS,
    SERVER_VITALS,
    Reading,
    Severity,
    Unknown,
    assess,
)

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]


def named(found: list[Reading | Unknown], name: str) -> list[Reading | Unknown]:
    return [each for each in found if each.name == name]


def numbers(found: list[Reading | Unknown], name: str) -> list[Reading]:
    return [each for each in named(found, name) if isinstance(each, Reading)]


def unknowns(found: list[Reading | Unknown], name: str) -> list[Unknown]:
    return [each for each in named(found, name) if isinstance(each, Unknown)]


def until(look: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that comes soon on its own."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come")
        time.sleep(0.02)


@contextmanager
def blocked(connection: psycopg.Connection, statement: str) -> Iterator[int]:
    """Run a statement that blocks in another thread; gives its pid, and ends it."""

    def work() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(statement.encode())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield connection.info.backend_pid
    finally:
        while thread.is_alive():
            connection.cancel_safe()
            thread.join(0.1)


def test_a_quiet_server_has_a_number_for_everything(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    with fresh_database(pg).connect() as connection:
        found = read_vitals(connection)
    assert {each.name for each in found} == {*SERVER_VITALS, *DATABASE_VITALS}
    (off,) = [each for each in found if isinstance(each, Unknown)]
    assert (off.name, "checksums are off" in off.why) == ("checksum_failures", True)
    bounds = dict(VitalsConfig())
    findings = assess(found, {name: bounds[name] for name in (*SERVER_VITALS, *DATABASE_VITALS)})
    assert {each.severity for each in findings} <= {Severity.OK, Severity.UNKNOWN}


def test_the_session_is_left_as_it_was(pg: PostgresServer) -> None:
    with pg.connect() as connection:
        connection.execute("SET statement_timeout = '7s'")
        connection.execute("SET lock_timeout = '8s'")
        read_vitals(connection)
        shown = [
            connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("statement_timeout", "lock_timeout")
        ]
        assert shown == [("7s",), ("8s",)]


def test_a_connection_in_a_transaction_is_refused(pg: PostgresServer) -> None:
    with (
        psycopg.connect(pg.dsn()) as connection,
        pytest.raises(ValueError, match="autocommit"),
    ):
        read_vitals(connection)


# --- sessions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("aborted", [False, True])
def test_idle_in_transaction(
    pg: PostgresServer, fresh_database: FreshDatabase, aborted: bool
) -> None:
    database = fresh_database(pg)
    with database.connect() as look, database.connect(application_name="web") as idle:
        idle.execute("BEGIN")
        if aborted:
            with pytest.raises(psycopg.errors.DivisionByZero):
                idle.execute("SELECT 1 / 0")
        (found,) = numbers(read_vitals(look), "idle_in_transaction")
        assert found.handle == str(idle.info.backend_pid)
        assert found.subject == f"pid {found.handle} (postgres in {database.name})"
        assert found.detail == "application 'web'"
        assert found.value > 0
        (kill,) = re.findall(r"SELECT pg_terminate_backend\(\d+\);", mend(found) or "")
        look.execute(kill.encode())
        idle.close()
        until(lambda: not numbers(read_vitals(look), "idle_in_transaction")[0].subject)


def test_our_own_dump_is_no_forgotten_transaction(
    pg: PostgresServer, fresh_role: FreshRole
) -> None:
    other = fresh_role(pg)
    with (
        pg.connect() as look,
        pg.connect(application_name="guardian dump") as ours,
        pg.connect(application_name="guardian dump", role=other) as impostor,
    ):
        ours.execute("BEGIN")
        (none,) = numbers(read_vitals(look), "idle_in_transaction")
        assert (none.value, none.subject) == (0, None)
        impostor.execute("BEGIN")
        (found,) = numbers(read_vitals(look), "idle_in_transaction")
        assert found.handle == str(impostor.info.backend_pid)


def test_the_longest_query(pg: PostgresServer) -> None:
    with (
        pg.connect() as look,
        pg.connect() as busy,
        blocked(busy, "SELECT pg_sleep(600)") as pid,
    ):
        until(lambda: numbers(read_vitals(look), "query_age")[0].handle == str(pid))
        (found,) = numbers(read_vitals(look), "query_age")
        assert f"SELECT pg_cancel_backend({pid});" in (mend(found) or "")


def test_a_fastpath_call_is_no_query_of_an_hour_ago(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    """The server sets no query_start for it, so it is null here."""
    crowd = Crowd(fresh_database(pg), fresh_role(pg))
    try:
        call = crowd.fastpath()
        with pg.connect() as look:
            (found,) = numbers(read_vitals(look), "query_age")
        assert found.handle == str(call.pid)
    finally:
        crowd.close()


def test_a_lock_wait_names_the_table_and_who_is_in_the_way(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database, nobody = fresh_database(pg), fresh_role(pg)
    database.execute("CREATE TABLE items (id int)")
    with (
        database.connect() as look,
        database.connect(role=nobody) as blind,
        database.connect() as holder,
        database.connect() as waiter,
    ):
        holder.execute("BEGIN")
        holder.execute("LOCK items")
        with blocked(waiter, "SELECT FROM items") as pid:
            until(lambda: numbers(read_vitals(look), "lock_wait")[0].handle == str(pid))
            for eyes in (look, blind):
                (found,) = numbers(read_vitals(eyes), "lock_wait")
                assert found.handle == str(pid)
                assert found.value >= 0
                assert "AccessShareLock on items" in found.detail
                assert f"blocked by pid {holder.info.backend_pid}" in found.detail
        (none,) = numbers(read_vitals(look), "lock_wait")
        assert (none.value, none.detail) == (0, "no session waits for a lock")


def test_a_prepared_transaction_in_the_way_is_named_so(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute("CREATE TABLE items (id int)")
    gid = f"it's \\{database.name}"
    with database.connect() as look, database.connect() as waiter:
        look.execute("BEGIN")
        look.execute("LOCK items")
        look.execute(psycopg.sql.SQL("PREPARE TRANSACTION {}").format(gid))
        with blocked(waiter, "SELECT FROM items") as pid:
            until(lambda: numbers(read_vitals(look), "lock_wait")[0].handle == str(pid))
            (wait,) = numbers(read_vitals(look), "lock_wait")
            assert "blocked by a prepared transaction" in wait.detail
        (found,) = numbers(read_vitals(look), "prepared_transactions")
        assert found.handle == gid
        assert f"of postgres in {database.name}" in found.detail
        assert found.value > 0
        rollback = (mend(found) or "").partition(" or ")[2]
        assert rollback.startswith("ROLLBACK PREPARED E'it''s")
        look.execute(rollback.encode())
        (none,) = numbers(read_vitals(look), "prepared_transactions")
        assert none.detail == "there are no prepared transactions"


def test_a_role_that_sees_nothing_says_so_and_its_grant_mends_it(
    pg: PostgresServer, fresh_role: FreshRole
) -> None:
    role = fresh_role(pg, 'a "blind" one')
    with pg.connect() as other, pg.connect(role=role) as look:
        hidden = read_server_vitals(look)
        grant = 'GRANT pg_monitor TO "a ""blind"" one";'
        for name in ("idle_in_transaction", "query_age"):
            assert [each.mend for each in unknowns(hidden, name)] == [grant]
            assert not numbers(hidden, name)
        (used,) = numbers(hidden, "connections")
        assert used.value > 0
        # What it does see is told all the same.
        with pg.connect(role=role) as mine:
            mine.execute("BEGIN")
            found = read_server_vitals(look)
            assert numbers(found, "idle_in_transaction")[0].handle == str(mine.info.backend_pid)
            assert unknowns(found, "idle_in_transaction")
        other.execute(grant.encode())
        seen = read_server_vitals(look)
        assert not unknowns(seen, "idle_in_transaction")
        assert not unknowns(seen, "query_age")


# --- slots --------------------------------------------------------------------------------------


@pytest.fixture
def slot_cleaner(pg: PostgresServer) -> Iterator[None]:
    yield
    with pg.connect() as connection:
        connection.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def write_wal(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000))")
    connection.execute("SELECT pg_switch_wal()")


@pytest.mark.usefixtures("slot_cleaner")
def test_a_slot_that_holds_back_wal(pg: PostgresServer) -> None:
    with pg.connect() as look:
        look.execute(
            "SELECT pg_create_physical_replication_slot('o''hare', true)".replace("''", "")
        )
        write_wal(look)
        write_wal(look)
        look.execute("SELECT pg_create_logical_replication_slot('fresh', 'test_decoding')") if (
            pg.has_contrib
        ) else look.execute("SELECT pg_create_physical_replication_slot('fresh')")
        found = {each.handle: each for each in numbers(read_vitals(look), "slot_retained_wal")}
        assert set(found) == {"ohare", "fresh"}
        held = found["ohare"]
        assert held.value >= 16 << 20
        assert held.subject == "replication slot ohare"
        assert "physical, not in use" in held.detail
        assert found["fresh"].value < held.value
        if pg.has_contrib:
            assert "logical in postgres" in found["fresh"].detail
        (finding, _) = assess(
            numbers(read_vitals(look), "slot_retained_wal"),
            {"slot_retained_wal": (16 << 20, 1 << 40)},
        )
        assert finding.severity is Severity.WARNING
        (drop,) = re.findall(r"SELECT pg_drop_replication_slot\('ohare'\);", finding.mend or "")
        look.execute(drop.encode())
        assert [each.handle for each in numbers(read_vitals(look), "slot_retained_wal")] == [
            "fresh"
        ]


@pytest.mark.usefixtures("slot_cleaner")
def test_a_lost_slot_is_critical_whatever_it_holds(pg: PostgresServer) -> None:
    with pg.connect() as look:
        look.execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
        look.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        look.execute("SELECT pg_reload_conf()")
        until(lambda: look.execute("SHOW max_slot_wal_keep_size").fetchone() == ("1MB",))
        write_wal(look)
        write_wal(look)
        (shaky,) = numbers(read_vitals(look), "slot_retained_wal")
        assert shaky.at_least is Severity.WARNING
        assert "unreserved" in shaky.detail
        write_wal(look)
        look.execute("CHECKPOINT")
        (lost,) = numbers(read_vitals(look), "slot_retained_wal")
        assert lost.at_least is Severity.CRITICAL
        reason = "wal_removed" if pg.major >= 17 else "WAL removed"
        assert f"lost ({reason})" in lost.detail


# --- sequences and indexes ----------------------------------------------------------------------


def test_sequences_count_what_fits_into_their_column(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute(
        'CREATE SCHEMA "Odd"',
        'CREATE TABLE "Odd"."T" ("Id" serial)',
        'SELECT setval(\'"Odd"."T_Id_seq"\', 2050000000)',
        # The trap: a wide sequence feeds a narrow column.
        "CREATE TABLE trap (id integer GENERATED BY DEFAULT AS IDENTITY)",
        "ALTER SEQUENCE trap_id_seq AS bigint",
        "SELECT setval('trap_id_seq', 1800000000)",
        "CREATE SEQUENCE down INCREMENT -1 MINVALUE -100 MAXVALUE -1",
        "SELECT setval('down', -60)",
        "CREATE SEQUENCE wheel MAXVALUE 10 CYCLE",
        "SELECT setval('wheel', 10)",
        "CREATE SEQUENCE unused MAXVALUE 10",
        "CREATE SEQUENCE one MINVALUE 5 MAXVALUE 6 START 5",
        "SELECT setval('one', 5)",
    )
    with database.connect() as look:
        found = {each.handle: each for each in numbers(read_vitals(look), "sequences")}
        assert list(found) == [
            '"Odd"."T_Id_seq"',
            "public.trap_id_seq",
            "public.down",
            "public.one",
        ]
        odd = found['"Odd"."T_Id_seq"']
        assert odd.value == pytest.approx(95.46, abs=0.01)
        assert odd.items == ('"Odd"."T"', '"Id"')
        assert found["public.trap_id_seq"].value == pytest.approx(83.82, abs=0.01)
        assert "bigint for public.trap.id (integer)" in found["public.trap_id_seq"].detail
        assert found["public.down"].value == pytest.approx(60)
        assert found["public.one"].value == pytest.approx(50)
        for each in (odd, found["public.trap_id_seq"]):
            look.execute((mend(each) or "").partition(" (")[0].encode())
        left = {each.handle: each for each in numbers(read_vitals(look), "sequences")}
        assert list(left) == ["public.down", "public.one"]
        assert (mend(left["public.down"]) or "").startswith("ALTER SEQUENCE public.down AS bigint")


def test_a_full_sequence_is_full(pg: PostgresServer, fresh_database: FreshDatabase) -> None:
    database = fresh_database(pg)
    database.execute("CREATE SEQUENCE s MAXVALUE 3", "SELECT setval('s', 3)")
    with database.connect() as look:
        (full,) = numbers(read_vitals(look), "sequences")
        assert full.value == 100
        with pytest.raises(psycopg.errors.SequenceGeneratorLimitExceeded):
            look.execute("SELECT nextval('s')")


def test_sequences_that_the_role_may_not_read_are_unknown(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database, role = fresh_database(pg), fresh_role(pg)
    database.execute(
        *("CREATE SEQUENCE hidden", "CREATE SEQUENCE open MAXVALUE 10"),
        *("SELECT setval('open', 9)", f"GRANT USAGE ON SEQUENCE open TO {role.name}"),
    )
    with database.connect(role=role) as look:
        found = read_database_vitals(look)
        assert [each.handle for each in numbers(found, "sequences")] == ["public.open"]
        (unknown,) = unknowns(found, "sequences")
        assert "may not read 1 of database" in unknown.why
        assert "public.hidden" in unknown.why
        assert unknown.mend is not None
        database.execute(unknown.mend)
        assert not unknowns(read_database_vitals(look), "sequences")


def test_many_sequences_are_read_in_batches(
    pg: PostgresServer, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = fresh_database(pg)
    for index in range(5):
        database.execute(
            f"CREATE SEQUENCE s{index} MAXVALUE 10", f"SELECT setval('s{index}', {10 - index})"
        )
    monkeypatch.setattr(vitals, "_SEQUENCES_AT_ONCE", 2)
    with database.connect() as look:
        values = [each.value for each in numbers(read_database_vitals(look), "sequences")]
        assert values == [100, 90, 80, 70, 60]
        monkeypatch.setattr(vitals, "_SEQUENCE_BATCHES", 1)
        found = read_database_vitals(look)
        assert [each.value for each in numbers(found, "sequences")] == [100, 90]
        assert "only the first 2 sequences" in unknowns(found, "sequences")[0].why


def test_an_invalid_index_and_its_rebuild(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute('CREATE UNIQUE INDEX CONCURRENTLY "Broken" ON t (id)')
    with database.connect() as look:
        (found,) = numbers(read_vitals(look), "invalid_indexes")
        assert (found.value, found.items) == (1, ('public."Broken"',))
        assert 'public."Broken"' in found.detail
        look.execute("DELETE FROM t")
        look.execute((mend(found) or "").partition(": ")[2].encode())
        (none,) = numbers(read_vitals(look), "invalid_indexes")
        assert none.value == 0


def test_an_index_that_is_being_built_is_not_invalid(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database, blind = fresh_database(pg), fresh_role(pg)
    database.execute("CREATE TABLE t (id int)")
    with (
        database.connect() as look,
        database.connect() as writer,
        database.connect() as builder,
        database.connect(role=blind) as eyes,
    ):
        writer.execute("BEGIN")
        writer.execute("INSERT INTO t VALUES (1)")
        with blocked(builder, "CREATE INDEX CONCURRENTLY slow ON t (id)"):
            until(
                lambda: bool(look.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall())
            )
            (found,) = numbers(read_vitals(look), "invalid_indexes")
            assert found.value == 0
            (unknown,) = unknowns(read_vitals(eyes), "invalid_indexes")
            assert unknown.mend == f"GRANT pg_monitor TO {blind.name};"


# --- ages ---------------------------------------------------------------------------------------


def test_the_age_is_that_of_the_oldest_database(pg: PostgresServer) -> None:
    with pg.connect() as look:
        found = read_server_vitals(look)
        (xid,) = numbers(found, "transaction_id_age")
        rows = look.execute("SELECT datname, age(datfrozenxid) FROM pg_database").fetchall()
        assert xid.value == max(age for _, age in rows)
        assert xid.handle in {name for name, age in rows if age == xid.value}
        (multi,) = numbers(found, "multixact_age")
        (row,) = look.execute("SELECT max(mxid_age(datminmxid)) FROM pg_database").fetchall()
        assert multi.value == row[0]


# --- what goes wrong with a question does not spoil the others ----------------------------------


def test_a_question_that_the_role_may_not_ask(
    pg: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole
) -> None:
    database, role = fresh_database(pg), fresh_role(pg)
    database.execute("REVOKE SELECT ON pg_replication_slots, pg_stat_database FROM PUBLIC")
    with database.connect(role=role) as look:
        found = read_vitals(look)
    for name in ("slot_retained_wal", "transaction_id_age", "multixact_age", "checksum_failures"):
        (unknown,) = unknowns(found, name)
        assert f"{role.name} may not read it" in unknown.why
        assert unknown.mend == f"GRANT pg_monitor TO {role.name};"
    assert {each.name for each in found} == {*SERVER_VITALS, *DATABASE_VITALS}
    assert numbers(found, "prepared_transactions")


def test_ddl_in_the_way_makes_one_vital_unknown(
    pg: PostgresServer, fresh_database: FreshDatabase
) -> None:
    database = fresh_database(pg)
    database.execute("CREATE SEQUENCE s")
    with database.connect() as ddl, database.connect() as look:
        ddl.execute("BEGIN")
        ddl.execute("ALTER SEQUENCE s INCREMENT 2")
        found = read_vitals(look)
    (unknown,) = unknowns(found, "sequences")
    assert "a lock was in the way" in unknown.why
    assert numbers(found, "invalid_indexes")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT pg_sleep(600)", "the query was stopped: canceling statement due to statement"),
        ("SELECT no_such_function()", "this server does not offer it: function"),
        ("SELECT * FROM no_such_view", "this server does not offer it: relation"),
        ("SELECT 1 / 0", "division by zero"),
    ],
)
def test_a_question_that_fails(
    pg: PostgresServer, monkeypatch: pytest.MonkeyPatch, statement: str, why: str
) -> None:
    monkeypatch.setattr(
        vitals, "query", lambda name: statement if name == "vitals_slots" else query(name)
    )
    with pg.connect() as look:
        found = read_vitals(look, Timeouts(statement=timedelta(seconds=1)))
    (unknown,) = unknowns(found, "slot_retained_wal")
    assert unknown.why.startswith(why)
    assert {each.name for each in found if isinstance(each, Unknown)} == {
        *("slot_retained_wal", "checksum_failures")
    }


def test_our_own_mistake_is_not_hidden(
    pg15: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "query", lambda name: "SELECT %I")
    with pg15.connect() as look, pytest.raises(psycopg.ProgrammingError):
        read_database_vitals(look)


def test_a_lost_connection_makes_the_rest_unknown(
    pg: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pg.connect() as look, pg.connect() as killer:

        def cut(name: str) -> str:
            if name == "vitals_slots":
                killer.execute("SELECT pg_terminate_backend(%s, 10000)", [look.info.backend_pid])
            return query(name)

        monkeypatch.setattr(vitals, "query", cut)
        found = read_vitals(look)
    assert numbers(found, "connections")
    assert {each.name for each in found} == {*SERVER_VITALS, *DATABASE_VITALS}
    for name in ("slot_retained_wal", "archiver", *DATABASE_VITALS):
        assert unknowns(found, name)[0].why == "the connection was lost"


def test_a_tiny_statement_timeout_of_the_role_does_not_bind_us(
    pg: PostgresServer, fresh_role: FreshRole
) -> None:
    role = fresh_role(pg)
    with pg.connect() as admin:
        admin.execute(f"ALTER ROLE \"{role.name}\" SET statement_timeout = '1ms'".encode())
    with Connector("main", pg.dsn(role=role)).connect(None, "diagnose") as look:
        assert not [each for each in read_vitals(look) if "stopped" in getattr(each, "why", "")]
