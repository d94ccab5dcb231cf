"""The real daemon, with real servers, in a day that lasts seconds."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.aftermath import is_writing
from support.daemon import Daemon
from support.listeners import Crowd, crowd
from support.ports import free_port
from support.postgres import Database, PostgresServer, installation, running_server
from support.receivers import Answer, WebReceiver
from support.site import Site, snapshot_of

from guardian.escalate.model import Incident, State
from guardian.model import DatabaseRef, RunStatus

SAMPLE = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 500) g;
"""

# About 60 MB that no compressor makes small, so that a backup takes long enough to be hit.
LARGE = """
CREATE TABLE noise AS
SELECT g AS id, (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 60) i) AS t
  FROM generate_series(1, 30000) g;
"""
SERVICE = {"log": {"level": "info"}}
OUTAGE = {"interval": "500ms", "timeout": "2s", "failures": 2, "successes": 2}
QUICKLY = {"settle": {"*": "0s"}, "recovery": {"*": "1s"}, "startup_settle": "1s"}
NIGHTS = {"backup": {"schedule": "every 4s"}, "outage": OUTAGE, "watch": {"interval": "1s"}}


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with running_server(installation(16, from_wheel=True)) as server:
        yield server


def site_of(folder: Path, dsn: str, **server: Any) -> Site:
    service = {**SERVICE, "listen": f"127.0.0.1:{free_port()}"}
    return Site(folder / "site", dsn, server, sections={"service": service, "escalation": QUICKLY})


def test_a_day(own: PostgresServer, tmp_path: Path) -> None:
    database = own.create_database("mina")
    database.execute(SAMPLE)
    site = site_of(tmp_path, own.dsn("mina"), **NIGHTS)
    with crowd("pager") as people, WebReceiver(lambda _: Answer(200, b"OK")) as switch:
        site.sections["escalation"] |= people.section({"on-call": ["pager"]})
        site.sections["heartbeat"] = [{"kind": "ping", "url": f"{switch.url}/uuid", "every": "1s"}]
        a_day(site, own, people, switch)


def a_day(site: Site, own: PostgresServer, people: Crowd, switch: WebReceiver) -> None:
    with Daemon(site) as daemon:
        daemon.ready()
        assert daemon.heard("READY")[0]["STATUS"].startswith("guards 1 server")
        it_backs_up_and_drills(daemon)
        it_shows_how_it_is(daemon)
        a_bad_reload_changes_nothing(daemon)
        a_good_reload_takes_what_is_new(daemon, own)
        a_server_goes_and_comes_back(daemon, own)
        daemon.until(lambda: len(switch.requests) > 5, "signs of life for the dead man's switch")
        told = daemon.until(
            lambda: len(found := down(people)) > 1 and found, "alert and all-clear by the channel"
        )
        assert told == ["alert", "resolved"]
        lives_on_signs_of_life(daemon)
        assert daemon.end() == 0
        assert daemon.heard("STOPPING")
        it_leaves_nothing(daemon, own)


def down(people: Crowd) -> list[str]:
    """Which messages came of the server's outage."""
    return [one["kind"] for one in people.heard("pager") if one["incident_kind"] == "server.down"]


def it_backs_up_and_drills(daemon: Daemon) -> None:
    ref = DatabaseRef("main", "mina")
    catalog = daemon.catalog
    assert catalog is not None
    daemon.until(lambda: len(catalog.backups()) >= 2, "two backups by schedule")
    proof = daemon.until(lambda: catalog.drills(ref), "a drill after a backup")[0]
    assert proof.proven, proof
    assert proof.rows == 500
    assert "is due since" in daemon.log, "an interval is due at once"


