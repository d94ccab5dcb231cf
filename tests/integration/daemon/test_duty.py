"""All jobs of one configuration in this process, so that a single part can be made to fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.duty import FAST, QUICKLY, Running, until
from support.incidents import condition
from support.listeners import crowd
from support.postgres import Database, PostgresServer
from support.site import Site

from guardian.config import load_config
from guardian.daemon.alarms import make_escalator
from guardian.daemon.alerting import Alerting
from guardian.daemon.app import App
from guardian.daemon.duty import scopes_of
from guardian.daemon.guards import ServerGuard
from guardian.daemon.health import judge
from guardian.daemon.planner import Planner
from guardian.daemon.timetable import MOST_RESUMED
from guardian.daemon.work import Kind, Task
from guardian.daemon.worker import LogSettings, Worker
from guardian.errors import CatalogError
from guardian.escalate.model import Observation
from guardian.escalate.model import State as IncidentState


@pytest.fixture
def site(pg15: PostgresServer, fresh_database: Callable[..., Database], tmp_path: Path) -> Site:
    database = fresh_database(pg15)
    made = Site(tmp_path / "site", database.dsn(), FAST)
    made.sections = {
        "servers": {"side": {"dsn": pg15.dsn(), **FAST}},
        "escalation": QUICKLY,
    }
    return made


class Host:
    """A host that has no room for the processes of some tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, no_room_for: list[Kind]) -> None:
        self.no_room_for = no_room_for
        self._asked: list[Kind] = []
        real = Worker._start

        def start(worker: Worker, far: Any) -> bool:
            kind = worker._assignment.task.kind
            self._asked.append(kind)
            if kind in self.no_room_for:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return real(worker, far)

        monkeypatch.setattr(Worker, "_start", start)

    def asked(self, kind: Kind) -> int:
        return self._asked.count(kind)


def ended(running: Running, kind: Kind) -> int:
    """How many tasks of that kind have ended, however."""
    done = running.state.memory.tasks_done
    return sum(count for key, count in done.items() if key[0] == kind)


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


