"""A catalog that cannot be used says which, why, and what to do; and works again afterwards."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.catalogs import MAIN, START, CatalogSite, backup_id, holder, manifest, stored
from support.identity import in_a_child
from support.proxy import BreakableProxy

from guardian.adapters.catalog import leases
from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.catalog.engine import Database
from guardian.backup.lease import LeaseKeeper
from guardian.errors import CatalogError, Cause, ManifestError
from guardian.model import Event
from guardian.testing import FakeClock

EVENT = Event(START, "test", "something happened")


_opened: list[SqlCatalog] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def open_at(url: str, **options: Any) -> SqlCatalog:
    _opened.append(open_catalog(url, clock=FakeClock(START), is_alive=lambda _: None, **options))
    return _opened[-1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(file: Path) -> SqlCatalog:
    return open_at(f"sqlite:///{file}", busy_timeout=timedelta(seconds=0.2))


# --- SQLite ---


@pytest.mark.needs_root
def test_a_file_that_we_may_only_read(tmp_path, file):
    open_at(f"sqlite:///{file}").close()
    tmp_path.chmod(0o755)
    file.chmod(0o644)
    for parent in file.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)

    def use() -> None:
        with pytest.raises(CatalogError) as caught:
            open_at(f"sqlite:///{file}").record_event(EVENT)
        assert str(file) in caught.value.message
        assert caught.value.cause is Cause.PERMISSION
        assert "user that guardian runs as" in str(caught.value)

    in_a_child("nobody", use)


@pytest.mark.needs_root
def test_a_folder_that_we_may_not_write_to(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)

    def use() -> None:
        for place in (folder / "catalog.db", folder / "new" / "catalog.db"):
            with pytest.raises(CatalogError, match="Permission denied") as caught:
                open_at(f"sqlite:///{place}")
            assert str(place) in caught.value.message
            assert caught.value.cause is Cause.PERMISSION
            assert "state_dir" in str(caught.value)

    in_a_child("nobody", use)
    assert list(folder.iterdir()) == []


def test_a_folder_where_the_file_should_be(tmp_path):
    with pytest.raises(CatalogError, match="cannot be opened"):
        open_at(f"sqlite:///{tmp_path}")


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "state").touch()
    with pytest.raises(CatalogError, match="state"):
        open_at(f"sqlite:///{tmp_path}/state/catalog.db")


FULL = """
import sys
from datetime import UTC, datetime
from guardian.adapters.catalog.catalog import open_catalog
from guardian.errors import CatalogError
from guardian.model import Event
from guardian.testing import FakeClock

catalog = open_catalog(sys.argv[1], clock=FakeClock(), is_alive=lambda holder: None)
written = 0
try:
    for _ in range(10_000):
        catalog.record_event(Event(datetime.now(UTC), "fill", "x" * 10_000))
        written += 1
except CatalogError as error:
    import json
    print(json.dumps([written, str(error), error.cause]))
"""


def test_a_full_disk_is_told_and_harms_nothing(file):
    url = f"sqlite:///{file}"
    catalog = open_at(url)
    catalog.commit_backup(manifest(backup_id(1)), stored("local"))
    catalog.close()
    limit = file.stat().st_size + 500_000
    done = subprocess.run(
        [sys.executable, "-c", FULL, url],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    written, message, cause = json.loads(done.stdout)
    assert written > 0
    assert str(file) in message
    assert "room" in message
    assert cause == "disk_full"
    catalog = open_at(url)
    assert [one.id for one in catalog.backups()] == [backup_id(1)]
    assert len(catalog.events(limit=10_000)) == written
    catalog.record_event(EVENT)
    catalog.close()


def test_a_full_disk_at_the_first_start_is_told(file):
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"sqlite:///{file}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("guardian.errors.CatalogError: catalog")
    assert str(file) in last
    open_at(f"sqlite:///{file}").close()


def test_a_writer_that_does_not_end_is_told_and_afterwards_all_is_well(file, catalog):
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogError, match="locked by another process") as caught:
        catalog.record_event(EVENT)
    assert caught.value.transient
    assert caught.value.cause is Cause.LOCKED
    assert str(file) in caught.value.message
    assert list(catalog.backups()) == []  # reading goes on
    with pytest.raises(CatalogError, match="locked"):
        catalog.acquire("x", holder(), timedelta(minutes=1))
    other.execute("ROLLBACK")
    other.close()
    catalog.record_event(EVENT)
    assert len(catalog.events()) == 1


def test_turning_to_wal_waits_for_another_writer(file, monkeypatch):
    """SQLite itself does not wait there, whatever its busy timeout."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("CREATE TABLE other (x)")
    other.execute("BEGIN IMMEDIATE")
    url = f"sqlite:///{file}"
    with pytest.raises(CatalogError, match="locked"):
        open_at(url, busy_timeout=timedelta(0))

    def end_it(_seconds: float) -> None:
        if other.in_transaction:
            other.execute("COMMIT")

    monkeypatch.setattr(time, "sleep", end_it)
    assert list(open_at(url).backups()) == []
    other.close()


