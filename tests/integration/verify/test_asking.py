"""What a restored database is asked: the user's checks, amcheck; and ending whatever it is at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import psycopg
import pytest
from support.drilling import SMALL, sessions_of_ours
from support.postgres import Database, PostgresServer
from support.proxy import BreakableProxy

from guardian.adapters.postgres import breaking_off, fingerprinter, reading_process, restored
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.reading_process import ReadingProcess, readers_begun
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.errors import GuardianError, InterruptedRunError, UnsuitableTargetError
from guardian.model import ProofLevel

FreshDatabase = Callable[..., Database]


def opened(
    database: Database,
    dsn: str | None = None,
    options: LoadOptions | None = None,
    readers: Sequence[ReadingProcess] = (),
) -> PostgresDatabase:
    return PostgresDatabase(
        Connector("scratch", dsn or database.dsn()),
        database.name,
        database.server.tool("pg_restore"),
        major=database.server.major,
        encoding="UTF8",
        options=options or LoadOptions(purpose="drill"),
        readers=readers,
    )


@pytest.fixture(scope="module")
def people(pg15: PostgresServer) -> Iterator[Database]:
    database = pg15.create_database()
    database.execute(
        SMALL,
        'CREATE SCHEMA "the ""shop"""; CREATE TABLE "the ""shop""".goods (id int)',
        "CREATE SEQUENCE counter",
    )
    yield database
    pg15.drop_database(database.name)


# --- checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "passed", "found"),
    [
        ("SELECT count(*) = 500 FROM users", True, "true"),
        ("SELECT true;", True, "true"),
        ("-- a comment\nSELECT '100%' = '100%' -- another", True, "true"),
        ("TABLE users LIMIT 0", False, "no row"),
        ("SELECT false", False, "false"),
        ("SELECT NULL::bool", False, "null"),
        ("SELECT NULL", False, "null"),
        ("SELECT 1", False, "1"),
        ("SELECT 't'", False, "t"),
        ("SELECT 'true'::text", False, "true"),
        ("SELECT true WHERE false", False, "no row"),
        ("VALUES (true), (true)", False, "more than one row"),
        ("SELECT true, true", False, "2 columns"),
        ("SELECT", False, "0 columns"),
        ("SELECT true; SELECT true", False, "more than one statement"),
        ("SELECT true; DROP TABLE users", False, "cannot execute DROP TABLE in a read-only"),
        ("", False, "no result"),
        ("SET work_mem = '1MB'", False, "no result"),
        ("SELECT nothing", False, 'column "nothing" does not exist'),
        ("SELECT 1/0", False, "division by zero"),
        ("SELEKT", False, 'syntax error at or near "SELEKT"'),
        ("COPY users TO STDOUT", False, "COPY"),
        ("INSERT INTO users VALUES (0, 'x')", False, "cannot execute INSERT in a read-only"),
        ("DELETE FROM users RETURNING true", False, "cannot execute DELETE in a read-only"),
        ("CREATE TABLE x ()", False, "cannot execute CREATE TABLE in a read-only"),
        ("SELECT nextval('counter') > 0", False, "cannot execute nextval() in a read-only"),
        ("SELECT repeat('x', 1000)", False, "x" * 200),
        ("SELECT E'a\\nb'", False, "a\nb"),
    ],
)
def test_one_true_value_is_the_only_right_answer(
    people: Database, query: str, passed: bool, found: str
) -> None:
    answer = opened(people).ask(query, ())
    assert answer[0] is passed
    assert answer[1].startswith(found) or found in answer[1]
    assert len(answer[1]) <= 200


def test_no_check_has_changed_anything(people: Database) -> None:
    assert people.rows("SELECT count(*) FROM users") == [(500,)]
    assert people.rows("SELECT is_called FROM counter") == [(False,)]


def test_a_check_that_takes_too_long(people: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restored, "_CHECK_TIMEOUT", timedelta(seconds=0.3))
    assert opened(people).ask("SELECT pg_sleep(60) IS NULL", ()) == (
        False,
        "no answer within 0.3s",
    )


def test_the_search_path_of_the_source(people: Database) -> None:
    query = "SELECT count(*) = 0 FROM goods"
    settings = ("work_mem=1MB", 'search_path="the ""shop""", public', "DateStyle=German, DMY")
    assert opened(people).ask(query, ()) == (False, 'relation "goods" does not exist')
    assert opened(people).ask(query, settings) == (True, "true")
    assert opened(people).ask("SELECT count(*) = 500 FROM users", settings) == (True, "true")
    assert opened(people).ask("SELECT true", ("search_path=",)) == (True, "true")


def test_a_server_that_ends_the_session_says_nothing_of_the_backup(people: Database) -> None:
    with pytest.raises(GuardianError, match="terminating connection"):
        opened(people).ask("SELECT pg_terminate_backend(pg_backend_pid())", ())


# --- amcheck ------------------------------------------------------------------------------------


def test_sound_indexes(people: Database) -> None:
    assert opened(people).check_indexes() == []


