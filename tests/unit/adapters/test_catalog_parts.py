"""The pure parts of the catalog: column types, URLs, errors, rules."""

from __future__ import annotations

import errno
import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from guardian.adapters.catalog import failures, rules
from guardian.adapters.catalog.columns import UtcDateTime
from guardian.adapters.catalog.engine import parse_url, place_of
from guardian.errors import CatalogError, Cause
from guardian.model import DatabaseRef, Event, Holder, Lease

SQLITE = sqlite.dialect()
POSTGRES = postgresql.dialect()
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOLDER = Holder("alpha", "boot", 1, "1", "guardian run")
LEASE = Lease("backup:main/mina", "t", HOLDER, NOW, NOW + timedelta(minutes=2))

aware = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the timezone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)


@given(aware)
def test_times_survive_as_text(at):
    text = UtcDateTime().process_bind_param(at, SQLITE)
    assert len(text) == 27
    assert UtcDateTime().process_result_value(text, SQLITE) == at


@given(aware, aware)
def test_times_sort_as_text(one, other):
    bind = UtcDateTime().process_bind_param
    assert (one < other) == (bind(one, SQLITE) < bind(other, SQLITE))


def test_times_are_instants_on_postgres():
    at = NOW.astimezone(timezone(timedelta(hours=2)))
    bound = UtcDateTime().process_bind_param(at, POSTGRES)
    assert (bound, bound.tzinfo) == (NOW, UTC)
    back = UtcDateTime().process_result_value(at, POSTGRES)
    assert back is not None
    assert back.tzinfo is UTC
    assert UtcDateTime().process_bind_param(None, POSTGRES) is None
    assert UtcDateTime().process_result_value(None, POSTGRES) is None


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES])
def test_naive_times_are_refused(dialect):
    with pytest.raises(ValueError, match="timezone"):
        UtcDateTime().process_bind_param(NOW.replace(tzinfo=None), dialect)


@given(st.text(alphabet=st.characters()))
def test_prose_can_be_stored_and_plain_text_stays(text):
    kept = rules.printable(text)
    assert "\0" not in kept
    kept.encode()
    if "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text):
        assert kept == text


@pytest.mark.parametrize(
    ("url", "driver", "place"),
    [
        ("postgresql://u:pa%40ss@db.host:5433/cat", "postgresql+psycopg", "db.host:5433/cat"),
        ("postgres://u:pw@db/cat", "postgresql+psycopg", "db/cat"),
        ("postgresql+psycopg://db/cat", "postgresql+psycopg", "db/cat"),
        ("postgresql:///cat?host=/run/pg", "postgresql+psycopg", "/run/pg/cat"),
        ("postgresql://", "postgresql+psycopg", "localhost/"),
        ("sqlite:////var/lib/g/catalog.db", "sqlite", "/var/lib/g/catalog.db"),
    ],
)
def test_urls_get_our_driver_and_lose_their_password(url, driver, place):
    parsed = parse_url(url)
    assert parsed.drivername == driver
    assert place_of(parsed) == place


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_catalog_in_memory_only_is_refused(url):
    with pytest.raises(CatalogError, match="lost"):
        parse_url(url)


@pytest.mark.parametrize("url", ["s3cret", "postgresql://u:s3cret@h:s3cret/x", ""])
def test_a_url_that_is_none_is_not_repeated(url):
    with pytest.raises(CatalogError) as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def told(error: Exception, secret: str | None = None) -> CatalogError:
    return failures.catalog_error(OperationalError("SELECT", {}, error), "PLACE", secret)