def it_shows_how_it_is(daemon: Daemon) -> None:
    assert json.loads(daemon.get("/health")[1]) == {"status": "healthy"}
    detailed = json.loads(daemon.get("/health/detailed")[1])
    components = {one["name"]: one["status"] for one in detailed["components"]}
    assert {"scheduler", "jobs", "catalog", "channels", "server main"} <= set(components)
    for what in ("success", "proven"):
        name = f"guardian_backup_last_{what}_timestamp_seconds"
        taken = daemon.until(partial(daemon.metric, name, server="main", database="mina"), name)
        assert time.time() - 90 < taken <= time.time()
    assert daemon.metric("guardian_server_up", server="main") == 1
    assert daemon.metric("guardian_active") == 1
    memory = daemon.metric("guardian_process_resident_memory_bytes")
    assert memory is not None
    assert 0 < memory < 150 << 20
    status, page = daemon.get("/")
    assert (status, "main/mina" in page) == (200, True)


def a_bad_reload_changes_nothing(daemon: Daemon) -> None:
    catalog = daemon.catalog
    assert catalog is not None
    good = daemon.site.config.read_text()
    daemon.site.config.write_text(good + "unknown_key: 1\n")
    heard = len(daemon.said)
    daemon.send(signal.SIGHUP)
    refused = daemon.until(lambda: daemon.events("config.refused"), "the refusal")
    assert "unknown_key" in refused[0]
    daemon.until(lambda: len(daemon.heard("READY")) == 2, "READY after the reload")
    words = [word for one in daemon.said[heard:] for word in one if word in {"RELOADING", "READY"}]
    assert words == ["RELOADING", "READY"]
    assert daemon.heard("RELOADING")[0]["MONOTONIC_USEC"].isdigit()
    before = catalog.tries(limit=1)[0].started_at
    daemon.until(lambda: catalog.tries(limit=1)[0].started_at > before, "backups go on")
    daemon.site.config.write_text(good)


def a_good_reload_takes_what_is_new(daemon: Daemon, own: PostgresServer) -> None:
    catalog = daemon.catalog
    assert catalog is not None
    other = own.create_database("other")
    other.execute(SAMPLE)
    daemon.site.server = {**NIGHTS, "databases": ["mina", "other"]}
    daemon.site.write()
    daemon.send(signal.SIGHUP)
    daemon.until(lambda: daemon.events("config.reloaded"), "the reload")
    daemon.until(lambda: catalog.backups("main", "other"), "a backup of the new database")
    daemon.site.server = {**NIGHTS, "backup": {"schedule": None}}
    daemon.site.write()
    daemon.send(signal.SIGHUP)
    daemon.until(lambda: len(daemon.events("config.reloaded")) == 2, "the next reload")
    daemon.until(lambda: not catalog.leases("backup:"), "what ran has ended")


def a_server_goes_and_comes_back(daemon: Daemon, own: PostgresServer) -> None:
    catalog = daemon.catalog
    assert catalog is not None
    own.embedded.stop()
    daemon.until(lambda: daemon.events("server.went_down"), "the outage is seen")
    daemon.until(lambda: daemon.metric("guardian_server_up", server="main") == 0, "its metric")
    assert daemon.get("/health")[0] == 200, "a guarded server's outage is not guardian's illness"

    def incident() -> Incident | None:
        found = [one for one in catalog.incidents() if one.key == "server.down:main"]
        return found[0] if found else None

    daemon.until(incident, "the incident")
    own.embedded.start()
    daemon.until(lambda: daemon.events("server.came_up"), "the end of the outage is seen")
    daemon.until(
        lambda: (one := incident()) and one.state is State.RESOLVED, "the incident is resolved"
    )
    daemon.until(lambda: daemon.metric("guardian_server_up", server="main") == 1, "its metric")


def lives_on_signs_of_life(daemon: Daemon) -> None:
    count = len(daemon.heard("WATCHDOG"))
    daemon.until(lambda: len(daemon.heard("WATCHDOG")) > count + 1, "signs of life")


