"""All jobs of one configuration in this process, so that a single part can be made to fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.postgres import Database, PostgresServer
from support.site import Site

from guardian.adapters.clock import SystemClock
from guardian.config import load_config
from guardian.daemon.app import App
from guardian.daemon.crashes import CrashReporter
from guardian.daemon.duty import Duty
from guardian.daemon.guards import ServerGuard
from guardian.daemon.health import judge
from guardian.daemon.jobs import Jobs
from guardian.daemon.state import ConfigNow, Memory, Role, Snapshot, State
from guardian.daemon.telling import Telling
from guardian.daemon.work import Kind, Task
from guardian.daemon.worker import LogSettings
from guardian.escalate.model import Incident
from guardian.escalate.model import State as IncidentState

FAST = {
    "outage": {"interval": "200ms", "failures": 2, "successes": 1},
    "watch": {"interval": "200ms"},
    "verify": {"schedule": None},
}
QUICKLY = {"settle": {"*": "0s"}, "recovery": {"*": "0s"}, "startup_settle": "1s"}


def until(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)
    return value


class Running:
    """A duty and what it lives in."""

    def __init__(self, site: Site) -> None:
        self.site = site
        now = datetime.now(UTC)
        self.app = self.load()
        self.state = State(Memory(Role.ACTIVE, "k3f9", "1", now, ConfigNow(str(site.config), now)))
        reporter = CrashReporter.of(self.app.config, "k3f9")
        self.tell = Telling(lambda: self.app, self.state, reporter)
        self.jobs = Jobs(self.app.clock, self.tell.crash, self.state.went_well)
        self.duty = Duty(self.app, self.jobs, self.state, self.tell, LogSettings(30), self.snapshot)

    def load(self) -> App:
        self.site.write()
        return App(load_config(self.site.config), clock=SystemClock())

    def snapshot(self) -> Snapshot:
        return Snapshot(
            datetime.now(UTC),
            self.state.memory,
            pulse_age=self.jobs.pulse_age,
            jobs=self.jobs.now(),
            tasks=tuple(self.duty.tasks()),
        )

    def incident(self, key: str) -> Incident | None:
        return self.app.catalog.latest_incident(key)

    def __enter__(self) -> Running:
        self.duty.begin()
        self.jobs.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs.stop()
        self.duty.stop()
        assert self.duty.wait(60)
        assert self.jobs.wait(20) == ()
        self.duty.close()
        with self.app:
            pass


@pytest.fixture
def site(pg15: PostgresServer, fresh_database: Callable[..., Database], tmp_path: Path) -> Site:
    database = fresh_database(pg15)
    made = Site(tmp_path / "site", database.dsn(), FAST)
    made.sections = {
        "servers": {"side": {"dsn": pg15.dsn(), **FAST}},
        "escalation": QUICKLY,
    }
    return made


def test_a_crash_in_one_server_stops_no_other_and_is_an_incident_until_it_goes_well(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ServerGuard.watch
    broken = True

    def flaky(guard: ServerGuard) -> None:
        if broken and guard.name == "side":
            raise RuntimeError(f"no row from {site.dsn} password=hunter2")
        watch(guard)

    monkeypatch.setattr(ServerGuard, "watch", flaky)
    with Running(site) as running:
        key = "guardian.degraded:watch:side"
        incident = until(lambda: running.incident(key), "the incident")
        assert incident.title.startswith("guardian: watch:side: internal error: RuntimeError")
        (event, *_) = running.app.catalog.events(kind="daemon.crash")
        assert event.message.startswith("watch:side: RuntimeError: no row from ")
        assert "hunter2" not in event.message + caplog.text
        first = until(lambda: running.state.memory.servers["main"].looked_at, "a look at main")
        until(lambda: running.state.memory.servers["main"].looked_at > first, "the next look")
        until(lambda: running.state.memory.servers["side"].outage.last, "its probes go on")
        assert judge(running.snapshot()).healthy, "a crash is told of; a restart would not help"
        broken = False
        until(
            lambda: (one := running.incident(key)) and one.state is IncidentState.RESOLVED,
            "the end of the incident",
        )
        assert running.state.memory.servers["side"].looked_at is not None


def test_a_worker_that_dies_is_told_of_and_what_it_left_is_settled(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sections["servers"] = {}
    site.server = {**FAST, "backup": {"schedule": "every 30d"}}
    kills: list[Task] = []

    def kill_once(task: Task) -> Any:
        assignment, limit = original(task)
        if task.kind is Kind.BACKUP and not kills:
            kills.append(task)
            return assignment, timedelta(milliseconds=1)
        return assignment, limit

    running = Running(site)
    original = running.duty._assign
    running.duty._crew._assign = kill_once
    with running:
        crash = until(lambda: running.app.catalog.events(kind="daemon.crash"), "the crash")
        assert "backup of main/" in crash[0].message
        assert "was ended" in crash[0].message
        until(lambda: running.state.memory.tasks_done.get(("recover", "", "", "done")), "settled")


def test_a_server_that_leaves_the_configuration_is_forgotten(site: Site) -> None:
    with Running(site) as running:
        until(lambda: len(running.state.memory.servers) == 2, "both are seen")
        assert {"probe:side", "watch:side"} <= running.jobs.names()
        site.sections["servers"] = {}
        site.sections["probes"] = [
            {"name": "port", "kind": "tcp", "address": "127.0.0.1:1", "interval": "200ms"}
        ]
        site.write()
        old = running.app
        running.app = App(load_config(site.config), clock=old.clock, catalog=old.catalog)
        running.duty.reload(running.app, LogSettings(30))
        assert not [name for name in running.jobs.names() if name.endswith(":side")]
        until(lambda: set(running.state.memory.servers) == {"main"}, "it is forgotten")
        until(lambda: running.incident("probe.port"), "the new probe's incident")
        running.app = old