def test_the_lease_outlives_a_catalog_that_is_locked_for_a_while(file, catalog):
    keeper = LeaseKeeper(catalog, "x", holder(), timedelta(hours=1))
    with keeper:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        keeper.beat()
        assert not keeper.lost.is_set()
        other.execute("ROLLBACK")
        other.close()
        keeper.beat()
        assert not keeper.lost.is_set()
    assert list(catalog.leases()) == []


def test_a_file_that_is_no_catalog(file):
    file.write_text("servers: {}\n" * 500)
    with pytest.raises(CatalogError, match="not a catalog") as caught:
        open_at(f"sqlite:///{file}")
    assert str(file) in caught.value.message
    assert "catalog rebuild" in str(caught.value)
    assert file.read_text().startswith("servers")


def test_a_damaged_file(file):
    catalog = open_at(f"sqlite:///{file}")
    for number in range(60):
        catalog.commit_backup(manifest(backup_id(number)), stored("local"))
    catalog.close()
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xa5" * (size - 4096))
    with pytest.raises(CatalogError, match="damaged") as caught:
        open_at(f"sqlite:///{file}").backups()
    assert "catalog rebuild" in str(caught.value)


def test_a_damaged_manifest_in_the_catalog_is_told(file, catalog):
    catalog.commit_backup(manifest(backup_id(1)), stored("local"))
    with sqlite3.connect(file) as other:
        other.execute("UPDATE guardian_manifests SET manifest = '{'")
    other.close()
    with pytest.raises(ManifestError):
        catalog.manifest(backup_id(1))


def test_a_migration_that_is_killed_leaves_the_catalog_as_it_was(file):
    code = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from guardian.adapters.catalog.catalog import open_catalog
from guardian.testing import FakeClock

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if "guardian_proofs" in statement:
        os.kill(os.getpid(), 9)

open_catalog(sys.argv[1], clock=FakeClock(), is_alive=lambda holder: None)
"""
    url = f"sqlite:///{file}"
    done = subprocess.run([sys.executable, "-c", code, url], check=False)
    assert done.returncode == -9
    tables = sqlite3.connect(file)
    assert tables.execute("SELECT name FROM sqlite_master").fetchall() == []
    tables.close()
    assert list(open_at(url).backups()) == []


def test_a_write_that_is_killed_is_not_there(file, catalog):
    catalog.commit_backup(manifest(backup_id(1)), stored("local"))
    code = """
import os, sys
sys.path.insert(0, sys.argv[2])
from sqlalchemy import event
from sqlalchemy.engine import Engine
from support.catalogs import backup_id, manifest, stored
from guardian.adapters.catalog.catalog import open_catalog
from guardian.testing import FakeClock

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.startswith("INSERT INTO guardian_copies"):
        os.kill(os.getpid(), 9)

