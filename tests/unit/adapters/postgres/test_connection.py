from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from guardian.adapters.postgres.connection import Connector
from guardian.errors import (
    ConfigError,
    ConnectionFailedError,
    GuardianError,
    LockedError,
    PermissionDeniedError,
    TimedOutError,
)

SECRET = r"p@ss:w\ord 'x'  ä"
DSN = "host=db.example port=5433 user=me dbname=mina"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("PG"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "dsn",
    [
        *("postgresql://me:s3cret@h/%zz", "host=h password=s3cret nonsense", "s3cret"),
        *("postgresql://me:s3cret@[::1/x", "password='s3cret", "postgres//me:s3cret@h/x"),
    ],
)
def test_a_bad_dsn_is_never_echoed(dsn: str) -> None:
    with pytest.raises(ConfigError, match=r"servers\.main\.dsn") as raised:
        Connector("main", dsn)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("bad", ["a\nb", "a\r", "a\n"])
@pytest.mark.parametrize("place", ["password", "sslpassword"])
def test_a_secret_of_two_lines_is_refused(bad: str, place: str) -> None:
    with pytest.raises(ConfigError, match="more than one line") as raised:
        Connector("main", psycopg.conninfo.make_conninfo(DSN, **{place: bad}))
    assert "a" not in str(raised.value).partition("holds")[2].replace("than", "")


def test_nothing_shows_a_secret() -> None:
    connector = Connector("main", f"{DSN} sslpassword=key-secret", password="secret")
    assert "secret" not in repr(connector) + str(connector) + connector.where
    assert connector.where == "db.example:5433"
    # One is part of the other: neither may leave a piece behind.
    assert connector.scrub("key-secret, secret") == "********, ********"


def test_a_password_with_two_spaces_is_scrubbed_before_spaces_are_joined() -> None:
    connector = Connector("main", DSN, password=SECRET)
    error = connector.translate(psycopg.OperationalError(f"failed with {SECRET}"))
    assert "ord" not in str(error)


