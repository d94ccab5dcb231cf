"""Our reading of patterns against pg_dump's own, on names that tell the differences."""

from __future__ import annotations

import subprocess

import pytest
from psycopg import sql

from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.backup.patterns import exact_pattern

SCHEMAS = ["public", "app", "Hidden"]
TABLES = [
    *("logs", "logs2", "Logs", "éte", "Éte", "a.b", "a*b", 'q"q', "x$y", "a|b", "a", "b", "log_s"),
    *("x+y", "xxy", "t(1)", "t1", "t[]", "new\nline", "ab{2}", "abb", "a\\d", "a1", "T_2020"),
]
PATTERNS = [
    *("logs", "LOGS", '"Logs"', "log*", "log?", "*", "*.*", "public.logs", "app.l*", '"Hidden".*'),
    *("hidden.*", "Hidden.*", "ÉTE", "éte", '"Éte"', '"a.b"', "a.b", '"a*b"', "a*b", '"q""q"'),
    *("x$y", "a|b", "(a|b)", '"a|b"', "x+y", '"x+y"', "t(1)", '"t(1)"', "t[]", "[ab]", "[^a]"),
    *("[A-C]", "ab{2}", '"ab{2}"', "a\\d", '"a\\d"', "t_[0-9]*", '"T"_2020', "new*", "l*.logs"),
    *("(app|public).logs", "nothing", "public.", ".logs"),
]


@pytest.fixture(scope="module")
def database(pg15):
    database = pg15.create_database()
    with database.connect() as connection:
        for schema in SCHEMAS:
            name = sql.Identifier(schema)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
            for table in TABLES:
                where = sql.Identifier(schema, table)
                connection.execute(sql.SQL("CREATE TABLE {} AS SELECT 1 AS n").format(where))
    yield database
    pg15.drop_database(database.name)


def rows_left_out_by_pg_dump(database, pattern: str) -> set[tuple[str, str]]:
    """What is in a dump of everything and not in one with the pattern, by the archive's list."""

    def dumped(*options: str) -> set[tuple[str, str]]:
        archive = subprocess.run(
            [database.server.tool("pg_dump"), "-Fc", "-Z0", *options, "-d", database.dsn()],
            capture_output=True,
            check=True,
        ).stdout
        listing = subprocess.run(
            [database.server.tool("pg_restore"), "--list"],
            input=archive,
            capture_output=True,
            check=True,
        ).stdout.decode()
        lines = [line for line in listing.splitlines() if " TABLE DATA " in line]
        words = [line.split(" TABLE DATA ")[1].rsplit(" ", 1)[0] for line in lines]
        return {(word.split(" ")[0], word.split(" ", 1)[1]) for word in words}

    return dumped() - dumped(f"--exclude-table-data={pattern}")


def rows_left_out_by_us(database, pattern: str) -> set[tuple[str, str]]:
    with database.connect() as connection:
        settle_session(connection, "UTF8")
        connection.execute("BEGIN")
        found = Fingerprinter(connection, list_tables(connection), left_out=[pattern])
        assert connection.execute("SHOW search_path").fetchone() == ('""',)
        return {(table.schema, table.name.replace("\n", " ")) for table in found._left_out}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_we_leave_out_what_pg_dump_leaves_out(database, pattern: str) -> None:
    expected = rows_left_out_by_pg_dump(database, pattern)
    assert rows_left_out_by_us(database, pattern) == expected


def test_an_exact_pattern_names_one_table(database) -> None:
    """Both ways that it is used: what one stream leaves out, another dumps."""
    for schema, table in (("Hidden", name) for name in TABLES):
        shown = {(schema if schema != "Hidden" else "Hidden", table.replace("\n", " "))}
        assert rows_left_out_by_pg_dump(database, exact_pattern(schema, table)) == shown


@pytest.mark.parametrize("search_path", ['app, "Hidden"', '"$user"', "Hidden", "nowhere, public"])
def test_a_pattern_without_a_schema_follows_the_search_path(database, search_path: str) -> None:
    database.execute(f'ALTER DATABASE "{database.name}" SET search_path = {search_path}')
    expected = rows_left_out_by_pg_dump(database, "logs")
    assert rows_left_out_by_us(database, "logs") == expected
