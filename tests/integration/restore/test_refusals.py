"""What a server lacks is told before anything is made there, with the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql
from support.postgres import Database, PostgresServer, Role
from support.restoring import Restoring, back_up, run_inside

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.target import PostgresTarget
from guardian.errors import VersionMismatchError
from guardian.model import DatabaseFacts
from guardian.restore.target import Needs


@pytest.fixture(scope="module")
def icu(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restoring]:
    """A backup of a database with an extension and an ICU locale, which only 15 has here."""
    source = pg15.create_database(
        options="TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' ENCODING 'UTF8'"
    )
    source.execute("CREATE TABLE t AS SELECT chr(65 + g) AS name FROM generate_series(1, 20) g")
    yield back_up(tmp_path_factory.mktemp("icu") / "site", source, pg15)
    pg15.drop_database(source.name)


@pytest.fixture
def icu_to_16(icu: Restoring, pg16: PostgresServer) -> Restoring:
    return Restoring(icu.site, icu.source, icu.backup, pg16)


def test_a_locale_that_the_server_lacks(icu_to_16: Restoring) -> None:
    name = icu_to_16.new_name()
    said = icu_to_16.refused(name, "--create", code=1)
    assert "locale icu C.UTF-8/de can be made there: ICU is not supported" in said
    assert "make an empty database with a locale that the server has" in said
    try:
        icu_to_16.server.create_database(name, options="TEMPLATE template0 LOCALE 'C.UTF-8'")
        document = icu_to_16.restored(name)
        assert document["compared"] == "content"
        assert any("text may sort otherwise" in one for one in document["warnings"])
    finally:
        icu_to_16.clean()


def test_an_extension_that_the_server_lacks(
    pg15: PostgresServer,
    pg16: PostgresServer,
    fresh_database: Callable[..., Database],
    tmp_path: Path,
) -> None:
    source = fresh_database(pg15)
    source.execute(
        "CREATE EXTENSION hstore", "CREATE TABLE t (id int)", "CREATE TABLE h (h hstore)"
    )
    restoring = back_up(tmp_path / "site", source, pg16)
    name = restoring.new_name()
    said = restoring.refused(name, "--create", code=1)
    assert "does not offer the extensions hstore" in said
    try:
        restoring.restored(name, "--create", "--table", "t")  # that table needs none
    finally:
        restoring.clean()


def test_an_older_server(
    pg18: PostgresServer,
    pg15: PostgresServer,
    fresh_database: Callable[..., Database],
    tmp_path: Path,
) -> None:
    source = fresh_database(pg18)
    source.execute("CREATE TABLE t ()")
    restoring = back_up(tmp_path / "site", source, pg15)
    said = restoring.refused("never", "--create", code=1)
    assert "is PostgreSQL 15, the backup is of PostgreSQL 18" in said


def test_no_pg_restore_that_fits(pg15: PostgresServer) -> None:
    asked = []

    def fitting(dumped_by: str, server: int) -> None:
        asked.append((dumped_by, server // 10000))

    facts = DatabaseFacts("15.18", 150018, None, "UTF8", "C", "C", "libc")
    with PostgresTarget(Connector("test", pg15.dsn("never")), "never", fitting) as target:
        target.inspect()
        with pytest.raises(VersionMismatchError, match=r"reads a dump of pg_dump 18\.1 and suits"):
            target.check(Needs(facts, "18.1"))
    assert asked == [("18.1", 15)]


def test_a_role_that_may_not_create_databases(
    shop: Restoring, fresh_role: Callable[..., Role]
) -> None:
    role = fresh_role(shop.server)
    name = shop.new_name()
    to = ("restore", shop.backup, "--to", shop.server.dsn(name, role=role))
    outcome = run_inside(shop.site, *to, "--create")
    assert outcome.code == 1
    assert "may not create databases" in outcome.err
    assert "CREATEDB" in outcome.err
    shop.server.create_database(name)
    Database(shop.server, name).execute("CREATE TABLE mine ()")
    outcome = run_inside(shop.site, *to, "--replace")
    assert outcome.code == 1
    assert "cannot be replaced: that takes its owner" in outcome.err


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://postgres:s3cret@127.0.0.1:{port}/x", "refused us: "),
        ("postgresql://postgres:s3cret@127.0.0.1:1/x", "cannot be reached"),
        ("postgresql://postgres:s3cret@[nowhere/x", "--to is not a libpq connection string"),
        ("host=127.0.0.1 password=s3cret", "--to names no database"),
        ("${{NO_SUCH_VARIABLE}}", "the variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_dsn_that_leads_nowhere(shop: Restoring, dsn: str, said: str) -> None:
    words = ("--to", dsn.format(port=shop.server.port), "--create")
    outcome = run_inside(shop.site, "restore", shop.backup, *words)
    assert outcome.code in {1, 2}
    assert said in outcome.err
    assert "s3cret" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["20991231"], "there is no backup '20991231'"),
        (["latest", "main/nothing"], "there is no backup of main/nothing"),
        (["latest", "other/x"], "there is no server 'other'"),
        (["latest", "main/a", "main/b"], "one backup is restored at a time"),
        (["2", "--store", "nowhere"], "there is no store 'nowhere'"),
        (["2", "--data-only", "--create"], "exclude each other"),
        (["2"], "--to DSN"),
    ],
)
def test_words_that_make_no_sense(shop: Restoring, words: list[str], said: str) -> None:
    to = ["--to", "dbname=x"] if words != ["2"] else []
    outcome = run_inside(shop.site, "restore", *words, *to)
    assert outcome.code == 2, outcome.err
    assert said in outcome.err


def test_a_store_that_the_catalog_does_not_know(shop: Restoring) -> None:
    """With a store named, a backup is found there though the catalog is lost."""
    catalog = shop.site.root / "state" / "catalog.db"
    aside = catalog.rename(catalog.with_suffix(".aside"))
    try:
        name = shop.new_name()
        said = shop.refused(name, "--create")
        assert "guardian catalog rebuild" in said
        shop.restored(name, "--create", "--store", "local", "--no-analyze")
    finally:
        for path in catalog.parent.glob("catalog.db*"):
            if path != aside:
                path.unlink()
        aside.rename(catalog)


def test_roles_that_exist_are_left_alone(
    shop: Restoring, fresh_role: Callable[..., Role], tmp_path: Path
) -> None:
    """``--globals`` on the server itself: all roles are there, not one is changed."""
    role = fresh_role(shop.server, attributes="CONNECTION LIMIT 5")
    restoring = back_up(tmp_path / "site", shop.source, shop.server)
    with shop.server.connect() as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT 7").format(sql.Identifier(role.name))
        )
    name = restoring.new_name()
    document = restoring.restored(name, "--create", "--globals", "--no-compare", "--no-analyze")
    assert (document["compared"], document["tables"]) == ("none", 0)
    with restoring.server.connect(name) as connection:
        analyzed = connection.execute(
            "SELECT last_analyze FROM pg_stat_user_tables WHERE relname = 'notes'"
        ).fetchone()
    assert analyzed == (None,)
    restoring.clean()
    assert any(f"{role.name}" in one for one in document["warnings"] if "left as" in one)
    with shop.server.connect() as connection:
        limit = connection.execute(
            "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (role.name,)
        ).fetchone()
    assert limit == (7,)