@pytest.mark.parametrize(
    ("dsn", "environment", "expected"),
    [
        (DSN, {"PGDATABASE": "other"}, "mina"),
        ("user=me", {"PGDATABASE": "other"}, "other"),
        ("user=me", {"PGUSER": "you"}, "me"),
        ("host=h", {"PGUSER": "you"}, "you"),
        ("host=h", {"USER": "login"}, "login"),
    ],
)
def test_the_default_database(monkeypatch, dsn: str, environment: dict, expected: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Connector("main", dsn).default_database == expected


@pytest.mark.parametrize("password", [SECRET, ":", "\\", "\\:", "*", "#", " a ", "🐘"])
def test_a_tool_gets_the_password_in_memory_only(password: str) -> None:
    connector = Connector("main", DSN, password=password)
    marked = Connector("main", DSN, password=f"{password}-mark")
    with marked.tool_access("other", "dump") as access:
        shown = access.conninfo + repr(dict(access.environ))
        assert "-mark" not in shown
        assert "PGPASSWORD" not in access.environ
    with connector.tool_access("other", "dump") as access:
        parameters = conninfo_to_dict(access.conninfo)
        assert parameters["dbname"] == "other"
        assert parameters["application_name"] == "guardian dump"
        (descriptor,) = access.pass_fds
        assert parameters["passfile"] == f"/proc/self/fd/{descriptor}"
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        line = Path(f"/proc/self/fd/{descriptor}").read_text(encoding="utf-8")
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        assert line == f"*:*:*:*:{escaped}\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_other_secrets_travel_in_a_service_file_in_memory() -> None:
    connector = Connector("main", f"{DSN} sslpassword=key-secret", password="secret")
    with connector.tool_access(None, "dump") as access:
        assert "secret" not in access.conninfo + repr(dict(access.environ))
        assert len(access.pass_fds) == 2
        service = Path(access.environ["PGSERVICEFILE"]).read_text(encoding="utf-8")
        assert service == "[guardian]\nsslpassword=key-secret\n"
        assert conninfo_to_dict(access.conninfo)["service"] == "guardian"


def test_descriptors_are_closed_when_the_block_raises() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as cheap as can be
    with pytest.raises(KeyError), Connector("m", DSN, password="x").tool_access(None, "dump"):
        raise KeyError
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_only_known_variables_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret@h/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("PGSSLMODE", "require")
    with Connector("m", DSN, password="x").tool_access(None, "dump") as access:
        assert "secret" not in repr(dict(access.environ))
        assert (access.environ["PGSSLMODE"], access.environ["LC_ALL"]) == ("require", "C")


def test_without_a_password_nothing_is_made_up() -> None:
    with Connector("m", DSN).tool_access(None, "dump") as access:
        assert access.pass_fds == ()
        assert "passfile" not in conninfo_to_dict(access.conninfo)


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (psycopg.errors.InsufficientPrivilege("no"), PermissionDeniedError, False),
        (psycopg.OperationalError('permission denied for database "x"'), PermissionDeniedError, 0),
        (psycopg.OperationalError("password authentication failed"), ConnectionFailedError, False),
        (psycopg.OperationalError('database "x" does not exist'), ConnectionFailedError, False),
        (psycopg.OperationalError("it broke"), ConnectionFailedError, True),
        (psycopg.DatabaseError("server closed the connection"), ConnectionFailedError, True),
        (psycopg.InterfaceError("the connection is closed"), ConnectionFailedError, True),
        (psycopg.errors.AdminShutdown("terminating"), ConnectionFailedError, True),
        (psycopg.errors.QueryCanceled("statement timeout"), TimedOutError, True),
        (psycopg.errors.DiskFull("no space"), GuardianError, False),
        (psycopg.errors.OutOfMemory("out of memory"), GuardianError, True),
        (psycopg.errors.SerializationFailure("conflict with recovery"), GuardianError, True),
        (psycopg.errors.IoError("could not read block 0"), GuardianError, True),
        (psycopg.errors.DataCorrupted("invalid page"), GuardianError, False),
        (psycopg.ProgrammingError("our own mistake"), GuardianError, False),
        (psycopg.errors.LockNotAvailable("lock"), LockedError, True),
        (psycopg.errors.DeadlockDetected("deadlock"), LockedError, True),
    ],
)
def test_what_errors_mean(error: psycopg.Error, kind: type, transient: bool) -> None:
    found = Connector("main", DSN).translate(error, "mina\nx")
    assert type(found) is kind
    assert found.transient == transient
    assert "server main (db.example:5433)" in str(found)
    assert "\n" not in str(found)


CLOSED = """consuming input failed: server closed the connection unexpectedly
\tThis probably means the server terminated abnormally
\tbefore or while processing the request."""


@pytest.mark.parametrize("kind", [psycopg.OperationalError, psycopg.DatabaseError])
def test_a_server_that_goes_is_told_in_our_words(kind: type[psycopg.Error]) -> None:
    told = str(Connector("main", DSN).translate(kind(CLOSED), "mina"))
    assert told == (
        "database 'mina' on server main (db.example:5433) went away: it closed the connection in "
        "the middle of our work; read the server's log: it was stopped, or crashed; else the "
        "network broke"
    )


def test_a_server_that_was_never_there_did_not_go_away() -> None:
    error = psycopg.OperationalError("connection refused")
    told = str(Connector("main", DSN).translate(error, connecting=True))
    assert "cannot be reached: connection refused" in told


def test_only_a_lost_connection_is_told_as_one() -> None:
    for error in (
        psycopg.errors.QueryCanceled("canceling statement due to statement timeout"),
        psycopg.errors.OutOfMemory("out of memory"),
        psycopg.errors.DiskFull("could not write block"),
    ):
        told = str(Connector("main", DSN).translate(error, "mina"))
        assert "went away" not in told
        assert "reached" not in told
        assert str(error) in told
