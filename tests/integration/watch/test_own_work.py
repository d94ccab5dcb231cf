"""Beside a watch that would end everybody: guardian's own commands and the server's work go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from support.clients import Client, until
from support.postgres import PostgresServer
from support.site import Outcome as Ending
from support.site import Site
from support.standby import standby_of

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.testing import MemoryCatalog
from guardian.watch.model import Action, Mode, Outcome, Session
from guardian.watch.patrol import Patrol, WatchPlan
from guardian.watch.rules import Limits, Match, Policy

LIMITS = Limits(per_cycle=1000, per_hour=1_000_000)
STATES = ("idle", "active", "idle in transaction", "idle in transaction (aborted)")


@pytest.fixture
def scene(pg18: Any, make_scene: Any) -> Any:
    made = make_scene(pg18)
    made.database.execute(
        *(f"CREATE TABLE t{n} AS SELECT g FROM generate_series(1, 20000) g" for n in range(4))
    )
    return made


@contextmanager
def enforced(scene: Any, policy: Policy) -> Iterator[Patrol]:
    """Round after round, without a pause."""
    watcher = scene._make(Connector("main", scene.database.dsn()))
    plan = WatchPlan([policy], LIMITS, Mode.ENFORCE, record=False)
    patrol = Patrol(watcher, scene.catalog, SystemClock(), plan)
    done, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not done.wait(0.01):
                patrol.cycle()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield patrol
    finally:
        done.set()
        thread.join()
    assert failures == []


def run(site: Site, *words: str) -> Ending:
    outcome = site.run_here(*words)
    outcome.assert_clean()
    assert outcome.code == 0, (outcome.out, outcome.err)
    return outcome


def _has_died(client: Client) -> bool:
    return client.fate() == "57P01"


def test_a_backup_a_drill_and_a_restore_are_left_alone_by_a_policy_for_everybody(
    scene: Any, tmp_path: Path
) -> None:
    """As a superuser, who may end superusers, and is the role of the backup, too."""
    dsn = scene.database.dsn()
    copy = f"{scene.database.name}_back"
    target = scene.database.server.uri(copy)
    verify = {"scratch": make_conninfo(dsn, dbname="postgres"), "allow_source_server": True}
    site = Site(tmp_path / "site", dsn, server={"verify": verify})
    policy = Policy("all", Match(state=STATES), (Action.TERMINATE,), superusers=True)
    try:
        with enforced(scene, policy):
            for words in (
                "backup now",
                "verify",
                f"restore {{made}} --to {target} --create",
                "diagnose",
                "doctor",
            ):
                victim = Client(dsn, "victim")  # somebody like us in all but the name
                made = [one["id"] for one in run(site, "backup", "list", "--json").json]
                run(site, *words.format(made="".join(made)).split())
                until(partial(_has_died, victim))
                victim.close()
    finally:
        scene.database.server.drop_database(copy)
    kills = [one for one in scene.catalog.kills() if one.outcome is Outcome.SIGNALLED]
    assert [one.application for one in kills] == ["victim"] * 5


def test_what_holds_up_a_backup_is_ended_and_the_backup_goes_on(scene: Any, tmp_path: Path) -> None:
    migration = scene.crowd.client("migration", superuser=True)
    migration.run("BEGIN")
    migration.run("LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE")
    bystander = scene.crowd.in_transaction("web")
    site = Site(tmp_path / "site", scene.database.dsn())
    policy = Policy("free the backup", Match(blocking_backup=True), (Action.TERMINATE,),
                    superusers=True)  # fmt: skip
    with enforced(scene, policy):
        made = run(site, "backup", "now", "--json").result
    assert made["proof"] == "content"
    (kill,) = scene.catalog.kills()
    assert (kill.application, kill.outcome) == ("migration", Outcome.SIGNALLED)
    assert "holds up a backup" in kill.reason
    assert migration.fate() == "57P01"
    assert bystander.fate() is None


def test_a_standby_and_its_stream_are_left_alone_and_its_clients_are_not(
    pg: PostgresServer, make_watcher: Any
) -> None:
    policy = Policy("all", Match(state=STATES), (Action.TERMINATE,), superusers=True)
    plan = WatchPlan([policy], LIMITS, Mode.ENFORCE, record=False)
    catalog = MemoryCatalog(SystemClock())
    with standby_of(pg) as dsn:
        sides = [make_watcher(Connector(name, where)) for name, where in
                 (("primary", pg.dsn()), ("standby", dsn))]  # fmt: skip
        before = [{one.key for one in side.observe().sessions if _is_stream(one)} for side in sides]
        assert all(before)
        victims = [Client(where, "victim") for where in (pg.dsn(), dsn)]
        for side in sides:
            patrol = Patrol(side, catalog, SystemClock(), plan)
            for _ in range(3):
                patrol.cycle()
        assert [one.fate() for one in victims] == ["57P01", "57P01"]
        after = [{one.key for one in side.observe().sessions if _is_stream(one)} for side in sides]
        assert after == before
        for victim in victims:
            victim.close()
    kills = [(one.server, one.application, one.outcome) for one in reversed(catalog.kills())]
    assert kills == [(name, "victim", Outcome.SIGNALLED) for name in ("primary", "standby")]


def _is_stream(session: Session) -> bool:
    return session.backend_type in {"walsender", "walreceiver", "startup"}
