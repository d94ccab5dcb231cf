"""Drills see that an object is another one of the same name; what is told in other words is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.postgres import Database, PostgresServer
from support.restoring import run_inside
from support.site import Site

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.model import Definition

# PostgreSQL tells these otherwise once they were read back from a dump.
PICKY = """
CREATE TABLE public.users (id int PRIMARY KEY, kind varchar(9) CHECK (kind IN ('a', 'b')));
INSERT INTO public.users SELECT g, 'a' FROM generate_series(1, 100) g;
CREATE INDEX chosen_few ON public.users (id) WHERE kind IN ('a', 'b');
CREATE VIEW public.chosen AS SELECT id FROM public.users WHERE kind IN ('a', 'b');
"""
ANOTHER = "CREATE OR REPLACE VIEW public.chosen AS SELECT id FROM public.users WHERE kind IN ('a')"


@pytest.fixture
def source(pg15: PostgresServer, fresh_database: Any) -> Database:
    database: Database = fresh_database(pg15)
    database.execute(PICKY)
    return database


@pytest.fixture
def site(source: Database, tmp_path: Path) -> Site:
    made = Site(tmp_path / "site", source.dsn())
    made.server = {"verify": {"scratch": source.server.dsn(), "allow_source_server": True}}
    return made


def drilled(site: Site, code: int) -> dict[str, Any]:
    outcome = run_inside(site, "verify", "--json")
    assert outcome.code == code, outcome.out + outcome.err
    (drill,) = outcome.json
    return dict(drill)


def change_after_restore(patch: pytest.MonkeyPatch, *statements: str) -> None:
    original = PostgresDatabase.restore

    def restore(self: PostgresDatabase, *words: Any) -> None:
        original(self, *words)
        with self.connector.connect(self.name) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    patch.setattr(PostgresDatabase, "restore", restore)


def test_another_view_of_that_name_is_a_mismatch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_inside(site, "backup", "now", "--json").code == 0
    assert drilled(site, 0)["result"] == "proven"
    change_after_restore(monkeypatch, ANOTHER)
    drill = drilled(site, 1)
    assert drill["result"] == "mismatch"
    assert [one["object"] for one in drill["differences"]] == ["view public.chosen"]
    assert "kind" not in str(drill["differences"])  # no text


def test_a_backup_of_an_older_guardian_is_proven_by_names(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as older:
        older.setattr(Fingerprinter, "_definitions", lambda _: [])
        assert run_inside(site, "backup", "now", "--json").code == 0
    assert drilled(site, 0)["result"] == "proven"
    change_after_restore(monkeypatch, ANOTHER)
    assert drilled(site, 0)["result"] == "proven"
    change_after_restore(monkeypatch, "DROP VIEW public.chosen")
    assert drilled(site, 1)["result"] == "mismatch"


def test_definitions_that_cannot_be_read_do_not_cost_the_backup(
    site: Site, source: Database
) -> None:
    """DDL holds the view that another one is of; its text cannot be told meanwhile."""
    source.execute("CREATE VIEW public.above AS SELECT id FROM public.chosen")
    with source.connect() as ddl, ddl.transaction():
        ddl.execute("ALTER VIEW public.chosen SET (security_barrier = true)")
        connection = psycopg.connect(source.dsn(), autocommit=True)
        with connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            reader = Fingerprinter(connection, [])
            assert reader._definitions() == []
            assert connection.execute("SELECT count(*) FROM public.users").fetchone() == (100,)
            waits = connection.execute("SHOW lock_timeout").fetchone()
            assert waits == ("0",)
    assert run_inside(site, "backup", "now", "--json").code == 0
    assert drilled(site, 0)["result"] == "proven"


def opened(database: Database) -> PostgresDatabase:
    return PostgresDatabase(
        Connector("scratch", database.dsn()),
        database.name,
        database.server.tool("pg_restore"),
        major=database.server.major,
        encoding="UTF8",
        options=LoadOptions(jobs=1),
    )


HOW = ("policy", "public", "users", "ALL")
VIEW = Definition("view", "public.v", "", " SELECT 1 AS one;", ("view",))


def test_nothing_stays_of_what_is_asked(source: Database) -> None:
    """Nor is anything of the database's own run for it."""
    source.execute(
        "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql "
        "AS 'BEGIN RAISE EXCEPTION ''no DDL here''; END'",
        "CREATE EVENT TRIGGER no ON ddl_command_end EXECUTE FUNCTION public.no()",
    )
    asked = [
        VIEW,
        Definition("policy", "p on public.users", "condition", "USING (kind = 'a')", HOW),
        Definition("policy", "p on public.users", "condition", "USING (no such column)", HOW),
        Definition("view", "public.v", "", " SELECT 1; DROP TABLE public.users", ("view",)),
        Definition("later", "public.v", "", "x", ("a way that a later guardian knows",)),
        VIEW,
    ]
    before = _everything(source)
    answers = opened(source).retell(asked)
    assert answers[0] == answers[5] == " SELECT 1 AS one;"
    assert answers[1] == "USING (((kind)::text = 'a'::text))"
    assert answers[2:5] == [None, None, None]
    assert _everything(source) == before


def _everything(database: Database) -> list[Any]:
    with database.connect() as connection:
        return connection.execute(
            "SELECT oid, relname FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace "
            "UNION ALL SELECT oid, polname FROM pg_policy ORDER BY 1"
        ).fetchall()