def test_a_worker_that_dies_is_told_of_what_it_left_is_settled_and_its_backup_made_up_for(
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
        until(running.app.catalog.backups, "the backup that this one was to make")
        assert len(kills) == 1


def test_a_backup_whose_worker_never_starts_is_tried_a_few_times_and_then_by_its_schedule(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.sections["servers"] = {}
    site.server = {**FAST, "backup": {"schedule": "every 30d"}}
    host = Host(monkeypatch, no_room_for=[Kind.BACKUP])
    with Running(site) as running:
        until(lambda: ended(running, Kind.BACKUP) == 1 + MOST_RESUMED, "the tries")
        until(lambda: not running.duty.tasks(), "the last task's end")
        assert host.asked(Kind.BACKUP) == 1 + MOST_RESUMED
        (crash, *_) = running.app.catalog.events(kind="daemon.crash")
        assert "could not be started: Resource temporarily unavailable" in crash.message
    assert "internal error" not in caplog.text


def test_while_nothing_can_be_settled_it_is_asked_again_and_then_the_backup_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.sections["servers"] = {}
    site.server = {**FAST, "backup": {"schedule": "every 30d"}}
    monkeypatch.setattr("guardian.daemon.duty._DRILLS_EVERY", timedelta(milliseconds=300))
    host = Host(monkeypatch, no_room_for=list(Kind))
    with Running(site) as running:
        until(lambda: ended(running, Kind.RECOVER) >= 5, "it is asked again and again")
        assert host.asked(Kind.BACKUP) == 1, "more would be as much in vain"
        key = "guardian.degraded:recover"
        until(lambda: running.incident(key), "the incident")
        host.no_room_for = []
        until(running.app.catalog.backups, "the backup")
        until(
            lambda: all(one.over for one in running.state.memory.crashes.values()),
            "the end of all crashes",
        )
        until(
            lambda: (one := running.incident(key)) and one.state is IncidentState.RESOLVED,
            "the end of the incident",
        )
        settled = running.state.memory.tasks_done["recover", "", "", "done"]
        assert settled == 1, "and then no more"
    assert "internal error" not in caplog.text


def test_what_could_not_be_settled_is_after_a_reload(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sections["servers"] = {}
    monkeypatch.setattr("guardian.daemon.duty._DRILLS_EVERY", timedelta(milliseconds=300))
    host = Host(monkeypatch, no_room_for=[Kind.RECOVER])
    with Running(site) as running:
        until(lambda: ended(running, Kind.RECOVER), "the first try")
        until(lambda: not running.duty.tasks(), "its end")
        old = running.app
        running.app = App(load_config(site.config), clock=old.clock, catalog=old.catalog)
        running.duty.reload(running.app, LogSettings(30))
        host.no_room_for = []
        until(lambda: running.state.memory.tasks_done.get(("recover", "", "", "done")), "settled")
        running.app = old


def test_a_catalog_that_is_away_as_a_task_ends_is_no_crash(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.sections["servers"] = {}
    site.server = {**FAST, "backup": {"schedule": "every 30d"}}

    def away(*_: object) -> None:
        raise CatalogError("the catalog has no room left")

    monkeypatch.setattr(Planner, "ended", away)
    with Running(site) as running:
        until(running.app.catalog.backups, "a backup")
        until(lambda: "what follows has to wait" in caplog.text, "the word of it")
        monkeypatch.setattr("guardian.daemon.duty.database_statuses", away)
        assert running.duty.offer(Task(Kind.PRUNE))
        until(lambda: running.state.memory.tasks_done.get(("prune", "", "", "done")), "its end")
        until(lambda: not running.duty.tasks(), "all that follows from it")
        assert running.app.catalog.events(kind="daemon.crash") == []
    assert "internal error" not in caplog.text


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


def test_a_channel_that_cannot_be_made_is_told_through_others_until_it_is_mended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sections["servers"] = {}
    key = "channel.failing:phone"
    monkeypatch.setattr("guardian.daemon.channels.find_spec", lambda _: None)
    with crowd("chat", "mail") as people:
        section = people.section({"on-call": ["phone", "chat"], "lead": ["mail"]}, **QUICKLY)
        section["channels"]["phone"] = {"kind": "apprise", "url": "json://127.0.0.1:1/"}
        site.sections["escalation"] = section

        with Running(site) as running:
            until(lambda: people.heard("chat"), "the other channel's alert")
            (alert,) = people.heard("chat")
            assert (alert["incident_kind"], alert["kind"]) == ("channel.failing", "alert")
            assert alert["title"].startswith("Channel phone cannot be used: ")
            assert "pip install 'pg-guardian[apprise]'" in alert["title"]
            assert people.heard("mail") == [], "the next rung is not called for it"
            assert not running.incident("guardian.degraded:channel phone"), "it is told once"

            monkeypatch.undo()
            old = running.app
            running.app = App(load_config(site.config), clock=old.clock, catalog=old.catalog)
            running.duty.reload(running.app, LogSettings(30))
            until(
                lambda: (one := running.incident(key)) and one.state is IncidentState.RESOLVED,
                "its end",
            )
            until(lambda: people.kinds("chat") == ["alert", "resolved"], "the word of its end")
            running.app = old


def test_every_scope_that_anything_observes_is_known_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sections["probes"] = [
        {"name": "port", "kind": "tcp", "address": "127.0.0.1:1", "interval": "200ms"}
    ]
    seen: set[str] = set()
    observe = Alerting.observed

    def observed(alerting: Alerting, observation: Observation) -> None:
        seen.add(observation.scope)
        observe(alerting, observation)

    monkeypatch.setattr(Alerting, "observed", observed)
    with Running(site) as running:
        known = scopes_of(running.app.config)
        until(lambda: known <= seen, "a look at each of them")
        assert seen == known


def test_only_what_nobody_watches_any_more_is_ended_at_the_start(site: Site) -> None:
    site.sections["servers"] = {}
    kept = {"backups:main", "guardian", "backups:elsewhere"}
    gone = {"watch:side", "probe:old", "backups:side"}
    running = Running(site)
    known = {one: condition(f"proof.overdue:{one}") for one in kept | gone}
    theirs = make_escalator(running.app)
    for scope, one in known.items():
        theirs.observe(Observation(scope, running.app.clock.now(), (one,), blind=("",)))
    theirs.end_unwatched({"backups:elsewhere"}, "commands on another host", only_own=True)
    with running:
        still = {one.scope for one in running.app.catalog.open_incidents()}
        assert still & (kept | gone) >= {"backups:elsewhere"}
        assert not still & gone
        for scope in gone:
            ended = running.incident(known[scope].key)
            assert ended is not None
            assert ended.state is IncidentState.RESOLVED
            texts = [entry.text for entry in running.app.catalog.timeline(ended.id)]
            assert any("it is not watched any more" in text for text in texts)
