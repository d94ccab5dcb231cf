"""Time limits that are set for role or database bind applications; they end nothing of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.drilling import SMALL, verify_one
from support.postgres import Database, PostgresServer, Role
from support.proxy import BreakableProxy
from support.restoring import run_inside
from support.site import Site

from guardian.adapters.postgres import breaking_off, startup
from guardian.adapters.postgres.connection import Connector

_SINCE = {
    "statement_timeout": 13,
    "lock_timeout": 13,
    "idle_in_transaction_session_timeout": 13,
    "idle_session_timeout": 14,
    "transaction_timeout": 17,
}


@pytest.fixture(params=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def hurried(server: PostgresServer) -> Iterator[Role]:
    """A role whose every limit is a millisecond, everywhere."""
    role = server.create_role(attributes="SUPERUSER")
    with server.connect() as connection:
        for name in limits(server):
            statement = sql.SQL("ALTER ROLE {} SET {} = '1ms'")
            connection.execute(statement.format(sql.Identifier(role.name), sql.Identifier(name)))
    yield role
    server.drop_role(role)


@pytest.fixture
def database(server: PostgresServer) -> Iterator[Database]:
    """A small one, whose every limit is a millisecond, too."""
    made = server.create_database()
    made.execute(SMALL)
    with server.connect() as connection:
        for name in limits(server):
            statement = sql.SQL("ALTER DATABASE {} SET {} = '1ms'")
            connection.execute(statement.format(sql.Identifier(made.name), sql.Identifier(name)))
    yield made
    server.drop_database(made.name)


def limits(server: PostgresServer) -> list[str]:
    return [name for name, major in _SINCE.items() if server.major >= major]


def test_everything_works_under_limits_of_a_millisecond(
    server: PostgresServer, hurried: Role, database: Database, tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", database.dsn(role=hurried))
    outcome = run_inside(site, "backup", "now", "--json")
    assert outcome.code == 0, outcome.out + outcome.err
    (backup,) = outcome.json
    assert (backup["proof"], backup["warnings"]) == ("content", [])

    for scratch in ("embedded", server.dsn(role=hurried)):
        site.server = {"verify": {"scratch": scratch, "allow_source_server": True}}
        drill = verify_one(site)
        assert (drill["result"], drill["reason"]) == ("proven", None)

    name = f"{database.name}_again"
    to = server.dsn(name, role=hurried)
    try:
        outcome = run_inside(site, "restore", backup["id"], "--to", to, "--create", "--json")
        assert outcome.code == 0, outcome.out + outcome.err
        assert outcome.json["compared"] == "content"
    finally:
        server.drop_database(name)

    for words in (["sessions"], ["locks"], ["diagnose"], ["doctor"]):
        outcome = run_inside(site, *words, "--json")
        assert outcome.code in {0, 1}, outcome.err
        assert "timeout" not in outcome.err
        assert "canceling" not in outcome.out


def test_a_limit_that_is_quicker_than_we_are_costs_one_more_connection(
    server: PostgresServer, hurried: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name that older servers do not know, so that it cannot be lifted before the first."""
    opened: list[str] = []
    connect = psycopg.connect

    def slowly(conninfo: str, **more: object) -> psycopg.Connection:
        opened.append(conninfo)
        made = connect(conninfo, **more)  # type: ignore[arg-type]
        time.sleep(0.05)  # longer than it may idle
        return made

    monkeypatch.setattr(psycopg, "connect", slowly)
    connector = Connector("main", server.dsn(role=hurried))
    for _ in range(2):
        with connector.connect() as connection:
            time.sleep(0.05)
            rows = connection.execute(
                "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout'"
            ).fetchall()
            shown: Mapping[str, str] = dict(rows)
            assert {shown[name] for name in limits(server)} == {"0"}
    assert len(opened) == 3, "once more for the first, and never again"
    with connector.tool_access(None, "dump") as access:
        assert "idle_session_timeout=0" in access.conninfo


def test_options_of_the_dsn_and_of_the_environment_stay(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=3MB -c statement_timeout=7")
    with Connector("main", server.dsn()).connect() as connection:
        assert _settings(connection, "work_mem", "statement_timeout") == ("3MB", "0")
    given = server.dsn(options="-c work_mem=5MB -c lock_timeout=7")
    with Connector("main", given).connect() as connection:
        assert _settings(connection, "work_mem", "lock_timeout") == ("5MB", "0")


def _settings(connection: psycopg.Connection, *names: str) -> tuple[str, ...]:
    return tuple(
        connection.execute("SELECT current_setting(%s)", [name]).fetchall()[0][0] for name in names
    )


def test_a_server_that_hangs_at_the_first_question_is_not_waited_for(
    pg18: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(breaking_off, "_ANSWER_SECONDS", 0.3)
    with BreakableProxy("127.0.0.1", pg18.port) as proxy:
        made: list[psycopg.Connection] = []

        def connect(parameters: Mapping[str, str]) -> psycopg.Connection:
            if made:
                raise psycopg.errors.ConnectionTimeout("it still hangs")
            made.append(psycopg.connect(**parameters, autocommit=True))  # type: ignore[arg-type]
            proxy.hang()
            return made[0]

        dsn = pg18.dsn(tcp=True, port=proxy.port)
        parameters = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            startup.Startup().open(parameters, connect)
        assert made[0].closed