def it_leaves_nothing(daemon: Daemon, own: PostgresServer) -> None:
    catalog = daemon.catalog
    assert catalog is not None
    assert catalog.leases() == []
    assert daemon.events("daemon.stopped") == ["on SIGTERM"]
    assert not [one for one in catalog.tries() if one.status is RunStatus.RUNNING]
    with psycopg.connect(own.dsn("mina"), autocommit=True) as admin:
        (found,) = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'guardian%'"
        ).fetchone() or (None,)
    assert found == 0
    assert "internal error" not in daemon.log
    assert "Traceback" not in daemon.log


def test_stopped_killed_and_started_again_in_mid_backup(
    own: PostgresServer, tmp_path: Path
) -> None:
    large = own.create_database("large")
    large.execute(LARGE)
    backup = {"schedule": "every 30d", "attempts": 1}
    site = site_of(tmp_path, large.dsn(), backup=backup, verify={"schedule": None})
    with Daemon(site, "stopped") as daemon:
        daemon.ready()
        daemon.until(is_writing(site.store), "the dump arrives in the store")
        assert daemon.end(seconds=30) == 0
        assert snapshot_of(site.store) == {}, "nothing half-made is left"
        catalog = daemon.catalog
        assert catalog is not None
        assert [one.status for one in catalog.tries()] == [RunStatus.INTERRUPTED]
        assert catalog.leases() == []
    with Daemon(site, "killed") as daemon:  # what was cut off is made up for, and is killed
        daemon.ready()
        daemon.until(is_writing(site.store), "the dump arrives again")
        daemon.kill()
        assert snapshot_of(site.store) != {}
    with Daemon(site, "again") as daemon:
        catalog = daemon.ready().catalog
        assert catalog is not None
        daemon.until(catalog.backups, "the backup is made up for")
        statuses = [one.status for one in catalog.tries()]
        assert statuses == [RunStatus.SUCCEEDED, *[RunStatus.INTERRUPTED] * 2]
        assert daemon.events("backup.recovered")
        folders = {Path(name).parts[-2] for name in snapshot_of(site.store)}
        assert folders == {catalog.backups()[0].id}, "the killed run's parts are gone"
        assert daemon.end() == 0


def test_a_second_one_stands_by_and_takes_over(
    own: PostgresServer, fresh_database: Callable[..., Database], tmp_path: Path
) -> None:
    shared = fresh_database(own)
    guarded = fresh_database(own)
    site = site_of(tmp_path, guarded.dsn(), outage=OUTAGE)
    site.sections["catalog"] = shared.uri()
    with Daemon(site, "first") as first:
        first.ready()
        with Daemon(site, "second") as second:
            second.ready()
            assert second.status.startswith("standby: guardian run (pid ")
            assert str(first.process.pid) in second.status
            second.until(lambda: len(second.heard("WATCHDOG")) > 1, "a standby lives, too")
            assert not second.events("daemon.took_over")
            os.kill(first.process.pid, signal.SIGKILL)
            second.until(lambda: second.events("daemon.took_over"), "the take-over")
            second.until(lambda: second.status.startswith("guards 1 server"), "its status")
            with Daemon(site, "third") as third:
                third.ready()
                assert second.end() == 0
                third.until(lambda: len(third.events("daemon.took_over")) == 2, "the next one")
                assert third.end(signal.SIGINT) == 130
    password = re.search(r":([^:@]+)@", shared.uri())
    assert password is not None
    for name in ("first", "second", "third"):
        assert password[1] not in (site.root / f"{name}.log").read_text()


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    site = site_of(tmp_path, "host=/nowhere dbname=x")
    site.sections["catalog"] = "postgresql://nobody:secret-word@127.0.0.1:1/nothing"
    outcome = site.run("run")
    assert outcome.code == 1
    outcome.assert_clean()
    assert "catalog 127.0.0.1:1/nothing" in outcome.err
    assert "secret-word" not in outcome.err
    site.sections["typo"] = 1
    outcome = site.run("run")
    assert outcome.code == 2
    assert "typo" in outcome.err
