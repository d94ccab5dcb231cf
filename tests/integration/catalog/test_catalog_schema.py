"""The catalog's schema on real databases: made, migrated, agreed upon, and shared."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect
from support.catalogs import MAIN, CatalogSite, backup_id, fill, make_site

from guardian.adapters.catalog import schema
from guardian.adapters.catalog.catalog import open_catalog
from guardian.adapters.catalog.models import METADATA
from guardian.errors import CatalogError


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        return request.getfixturevalue("fresh_database")(request.getfixturevalue("pg15"))

    made = make_site(request.param, tmp_path, database)
    yield made
    made.close()


OPEN = """
import sys
from datetime import UTC, datetime
from guardian.adapters.catalog.catalog import open_catalog
from guardian.adapters.clock import SystemClock
sys.stdin.readline()
catalog = open_catalog(sys.argv[1], clock=SystemClock(), is_alive=lambda holder: None)
assert list(catalog.backups()) == []
catalog.close()
"""


def test_the_head_known_without_alembic_is_that_of_the_scripts():
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    found = [script.revision for script in scripts.walk_revisions()]
    assert list(reversed(found)) == list(schema.REVISIONS)
    assert scripts.get_current_head() == schema.HEAD


def test_models_and_migrations_agree(site):
    catalog = site.open_sql()
    with catalog._database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, METADATA) == []
        names = {
            found["name"]
            for table in METADATA.tables
            for found in inspect(connection).get_foreign_keys(table)
        }
    expected = {one.name for one in _foreign_keys()}
    assert names == expected


def _foreign_keys():
    return [one for table in METADATA.tables.values() for one in table.foreign_key_constraints]


def test_migrations_go_down_and_up_again(site):
    catalog = site.open_sql()
    with catalog._database.writing() as connection:
        schema.downgrade(connection, "base")
    with catalog._database.writing() as connection:
        assert inspect(connection).get_table_names() == [schema.VERSION_TABLE]
        schema.upgrade(connection)
    assert list(catalog.backups()) == []


@pytest.mark.parametrize("revision", schema.REVISIONS[:-1])
def test_a_catalog_of_an_older_guardian_is_brought_up_with_all_that_it_holds(site, revision):
    old = site.open_sql()
    fill(old, 3, [MAIN])
    with old._database.writing() as connection:
        schema.downgrade(connection, revision)
    new = site.open_sql()
    assert len(new.backups()) == 3
    assert list(new.kills()) == list(new.open_incidents()) == []
    with new._database.reading() as connection:
        assert schema.current_revision(connection, "here") == schema.HEAD


def test_a_catalog_that_is_there_opens_without_alembic(site):
    fill(site.open_sql(), 3, [MAIN])
    code = "import sys\n" + OPEN.replace("== []", "!= []") + "assert 'alembic' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code, site.url], input="\n", text=True, check=True)


def test_an_open_catalog_is_found_with_one_query(site):
    site.open_sql()
    catalog = site.open_sql()
    seen: list[str] = []
    event.listen(
        catalog._database.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_: seen.append(statement),
    )
    schema.ensure_schema(catalog._database, create=True)
    assert [one for one in seen if not one.startswith("BEGIN")] == [
        "SELECT version_num \nFROM guardian_catalog_version"
    ]


def test_processes_that_open_a_new_catalog_at_once_all_succeed(site):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, site.url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for child in children:  # all have started before the first goes on
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0] * 5, ends
    assert list(site.open_sql().tries()) == []


def test_a_catalog_of_a_newer_guardian_is_refused(site):
    site.open_sql()
    site.execute("UPDATE guardian_catalog_version SET version_num = '9999'")
    with pytest.raises(CatalogError, match="newer guardian") as caught:
        site.open_sql()
    assert "upgrade guardian" in str(caught.value)


def test_a_catalog_that_is_not_there_is_not_made_unasked(site):
    with pytest.raises(CatalogError, match="not there"):
        open_catalog(site.url, clock=site.clock, is_alive=site.alive.get, create=False)
    if site.kind == "sqlite":
        assert not Path(site.url.removeprefix("sqlite:///")).parent.exists()
    site.open_sql()
    open_catalog(site.url, clock=site.clock, is_alive=site.alive.get, create=False).close()


def test_other_tables_in_the_same_database_are_left_alone(site):
    if site.kind == "sqlite":
        Path(site.url.removeprefix("sqlite:///")).parent.mkdir()
    site.execute("CREATE TABLE alembic_version (version_num text)")
    site.execute("INSERT INTO alembic_version VALUES ('of the app')")
    site.execute("CREATE TABLE events (x integer)")
    catalog = site.open_sql()
    assert list(catalog.events()) == []
    site.open_sql()


def test_sqlite_is_set_up_to_be_safe(tmp_path):
    site = make_site("sqlite", tmp_path, lambda: pytest.fail("no"))
    catalog = site.open_sql()
    file = tmp_path / "state" / "catalog.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with catalog._database.writing() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
        assert stat.S_IMODE(Path(f"{file}-wal").stat().st_mode) == 0o600
    assert pragma == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 2,
        "busy_timeout": 10_000,
    }
    site.close()


def test_readers_and_a_writer_do_not_wait_for_each_other(tmp_path):
    site = make_site("sqlite", tmp_path, lambda: pytest.fail("no"))
    catalog = site.open_sql()
    with catalog._database.writing():
        assert list(catalog.backups()) == []
    site.close()


def test_a_list_is_made_with_two_queries_however_long(site):
    catalog = site.open_sql()
    fill(catalog, 50, [MAIN])
    seen: list[str] = []
    event.listen(
        catalog._database.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_: seen.append(statement),
    )
    assert len(catalog.backups()) == 50
    assert catalog.backups(limit=1)[0].id == backup_id(49)
    assert len([one for one in seen if one.startswith("SELECT")]) == 4


def test_the_wheel_carries_the_migrations():
    import setuptools  # type: ignore[import-untyped]

    packages = setuptools.find_packages(str(schema.MIGRATIONS.parents[3]), include=["guardian*"])
    assert "guardian.adapters.catalog.migrations.versions" in packages
    assert (schema.MIGRATIONS / "script.py.mako").is_file()
