"""Vitals that need a server of their own: a failing archive, damaged pages, a standby."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from support.postgres import TEST_SETTINGS, PostgresServer, Role, installation
from support.standby import standby_of

from guardian.adapters.postgres.vitals import read_server_vitals
from guardian.adapters.scratch.cluster import ClusterOptions
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.watch.vitals import Reading, Severity, Unknown

FreshRole = Callable[..., Role]
MAJORS = {15: False, 16: True, 18: True}
"""And whether it comes from the wheel."""


def one(connection: psycopg.Connection, name: str) -> Reading | Unknown:
    (found,) = [each for each in read_server_vitals(connection) if each.name == name]
    return found


def number(connection: psycopg.Connection, name: str) -> Reading:
    found = one(connection, name)
    assert isinstance(found, Reading), found
    return found


def until(look: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that comes soon on its own."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come")
        time.sleep(0.05)


@pytest.fixture(scope="module", params=sorted(MAJORS))
def special(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server that archives (or fails to), with data checksums and reserved connections."""
    major: int = request.param
    settings = TEST_SETTINGS | {
        "archive_mode": "on",
        "archive_command": "true",
        "superuser_reserved_connections": "4",
        **({"reserved_connections": "6"} if major >= 16 else {}),
    }
    bindir = installation(major, from_wheel=MAJORS[major]).bindir
    cluster = ClusterOptions(data_checksums=True)
    with EmbeddedServer(bindir, settings=settings, cluster=cluster) as server:
        yield server


@contextmanager
def connected(server: EmbeddedServer, user: str | None = None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.dsn(user=user), autocommit=True) as connection:
        yield connection


def archive_with(connection: psycopg.Connection, command: str) -> None:
    connection.execute(
        psycopg.sql.SQL("ALTER SYSTEM SET archive_command = {}").format(
            psycopg.sql.Literal(command)
        )
    )
    connection.execute("SELECT pg_reload_conf()")


def finish_wal(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
    connection.execute("SELECT pg_switch_wal()")


def test_connections_are_counted_without_the_reserved_ones(special: EmbeddedServer) -> None:
    with connected(special) as look, connected(special):
        reserved = 10 if special.major >= 16 else 4
        found = number(look, "connections")
        assert found.detail == f"2 of {60 - reserved}"
        assert found.value == pytest.approx(200 / (60 - reserved))


@pytest.mark.parametrize("command", ["false", "while [ -e hang ]; do sleep 0.1; done"])
def test_an_archiver_that_fails_or_hangs(special: EmbeddedServer, command: str) -> None:
    hang = special.data_dir / "hang"
    hang.touch()
    with connected(special) as look:
        look.execute("CREATE ROLE blind LOGIN")
        try:
            until(lambda: number(look, "archiver").detail == "no WAL waits for the archive")
            archive_with(look, command)
            finish_wal(look)
            until(lambda: number(look, "archiver").value > 1)
            if command == "false":
                until(lambda: "failed" in number(look, "archiver").detail)
            found = number(look, "archiver")
            assert found.detail.startswith("1 WAL files wait")
            with connected(special, "blind") as blind:
                hidden = one(blind, "archiver")
            if command == "false":  # seen by everybody, though not since when
                assert isinstance(hidden, Reading)
                assert hidden.at_least is Severity.WARNING
                assert "GRANT pg_monitor TO blind;" in hidden.detail
            else:
                assert isinstance(hidden, Unknown)
                assert hidden.mend == "GRANT pg_monitor TO blind;"
        finally:
            archive_with(look, "true")
            look.execute("DROP ROLE blind")
            hang.unlink()
        until(lambda: number(look, "archiver").detail == "no WAL waits for the archive")


def test_a_damaged_page_is_counted(special: EmbeddedServer) -> None:
    with connected(special) as look:
        assert number(look, "checksum_failures").detail == "no page failed its checksum"
        look.execute("CREATE TABLE damaged AS SELECT generate_series(1, 1000) AS id")
        row = look.execute("SELECT pg_relation_filepath('damaged')").fetchone()
    assert row is not None
    special.stop()
    damage(special.data_dir / row[0])
    special.start()
    with connected(special) as look:
        with pytest.raises(psycopg.errors.DataCorrupted):
            look.execute("SELECT count(*) FROM damaged")
        until(lambda: number(look, "checksum_failures").value > 0)
        found = number(look, "checksum_failures")
        assert found.value == 1
        assert found.detail.startswith("1 in postgres, the last ")
        look.execute("DROP TABLE damaged")


def damage(file: Path) -> None:
    with file.open("r+b") as pages:
        pages.seek(4000)
        pages.write(b"\xff" * 16)


def test_a_replica_that_lags(pg: PostgresServer, fresh_role: FreshRole) -> None:
    blind = fresh_role(pg)
    with standby_of(pg) as dsn, pg.connect() as primary:
        with psycopg.connect(dsn, autocommit=True) as standby:
            until(lambda: one(primary, "replica_lag").subject == "replica second")
            primary.execute("CREATE TABLE seed ()")
            seed = "SELECT to_regclass('seed') IS NOT NULL"
            until(lambda: standby.execute(seed).fetchone() == (True,))
            until(
                lambda: (
                    isinstance(one(standby, "replica_lag"), Reading)
                    and number(standby, "replica_lag").detail == "it has replayed all it got"
                )
            )
            with pg.connect(role=blind) as eyes:
                hidden = one(eyes, "replica_lag")
                assert isinstance(hidden, Unknown)
                assert hidden.mend == f"GRANT pg_monitor TO {blind.name};"

            standby.execute("SELECT pg_wal_replay_pause()")
            paused = "SELECT pg_get_wal_replay_pause_state()"
            until(lambda: standby.execute(paused).fetchone() == ("paused",))
            primary.execute("CREATE TABLE ballast AS SELECT repeat('x', 1000)")
            until(lambda: number(standby, "replica_lag").detail == "replay is paused")
            assert number(standby, "replica_lag").value > 0
            until(lambda: "behind" in getattr(one(primary, "replica_lag"), "detail", ""))

            standby.execute("SELECT pg_wal_replay_resume()")
            until(lambda: number(standby, "replica_lag").detail == "it has replayed all it got")

            # The stream ends: all that came is replayed, and yet it is not up to date.
            standby.execute("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
            standby.execute("SELECT pg_reload_conf()")
            until(lambda: "not connected to its primary" in number(standby, "replica_lag").detail)
            until(lambda: one(primary, "replica_lag").subject is None)
            assert number(primary, "replica_lag").detail == "no replica is connected"
            names = {each.name for each in read_server_vitals(standby)}
            unknown = {e.name for e in read_server_vitals(standby) if isinstance(e, Unknown)}
            assert "slot_retained_wal" in names
            assert unknown == {"checksum_failures"}
        primary.execute("DROP TABLE seed, ballast")
