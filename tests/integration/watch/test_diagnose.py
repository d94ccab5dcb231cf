"""``guardian diagnose`` as people call it: whole, blind, without a server, on 80 columns."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.clients import Crowd
from support.ports import free_port
from support.postgres import Database, PostgresServer, Role, installation, running_server
from support.site import Site
from support.terminal import Terminal, plain, too_wide

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]

SECTIONS = (
    *("facts", "connections", "long_transactions", "locks", "slow_queries", "databases"),
    *("replication", "backups"),
)


@pytest.fixture(params=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database(server: PostgresServer, fresh_database: FreshDatabase) -> Database:
    found = fresh_database(server)
    found.execute(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int) WITH (autovacuum_enabled = off)",
        "INSERT INTO accounts SELECT n, 0 FROM generate_series(1, 5000) n",
    )
    found.execute("ANALYZE accounts")
    found.execute("DELETE FROM accounts WHERE id > 2000")
    return found


@pytest.fixture
def crowd(database: Database, server: PostgresServer, fresh_role: FreshRole) -> Iterator[Crowd]:
    found = Crowd(database, fresh_role(server))
    yield found
    found.close()


def diagnose(site: Site, *words: str, code: int = 0) -> dict[str, Any]:
    outcome = site.run_here("diagnose", *words, "--json")
    outcome.assert_clean()
    assert outcome.code == code, outcome.err
    document: dict[str, Any] = outcome.json
    return document


def test_everything_in_one_document(
    database: Database, crowd: Crowd, server: PostgresServer, tmp_path: Path
) -> None:
    root = crowd.holder(1, "holder")
    waiter = crowd.waiter(1, "waiter")
    site = Site(tmp_path / "site", database.uri())
    site.server = {"vitals": {"idle_in_transaction": ["1ms", "30m"]}}
    document = diagnose(site, "main")
    assert set(document) == {"at", "servers"}
    (report,) = document["servers"]
    assert (report["server"], report["reachable"], report["problem"]) == ("main", True, None)
    assert all(report[name]["known"] for name in SECTIONS if name != "slow_queries")
    assert report["facts"]["version_num"] // 10000 == server.major
    assert report["facts"]["role"] == "postgres"
    states = {one["state"]: one["count"] for one in report["connections"]["by_state"]}
    assert states["idle in transaction"] == 1
    assert states["active"] >= 2
    clients = {one["application"]: one for one in report["connections"]["by_client"]}
    assert clients["holder"]["idle_in_transaction"] == 1
    open_ones = report["long_transactions"]["rows"]
    assert [one["pid"] for one in open_ones] == [root.pid, waiter.pid]
    (tree,) = report["locks"]["rows"]
    assert (tree["pid"], tree["blocks"][0]["pid"]) == (root.pid, waiter.pid)
    (slow,) = report["slow_queries"]["notes"]
    assert "pg_stat_statements" in slow["text"]
    assert "CREATE EXTENSION pg_stat_statements" in slow["mend"]
    (contents,) = report["contents"]
    (table,) = contents["tables"]["rows"]
    assert (table["name"], table["dead_rows"]) == ("public.accounts", 3000)
    assert table["hint"] == "VACUUM (ANALYZE) public.accounts;"
    assert contents["indexes"]["rows"][0]["name"] == "public.accounts_pkey"
    own = [one for one in report["databases"]["rows"] if one["name"] == database.name]
    assert own[0]["cache_hit_percent"] > 0
    vitals = {one["vital"]: one for one in report["vitals"]}
    assert set(vitals) >= {"connections", "lock_wait", "disk", "backup_age", "size_drop"}
    idle = vitals["idle_in_transaction"]
    assert (idle["severity"], idle["bound"]) == ("warning", 0.001)
    assert f"SELECT pg_terminate_backend({root.pid});" in idle["mend"]
    assert vitals["checksum_failures"]["severity"] == "unknown"
    (disk,) = report["disks"]
    assert disk["used_for"] == ["state_dir", "store local", "scratch"]
    assert 0 < disk["used_percent"] < 100
    (backup,) = report["backups"]["rows"]
    assert (backup["database"], backup["last_backup"]) == (database.name, None)
    assert (root.fate(), waiter.is_waiting()) == (None, True)


def test_it_fits_into_80_columns(database: Database, crowd: Crowd, tmp_path: Path) -> None:
    crowd.holder(1, "an application with a very long name, longer than sixty-three bytes")
    crowd.waiter(1, "waiter")
    database.execute(
        f'CREATE TABLE "{"n" * 60}" (id int PRIMARY KEY)',
        f'CREATE TABLE "{"ウェブ" * 7}" (id int PRIMARY KEY)',
    )
    site = Site(tmp_path / "site", database.uri())
    site.write()
    environ = {key: value for key, value in site.environment.items() if key != "NO_COLOR"}
    terminal = Terminal(site.command("diagnose", "--top", "3"), environ)
    try:
        assert terminal.finish() == 0
    finally:
        terminal.close()
    assert not too_wide(terminal.text)
    shown = plain(terminal.text)
    for title in (
        *("Vitals", "Connections", "Locks", "Open transactions", "Slow queries", "Databases"),
        *(f"Largest tables of {database.name}", f"Largest indexes of {database.name}"),
        *("Replication", "Disk on this host", "Last backups"),
    ):
        assert f"\r\n{title}" in shown
    assert "\x1b[" in terminal.text
    assert "mend: VACUUM (ANALYZE) public.accounts;" in shown
    assert "ウェブ" in shown


def test_top_limits_each_list(database: Database, crowd: Crowd, tmp_path: Path) -> None:
    for place in range(3):
        crowd.in_transaction(f"app {place}")
        database.execute(f"CREATE TABLE t{place} (id int PRIMARY KEY)")
    report = diagnose(Site(tmp_path / "site", database.uri()), "--top", "2")["servers"][0]
    assert len(report["connections"]["by_client"]) == 2
    assert len(report["long_transactions"]["rows"]) == 2
    assert len(report["contents"][0]["tables"]["rows"]) == 2
    assert len(report["contents"][0]["indexes"]["rows"]) == 2


def test_a_role_without_any_grant(
    database: Database, crowd: Crowd, server: PostgresServer, fresh_role: FreshRole, tmp_path: Path
) -> None:
    role = fresh_role(server)
    crowd.holder(1, "holder")
    crowd.waiter(1, "waiter")
    site = Site(tmp_path / "site", database.uri(role=role))
    report = diagnose(site)["servers"][0]
    grant = f"GRANT pg_monitor TO {role.name};"
    for name in ("connections", "long_transactions", "locks"):
        (note,) = report[name]["notes"]
        assert "sessions are hidden from" in note["text"]
        assert note["mend"] == grant
    assert report["connections"]["hidden"] == 2
    assert report["locks"]["rows"] == []
    vitals = {one["vital"]: one for one in report["vitals"]}
    assert vitals["idle_in_transaction"]["severity"] == "unknown"
    assert vitals["idle_in_transaction"]["mend"] == grant
    assert report["contents"][0]["tables"]["rows"][0]["name"] == "public.accounts"
    shown = site.run_here("diagnose").out
    assert "nobody that our role may see waits" in shown
    assert shown.count(f"sessions are hidden from {role.name}") >= 1
    assert role.password not in shown


def test_a_server_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    dsn = f"postgresql://me:topsecret@127.0.0.1:{port}/mina"
    site = Site(tmp_path / "site", dsn)
    (report,) = diagnose(site, code=1)["servers"]
    assert not report["reachable"]
    assert "refused" in report["problem"]["text"].lower()
    assert report["problem"]["mend"] == "start the server, or mend host and port in dsn"
    for name in SECTIONS:
        assert report[name]["known"] is (name == "backups")
    assert report["disks"][0]["free_bytes"] > 0
    assert report["backups"]["rows"][0]["database"] == "mina"
    severities = {one["vital"]: one["severity"] for one in report["vitals"]}
    assert severities["connections"] == "unknown"
    assert severities["disk"] == "ok"
    outcome = site.run("diagnose")
    outcome.assert_clean()
    assert outcome.code == 1
    assert outcome.out.startswith("main  cannot be asked\n")
    assert outcome.out.count("the server could not be asked") == 1
    assert "Last backups" in outcome.out
    assert "topsecret" not in json.dumps(report) + outcome.out + outcome.err
    assert site.run_here("diagnose", "nope").code == 2


def test_all_slots_taken(tmp_path: Path) -> None:
    settings = {"max_connections": "6", "superuser_reserved_connections": "2"}
    with running_server(installation(18, from_wheel=True), more=settings) as server:
        role = server.create_role()
        taken: list[psycopg.Connection] = []
        try:
            with contextlib.suppress(psycopg.OperationalError):
                while len(taken) < 7:
                    taken.append(server.connect(role=role))
            assert len(taken) == 4
            site = Site(tmp_path / "site", server.uri(role=role))
            (report,) = diagnose(site, code=1)["servers"]
            assert "remaining connection slots" in report["problem"]["text"]
            assert report["problem"]["mend"].startswith("end idle sessions")
            # A superuser still has a slot, and sees who has taken the others.
            site.dsn = server.uri()
            (report,) = diagnose(site)["servers"]
            (connections,) = [one for one in report["vitals"] if one["vital"] == "connections"]
            assert connections["severity"] == "critical"
            assert report["connections"]["by_client"][0]["count"] == len(taken)
        finally:
            for connection in taken:
                connection.close()


def test_a_database_that_cannot_be_entered(
    pg15: PostgresServer, fresh_database: FreshDatabase, fresh_role: FreshRole, tmp_path: Path
) -> None:
    open_one, closed, role = fresh_database(pg15), fresh_database(pg15), fresh_role(pg15)
    closed.execute(f'REVOKE CONNECT ON DATABASE "{closed.name}" FROM PUBLIC')
    site = Site(tmp_path / "site", open_one.uri(role=role))
    site.server = {"databases": [closed.name, open_one.name]}
    report = diagnose(site)["servers"][0]
    first, second = report["contents"]
    assert (first["tables"]["known"], second["tables"]["known"]) == (False, True)
    assert "permission denied for database" in first["tables"]["notes"][0]["text"]
    sequences = [one for one in report["vitals"] if one["vital"] == "sequences"]
    assert [one["severity"] for one in sequences] == ["unknown", "ok"]


def test_a_damaged_catalog_keeps_only_the_backups_from_being_told(
    pg15: PostgresServer, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", fresh_database(pg15).uri())
    (site.root / "state").mkdir()
    (site.root / "state" / "catalog.db").write_bytes(b"no database, " * 500)
    report = diagnose(site)["servers"][0]
    assert not report["backups"]["known"]
    assert "catalog" in report["backups"]["notes"][0]["text"]
    vitals = {one["vital"]: one["severity"] for one in report["vitals"]}
    assert (vitals["backup_age"], vitals["size_drop"]) == ("unknown", "unknown")
    assert (vitals["connections"], vitals["disk"]) == ("ok", "ok")
    assert report["connections"]["known"]


def test_what_the_next_backups_need_is_told(
    pg15: PostgresServer, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    database = fresh_database(pg15)
    database.execute("CREATE TABLE t AS SELECT md5(n::text) FROM generate_series(1, 5000) n")
    site = Site(tmp_path / "site", database.uri())
    site.server = {"backup": {"schedule": "every 6h"}, "verify": {"scratch_dir": str(tmp_path)}}
    stored = site.run_here("backup", "now", "--json").result
    report = diagnose(site)["servers"][0]
    (disk,) = report["disks"]  # all of it lies on one file system
    assert disk["needed_bytes"] == stored["stored_bytes"] + int(1.2 * stored["dumped_bytes"])
    vitals = {one["vital"]: one for one in report["vitals"]}
    assert vitals["backup_age"]["severity"] == "ok"
    assert vitals["backup_age"]["value"] < 0.5
    assert vitals["size_drop"]["mend"] == f"guardian verify main/{database.name}"
    assert report["backups"]["rows"][0]["last_backup"]["id"] == stored["id"]
