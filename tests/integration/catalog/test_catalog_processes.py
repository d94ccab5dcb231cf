"""Leases between real processes: one wins, and a killed one stands in nobody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from support.catalogs import MAIN, START, CatalogSite, backup_id, make_site

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import current_holder, is_alive
from guardian.errors import AlreadyRunningError, Cause
from guardian.model import RunStatus

HOUR = timedelta(hours=1)
WORK = """
import sys
from datetime import UTC, datetime, timedelta
from guardian.adapters.catalog.catalog import open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import current_holder, is_alive
from guardian.errors import AlreadyRunningError
from guardian.model import BackupId, DatabaseRef

catalog = open_catalog(sys.argv[1], clock=SystemClock(), is_alive=is_alive)
print("ready", flush=True)
sys.stdin.readline()
try:
    holder = current_holder("guardian " + sys.argv[2])
    lease = catalog.acquire("backup:main/mina", holder, timedelta(hours=1))
except AlreadyRunningError as error:
    print("refused", error, flush=True)
else:
    ref = DatabaseRef("main", "mina")
    catalog.begin_backup(BackupId(sys.argv[2]), ref, datetime(2026, 11, 23, 2, tzinfo=UTC), lease)
    print("won", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        return request.getfixturevalue("fresh_database")(request.getfixturevalue("pg15"))

    made = make_site(request.param, tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def catalog(site: CatalogSite) -> Iterator[SqlCatalog]:
    opened = open_catalog(site.url, clock=SystemClock(), is_alive=is_alive)
    yield opened
    opened.close()


class Worker:
    def __init__(self, url: str, backup: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, url, backup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")


@contextmanager
def workers(url: str, count: int) -> Iterator[list[Worker]]:
    made = [Worker(url, backup_id(number)) for number in range(count)]
    try:
        assert [one.hear() for one in made] == ["ready"] * count
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.process.communicate()


def test_of_many_processes_one_wins_and_when_killed_the_next_takes_over_at_once(site, catalog):
    with workers(site.url, 5) as racers:
        for one in racers:
            one.go()
        said = {one: one.hear() for one in racers}
        [winner] = [one for one, word in said.items() if word == "won"]
        refused = [word for word in said.values() if word != "won"]
        assert len(refused) == 4
        assert all(f"(pid {winner.process.pid} on " in word for word in refused)

        assert list(catalog.recover_runs(START)) == []
        with pytest.raises(AlreadyRunningError):
            catalog.acquire("backup:main/mina", current_holder("me"), HOUR)

        os.kill(winner.process.pid, signal.SIGKILL)
        winner.process.wait()
        assert list(catalog.leases()) == []
        lease = catalog.acquire("backup:main/mina", current_holder("me"), HOUR)
        assert [one.token for one in catalog.leases()] == [lease.token]
        [dead] = catalog.recover_runs(START, MAIN)
        assert (dead.status, dead.cause) == (RunStatus.INTERRUPTED, Cause.INTERRUPTED)
        assert f"(pid {winner.process.pid} on " in dead.error


def test_a_killed_process_that_its_parent_did_not_collect_is_dead(site, catalog):
    with workers(site.url, 1) as [one]:
        one.go()
        assert one.hear() == "won"
        os.kill(one.process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, one.process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        [dead] = catalog.recover_runs(START)
        assert dead.id == backup_id(0)


def test_a_stopped_process_is_alive_until_another_takes_its_lapsed_lease(site, catalog):
    with workers(site.url, 1) as [one]:
        one.go()
        assert one.hear() == "won"
        os.kill(one.process.pid, signal.SIGSTOP)
        site.execute("UPDATE guardian_leases SET expires_at = '2020-01-01T00:00:00.000000Z'")
        assert list(catalog.recover_runs(START)) == []
        assert list(catalog.leases()) == []
        lease = catalog.acquire("backup:main/mina", current_holder("me"), HOUR)
        assert [one.id for one in catalog.recover_runs(START)] == [backup_id(0)]
        assert [one.token for one in catalog.leases()] == [lease.token]
