"""What the pages are given, by jobs that really run over a real server."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from support.duty import FAST, QUICKLY, Running, until
from support.ports import free_port
from support.postgres import Database, PostgresServer
from support.site import Site

from guardian.config import load_config
from guardian.daemon.app import App
from guardian.daemon.dashboard import Dashboard
from guardian.daemon.sources import make_sources
from guardian.errors import NotFoundError
from guardian.escalate.model import EntryKind, IncidentId, State
from guardian.model import DatabaseRef
from guardian.watch.model import Action, Mode, Outcome
from guardian.watch.outage import Availability
from guardian.web.ports import CheckVerdict, ComponentStatus, Sources

FAR = {"backup": {"schedule": "0 2 * * *", "timezone": "Europe/Berlin"}}


@pytest.fixture
def database(pg15: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    return fresh_database(pg15)


@pytest.fixture
def running(database: Database, tmp_path: Path) -> Iterator[Running]:
    site = Site(tmp_path / "site", database.dsn(), {**FAST, **FAR})
    site.sections = {
        "escalation": QUICKLY,
        "probes": [{"name": "port", "kind": "tcp", "address": "127.0.0.1:1", "interval": "100ms"}],
    }
    with Running(site) as running:
        yield running


@pytest.fixture
def sources(running: Running) -> Sources:
    return make_sources(running, running.tell.crash, running.tell.went_well)


def test_what_is_planned_and_seen(running: Running, sources: Sources, database: Database) -> None:
    ref = DatabaseRef("main", database.name)
    (plan,) = until(sources.schedules.plans, "the plan")
    assert (plan.ref, plan.schedule, plan.timezone) == (ref, "0 2 * * *", "Europe/Berlin")
    assert plan.next_backup_at is not None
    (run,) = sources.schedules.next_runs(10)
    assert (run.what, run.subject, run.at) == ("backup", str(ref), plan.next_backup_at)
    assert sources.schedules.next_runs(0) == []

    look = until(lambda: sources.watch.look("main"), "a look")
    assert look.observation.server == "main"
    assert look.error is None
    (server,) = sources.watch.servers()
    assert (server.availability, server.mode) == (Availability.UP, Mode.OBSERVE)
    assert server.latency_seconds is not None
    vitals = until(lambda: sources.watch.vitals("main"), "vitals")
    assert {"connections", "disk"} <= {one.vital for one in vitals.findings}
    assert sources.watch.look("unknown") is None
    assert sources.watch.vitals("unknown") is None

    assert sources.health.reasons() == ()
    components = {one.name: one.status for one in sources.health.components()}
    assert components["scheduler"] is ComponentStatus.OK
    body, _ = sources.metrics.render("text/plain")
    assert b'guardian_server_up{server="main"} 1.0' in body


def test_what_has_left_the_configuration_is_no_plan(running: Running, sources: Sources) -> None:
    (database,) = until(lambda: running.state.memory.databases, "the overview")
    gone = replace(database, ref=DatabaseRef("main", "gone"), configured=False, next_at=None)
    running.state.change(databases=(database, gone))
    running.jobs.remove("overview")
    assert [one.ref for one in sources.schedules.plans()] == [database.ref]


def test_names_that_are_answered_are_the_configuration_s(running: Running) -> None:
    name = "guardian.example.com"
    site = running.site

    def ask(host: str) -> tuple[int, str]:
        listen = running.app.config.service.listen
        request = urllib.request.Request(f"http://{listen}/", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    old = running.app
    dashboard = Dashboard(running, running.tell)
    try:
        for hosts, expected in ((None, 421), ([name], 200)):
            site.sections["service"] = {"listen": f"127.0.0.1:{free_port()}"}
            if hosts:
                site.sections["service"] |= {"hosts": hosts, "heading": "production"}
            site.write()
            running.app = App(load_config(site.config), clock=old.clock, catalog=old.catalog)
            dashboard.tend()
            assert dashboard.problem is None
            status, page = ask(f"{name}:443")
            assert status == expected
            assert ("service.hosts" in page) == (expected == 421)
            assert ("production" in page) == (expected == 200)
            assert ask("localhost")[0] == 200
            assert ask("rebound.example.org")[0] == 421
    finally:
        dashboard.stop()
        running.app = old


def test_a_person_takes_an_incident_and_ends_it(running: Running, sources: Sources) -> None:
    desk = sources.desk
    assert desk is not None
    incident = until(lambda: running.incident("probe.port"), "the incident")
    desk.acknowledge(incident.id, "ann", "looking")
    taken = running.incident("probe.port")
    assert taken is not None
    assert (taken.state, taken.acknowledged_by) == (State.ACKNOWLEDGED, "ann")
    notes = [one for one in sources.catalog.timeline(incident.id) if one.kind is EntryKind.NOTE]
    assert [(one.text, one.by) for one in notes] == [("looking", "ann")]
    desk.resolve(incident.id, "ann")
    with pytest.raises(NotFoundError):
        desk.resolve(IncidentId("nothing-of-that-name"), "ann")


def test_a_person_ends_a_session_that_was_shown(
    running: Running, sources: Sources, database: Database
) -> None:
    hand = sources.hand
    assert hand is not None
    with psycopg.connect(database.dsn(application_name="victim")) as victim:
        pid = victim.info.backend_pid

        def shown() -> bool:
            look = sources.watch.look("main")
            return look is not None and pid in {one.pid for one in look.observation.sessions}

        until(shown, "the session is shown")
        look = sources.watch.look("main")
        assert look is not None
        done = hand.kill("main", pid, Action.TERMINATE, seen=look.observation, by="ann")
        assert done.outcome is Outcome.SIGNALLED
        (kill,) = sources.catalog.kills("main")
        assert (kill.pid, kill.mode.value) == (pid, "manual")
    assert sum(running.state.memory.kills.values()) == 1


def test_the_doctor_examines_in_the_background(running: Running, sources: Sources) -> None:
    doctor = sources.doctor
    assert doctor is not None
    assert doctor.report() is None
    doctor.start()
    doctor.start()
    report = until(doctor.report, "the report")
    until(lambda: not doctor.is_running, "its end")
    assert {"config", "catalog"} <= {one.name for one in report.checks}
    assert {one.verdict for one in report.checks if one.name == "catalog"} == {CheckVerdict.OK}


@pytest.mark.parametrize("broken", ["guardian.daemon.sources.examine", "threading.Thread.start"])
def test_a_crash_of_the_doctor_is_over_once_it_went_well(
    running: Running, sources: Sources, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    doctor = sources.doctor
    assert doctor is not None
    with monkeypatch.context() as host:
        host.setattr(broken, refuse)
        doctor.start()
        crash = until(lambda: running.state.memory.crashes.get("doctor"), "the crash")
        until(lambda: not doctor.is_running, "its end")
    assert not crash.over
    assert doctor.report() is None
    doctor.start()
    until(doctor.report, "the report")
    until(lambda: running.state.memory.crashes["doctor"].over, "the crash is over")