@pytest.mark.parametrize(
    ("code", "words", "cause", "transient"),
    [
        (sqlite3.SQLITE_BUSY, "locked", Cause.LOCKED, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked", Cause.LOCKED, True),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read-only", Cause.PERMISSION, False),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened", Cause.PERMISSION, False),
        (sqlite3.SQLITE_FULL, "no room", Cause.DISK_FULL, False),
        (sqlite3.SQLITE_IOERR_WRITE, "cannot grow", Cause.DISK_FULL, False),
        (sqlite3.SQLITE_IOERR_READ, "disk fails", Cause.UNKNOWN, False),
        (sqlite3.SQLITE_CORRUPT, "damaged", Cause.UNKNOWN, False),
        (sqlite3.SQLITE_NOTADB, "not a catalog", Cause.UNKNOWN, False),
        (sqlite3.SQLITE_ERROR, "cannot be used", Cause.UNKNOWN, False),
    ],
)
def test_sqlite_errors_are_told(code, words, cause, transient):
    error = sqlite3.OperationalError("detail of it")
    error.sqlite_errorcode = code
    found = told(error)
    assert found.message.startswith("catalog PLACE ")
    assert words in found.message
    assert "(detail of it)" in found.message
    assert (found.cause, found.transient) == (cause, transient)


@pytest.mark.parametrize(
    ("state", "text", "words", "cause", "transient"),
    [
        (None, "connection refused", "reached", Cause.CONNECTION, True),
        (None, "password authentication failed for user x", "login", Cause.PERMISSION, False),
        (None, "no pg_hba.conf entry for host", "login", Cause.PERMISSION, False),
        (None, 'role "x" does not exist', "login", Cause.PERMISSION, False),
        (None, 'database "x" does not exist', "does not exist", Cause.UNKNOWN, False),
        ("08006", "", "reached", Cause.CONNECTION, True),
        ("57P01", "", "reached", Cause.CONNECTION, True),
        ("28P01", "", "login", Cause.PERMISSION, False),
        ("42501", "", "forbids", Cause.PERMISSION, False),
        ("25006", "", "read-only", Cause.PERMISSION, False),
        ("53100", "", "no room", Cause.DISK_FULL, False),
        ("53300", "", "out of resources", Cause.UNKNOWN, True),
        ("55P03", "", "locked", Cause.LOCKED, True),
        ("57014", "", "slow", Cause.TIMEOUT, True),
        ("40P01", "", "conflict", Cause.LOCKED, True),
        ("XX001", "", "damaged", Cause.UNKNOWN, False),
        ("22P02", "", "cannot be used", Cause.UNKNOWN, False),
    ],
)
def test_postgres_errors_are_told(state, text, words, cause, transient):
    error = psycopg.OperationalError(text)
    error.sqlstate = state
    found = told(error)
    assert words in found.message
    assert (found.cause, found.transient) == (cause, transient)


def test_other_errors_are_told_without_the_password():
    assert "s3cret" not in str(told(psycopg.OperationalError("s3cret\nand more"), "s3cret"))
    assert failures.catalog_error(PoolTimeout(), "PLACE").transient
    assert "PLACE" in failures.catalog_error(SQLAlchemyError("x"), "PLACE").message


def test_folder_errors_are_told():
    full = failures.folder_error(OSError(errno.ENOSPC, "x"), "PLACE")
    assert (full.cause, "room" in str(full.mend)) == (Cause.DISK_FULL, True)
    denied = failures.folder_error(OSError(errno.EACCES, "x"), "PLACE")
    assert denied.cause is Cause.PERMISSION
    assert "Permission denied" in denied.message


@pytest.mark.parametrize(
    ("minutes", "alive", "free", "live"),
    [
        (0, None, False, True),
        (0, True, False, True),
        (0, False, True, False),
        (2, None, True, False),
        (2, True, True, True),
        (2, False, True, False),
    ],
)
def test_who_may_take_and_who_still_works(minutes, alive, free, live):
    at = NOW + timedelta(minutes=minutes)
    assert rules.is_free(LEASE, at, lambda _: alive) is free
    assert rules.is_live(LEASE, at, lambda _: alive) is live


def test_the_refused_hear_what_who_and_since_when():
    error = rules.refusal(LEASE)
    assert error.message == (
        "backup:main/mina is already running: guardian run (pid 1 on alpha),"
        " since 2026-11-23 02:00:00 UTC"
    )
    assert "2026-11-23 02:02:00 UTC" in str(error)
    assert error.exit_code == 4


def test_events_are_kept_in_utc_with_their_server():
    at = NOW.astimezone(timezone(timedelta(hours=2)))
    event = rules.settled(Event(at, "x", "y", DatabaseRef("main", "mina")))
    assert (event.at.tzinfo, event.server) == (UTC, "main")