catalog = open_catalog(sys.argv[1], clock=FakeClock(), is_alive=lambda holder: None)
catalog.commit_backup(manifest(backup_id(2)), stored("local"))
"""
    tests = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code, f"sqlite:///{file}", tests], check=False)
    assert done.returncode == -9
    assert [one.id for one in catalog.tries()] == [backup_id(1)]
    catalog.record_event(EVENT)


# --- PostgreSQL ---


@pytest.fixture
def proxied(pg15, fresh_database) -> Iterator[tuple[BreakableProxy, str]]:
    """A PostgreSQL catalog behind a proxy that can be broken."""
    uri = fresh_database(pg15).uri()
    with BreakableProxy("127.0.0.1", pg15.port) as proxy:
        yield proxy, uri.replace(f":{pg15.port}/", f":{proxy.port}/")


def password_of(url: str) -> str:
    return url.split("@", 1)[0].rsplit(":", 1)[1]


def test_a_server_that_goes_away_and_comes_back(proxied):
    proxy, url = proxied
    catalog = open_at(url)
    catalog.record_event(EVENT)
    proxy.cut()
    for use in (catalog.events, lambda: catalog.record_event(EVENT)):
        with pytest.raises(CatalogError, match="cannot be reached") as caught:
            use()
        assert caught.value.transient
        assert caught.value.cause is Cause.CONNECTION
        assert f"127.0.0.1:{proxy.port}/" in caught.value.message
        assert password_of(url) not in str(caught.value)
    proxy.mend()
    catalog.record_event(EVENT)
    assert len(catalog.events()) == 2
    catalog.close()


def test_connections_that_died_in_the_pool_are_replaced_unseen(proxied):
    proxy, url = proxied
    catalog = open_at(url)
    proxy.cut(refuse=False)
    proxy.mend()
    assert list(catalog.events()) == []
    catalog.close()


def test_a_server_that_is_not_there(proxied):
    proxy, url = proxied
    proxy.cut()
    with pytest.raises(CatalogError, match="cannot be reached") as caught:
        open_at(url)
    assert password_of(url) not in str(caught.value)


def test_a_wrong_password_is_told_and_not_repeated(pg15, fresh_database):
    url = fresh_database(pg15).uri()
    wrong = url.replace(password_of(url), "wr0ng-pa55")
    with pytest.raises(CatalogError, match="refuses our login") as caught:
        open_at(wrong)
    assert "wr0ng-pa55" not in str(caught.value)


def test_a_database_that_does_not_exist(pg15):
    with pytest.raises(CatalogError, match="does not exist") as caught:
        open_at(pg15.uri("nowhere"))
    assert "create that database" in str(caught.value)


def test_a_role_that_may_not_make_tables(pg15, fresh_database, fresh_role):
    role = fresh_role(pg15)
    with pytest.raises(CatalogError, match="forbids") as caught:
        open_at(fresh_database(pg15).uri(role=role))
    assert "GRANT" in str(caught.value)
    assert caught.value.cause is Cause.PERMISSION


def test_a_server_that_lets_us_only_read(pg15, fresh_database):
    database = fresh_database(pg15)
    catalog = open_at(database.uri())
    catalog.close()
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    catalog = open_at(database.uri())
    assert list(catalog.backups()) == []
    with pytest.raises(CatalogError, match="read-only") as caught:
        catalog.record_event(EVENT)
    assert "primary" in str(caught.value)
    catalog.close()


def test_a_row_that_another_transaction_holds_for_too_long(pg15, fresh_database):
    database = fresh_database(pg15)
    catalog = open_at(database.uri(), busy_timeout=timedelta(seconds=0.2))
    lease = catalog.acquire("x", holder(), timedelta(minutes=1))
    with database.connect() as other, other.transaction():
        other.execute("SELECT * FROM guardian_leases FOR UPDATE")
        with pytest.raises(CatalogError, match="locked for too long") as caught:
            catalog.renew(lease, timedelta(minutes=1))
        assert caught.value.transient
    catalog.renew(lease, timedelta(minutes=1))
    catalog.close()


def test_recovery_waits_for_a_renewal_that_is_under_way(pg15, fresh_database):
    """A lapsed lease that is being renewed right now is live: its run must not be marked."""
    url = fresh_database(pg15).uri()
    site = CatalogSite("postgres", url)
    catalog = open_at(url)
    lease = catalog.acquire("x", holder(), timedelta(minutes=2))
    catalog.begin_backup(backup_id(1), MAIN, START, lease)
    site.turn(timedelta(minutes=5))
    database: Database = catalog._database
    found: list[object] = []
    with database.writing() as connection:
        leases.prolong(connection, lease, timedelta(minutes=2), now=database.now)
        thread = threading.Thread(target=lambda: found.append(catalog.recover_runs(START)))
        thread.start()
        while not _somebody_waits(url):
            time.sleep(0.02)
    thread.join()
    assert found == [[]]
    catalog.renew(lease, timedelta(minutes=2))


def _somebody_waits(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
    return row is not None and row[0] > 0


# --- neither ---


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://u:s3cret@h/x", "not installed"),
        ("nosuch://u:s3cret@h/x", "no database of kind"),
        ("postgresql+nosuch://u:s3cret@h/x", "no database of kind"),
    ],
)
def test_databases_that_we_cannot_speak_to(url, words):
    with pytest.raises(CatalogError, match=words) as caught:
        open_at(url)
    assert "s3cret" not in str(caught.value)
