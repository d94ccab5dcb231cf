"""The real daemon while the host's clock jumps: summer time begins and ends, somebody sets it back.

What it takes for the time is moved as it starts, in its workers as well
(tests/support/moved_clock); everything else is as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.ports import free_port
from support.postgres import Database, PostgresServer
from support.site import Site

from guardian.model import BackupRecord

MOVED = Path(__file__).parent.parent / "support" / "moved_clock"
BERLIN = {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"}
TURNED = "the clock has jumped by"


class Wall:
    """The wall clock of a daemon."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"

    @property
    def environ(self) -> dict[str, str]:
        return {"PYTHONPATH": str(MOVED), "MOVED_CLOCK": str(self.file)}

    def set(self, to: datetime) -> None:
        """From now on it goes on from there."""
        new = self.file.with_suffix(".new")
        new.write_text(str((to - datetime.now(UTC)).total_seconds()))
        new.rename(self.file)


@pytest.fixture
def site(pg16: PostgresServer, fresh_database: Callable[..., Database], tmp_path: Path) -> Site:
    database = fresh_database(pg16)
    database.execute("CREATE TABLE users (id int); INSERT INTO users VALUES (1)")
    server = {"backup": BERLIN, "verify": {"schedule": None}, "watch": {"interval": "500ms"}}
    made = Site(tmp_path / "site", database.dsn(), server)
    made.sections["service"] = {"listen": f"127.0.0.1:{free_port()}"}
    return made


@pytest.fixture
def wall(site: Site) -> Wall:
    made = Wall(site.root)
    site.environ |= made.environ
    return made


class Nights:
    """What the daemon makes of the clock."""

    def __init__(self, daemon: Daemon, wall: Wall) -> None:
        self.daemon = daemon
        self.wall = wall
        self.jumps = 0

    def turn(self, to: datetime) -> None:
        """Turn the clock, and wait until the daemon has noticed, and has looked around since."""
        self.wall.set(to)
        self.jumps += 1
        self.daemon.until(lambda: self.daemon.log.count(TURNED) >= self.jumps, "it notices")
        seen = self._look()
        self.daemon.until(lambda: self._look() > seen, "the watch goes on")

    def made(self, count: int) -> BackupRecord:
        """The newest of so many good backups, and no other was tried."""
        catalog = self.daemon.catalog
        assert catalog is not None
        self.daemon.until(lambda: len(catalog.backups()) >= count, f"backup {count}")
        ended = ": succeeded"
        self.daemon.until(lambda: self.daemon.log.count(ended) >= count, "the end of its task")
        assert len(catalog.tries()) == len(catalog.backups()) == count
        return max(catalog.backups(), key=lambda one: one.started_at)

    def next_at(self) -> datetime:
        """When the next one is due, as the daemon shows it."""
        name = "guardian_backup_next_timestamp_seconds"
        for line in self.daemon.get("/metrics")[1].splitlines():
            if line.startswith(f"{name}{{"):
                return datetime.fromtimestamp(float(line.rpartition(" ")[2]), UTC)
        return datetime.min.replace(tzinfo=UTC)

    def will_be(self, at: datetime) -> None:
        """Wait until the next one is planned for then."""
        self.daemon.until(lambda: self.next_at() == at, f"a plan for {at}")

    def _look(self) -> float:
        name = "guardian_job_runs_total"
        return self.daemon.metric(name, job="watch:main") or 0.0


def test_summer_time_begins_and_ends_and_the_clock_is_set_back(site: Site, wall: Wall) -> None:
    wall.set(datetime(2027, 3, 28, 0, 50, tzinfo=UTC))
    began = time.monotonic()
    with Daemon(site) as daemon:
        daemon.ready()
        nights = Nights(daemon, wall)

        # 02:30 does not exist in this night: it runs as soon as the gap is over, at 03:00.
        nights.will_be(datetime(2027, 3, 28, 1, 0, tzinfo=UTC))
        nights.turn(datetime(2027, 3, 28, 1, 0, 30, tzinfo=UTC))
        first = nights.made(1)
        late = first.started_at - datetime(2027, 3, 28, 1, 0, 30, tzinfo=UTC)
        assert abs(late) < timedelta(minutes=1)
        nights.will_be(datetime(2027, 3, 29, 0, 30, tzinfo=UTC))

        # The host slept for months: all that was missed is one.
        nights.turn(datetime(2027, 10, 30, 12, 0, tzinfo=UTC))
        nights.made(2)
        nights.will_be(datetime(2027, 10, 31, 0, 30, tzinfo=UTC))

        # 02:30 comes twice in this night, and is once.
        nights.turn(datetime(2027, 10, 31, 0, 30, 30, tzinfo=UTC))
        nights.made(3)
        nights.will_be(datetime(2027, 11, 1, 1, 30, tzinfo=UTC))
        nights.turn(datetime(2027, 10, 31, 1, 30, 30, tzinfo=UTC))
        nights.made(3)
        nights.will_be(datetime(2027, 11, 1, 1, 30, tzinfo=UTC))

        # Somebody sets it back by two days: the guard goes on, and nights come again.
        nights.turn(datetime(2027, 10, 29, 12, 0, tzinfo=UTC))
        nights.will_be(datetime(2027, 10, 30, 0, 30, tzinfo=UTC))
        nights.turn(datetime(2027, 10, 30, 0, 30, 30, tzinfo=UTC))
        catalog = daemon.catalog
        assert catalog is not None
        daemon.until(lambda: len(catalog.backups()) == 4, "the night that came again")

        assert daemon.get("/health")[0] == 200
        assert not daemon.events("daemon.crash")
        assert daemon.end() == 0
    assert time.monotonic() - began < 200