def test_a_damaged_index_is_named(pg15: PostgresServer, fresh_database: FreshDatabase) -> None:
    database = fresh_database(pg15)
    database.execute(
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
        'CREATE TABLE "odd t" (id int)',
        'INSERT INTO "odd t" SELECT g FROM generate_series(1, 100) g',
        'CREATE INDEX "odd i" ON "odd t" (f(id))',
        'CREATE INDEX sound ON "odd t" (id)',
        # What the index holds is no more what its expression gives.
        "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
    )
    (damaged,) = opened(database).check_indexes()
    assert (damaged.object, damaged.expected) == ('index public."odd i"', "sound")
    assert "lacks matching index tuple" in damaged.found


def test_a_server_without_amcheck(pg16: PostgresServer, fresh_database: FreshDatabase) -> None:
    with pytest.raises(UnsuitableTargetError, match="amcheck is not installed") as caught:
        opened(fresh_database(pg16)).check_indexes()
    assert "verify.amcheck: false" in str(caught.value)


@pytest.mark.parametrize(
    "prepared",
    [
        ["CREATE EXTENSION amcheck"],
        ['CREATE SCHEMA "my ""own"""', 'CREATE EXTENSION amcheck SCHEMA "my ""own"""'],
        [
            (
                "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql "
                "AS $$ BEGIN RAISE 'no DDL in production'; END $$"
            ),
            "CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no()",
        ],
    ],
    ids=["in public", "in a schema of its own", "no DDL allowed"],
)
def test_databases_that_have_amcheck_or_refuse_ddl(
    pg15: PostgresServer, fresh_database: FreshDatabase, prepared: list[str]
) -> None:
    database = fresh_database(pg15)
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", *prepared)
    assert opened(database).check_indexes() == []


# --- ending -------------------------------------------------------------------------------------


def ended(work: Callable[[], object], database: PostgresDatabase, ready: Callable[[], bool]) -> str:
    """Cancel this work as soon as it is at it; what it raised then."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except GuardianError as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    _await(ready)
    database.cancel()
    thread.join(60)
    assert not thread.is_alive(), "it goes on"
    return str(raised[0]) if raised else "nothing"


def _await(ready: Callable[[], bool]) -> None:
    for _ in range(3000):
        if ready():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def sleeping(server: PostgresServer) -> bool:
    with server.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        ).fetchone()
    return row != (0,)


def test_a_running_check_is_ended(people: Database) -> None:
    database = opened(people)
    ended(
        lambda: database.ask("SELECT pg_sleep(100)", ()), database, lambda: sleeping(people.server)
    )
    assert sessions_of_ours(people.server) == []
    # And what would come after it does not begin.
    with pytest.raises(InterruptedRunError):
        database.ask("SELECT true", ())
    with pytest.raises(InterruptedRunError):
        database.fingerprint(ProofLevel.CONTENT, 1, lambda _: None)
    with pytest.raises(InterruptedRunError):
        database.check_indexes()


def test_ending_when_nothing_runs_is_harmless(people: Database) -> None:
    database = opened(people)
    database.cancel()
    database.cancel()


@pytest.mark.parametrize("work", ["ask", "fingerprint", "check_indexes"])
def test_nobody_waits_for_a_server_that_hangs(
    people: Database, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for the answer to a request to cancel."""
    monkeypatch.setattr(breaking_off, "_ANSWER_SECONDS", 0.3)
    with BreakableProxy("127.0.0.1", people.server.port) as proxy:
        database = opened(people, people.dsn(tcp=True, port=proxy.port))
        database.connector.connect(people.name).close()  # the first one asks what the server knows
        hanging = threading.Event()
        original = psycopg.Connection.execute

        def execute(self: psycopg.Connection, *words: object, **more: object) -> object:
            hanging.set()
            proxy.hang()
            return original(self, *words, **more)  # type: ignore[call-overload]

        calls: dict[str, Callable[[], object]] = {
            "ask": lambda: database.ask("SELECT true", ()),
            "fingerprint": lambda: database.fingerprint(ProofLevel.CONTENT, 1, lambda _: None),
            "check_indexes": database.check_indexes,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Connection, "execute", execute)
            told = ended(calls[work], database, hanging.is_set)
        assert "went away" in told


# --- readers that are begun early -----------------------------------------------------------------


def test_readers_that_were_begun_are_those_that_read(
    people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprinter, "WORTH_A_PROCESS", 0)
    inline = opened(people).fingerprint(ProofLevel.CONTENT, 7, lambda _: None)
    with readers_begun(2) as readers:
        processes = [one._process for one in readers]
        options = LoadOptions(jobs=2, purpose="drill")
        database = opened(people, options=options, readers=readers)
        with monkeypatch.context() as patched:
            patched.setattr(reading_process, "_start", None)  # no more of them
            assert database.fingerprint(ProofLevel.CONTENT, 7, lambda _: None) == inline
        assert database.fingerprint(ProofLevel.CONTENT, 7, lambda _: None) == inline, "once more"
    assert all(one is not None and one.poll() is not None for one in processes)


def test_readers_that_nobody_wants_are_ended() -> None:
    with readers_begun(3) as readers:
        processes = [one._process for one in readers]
        assert [one.poll() for one in processes if one is not None] == [None] * 3
    assert all(one is not None and one.poll() is not None for one in processes)
