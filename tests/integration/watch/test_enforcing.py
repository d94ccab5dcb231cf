"""Policies on real sessions: each key, each victim rule, each immunity; observed and enforced."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support.clients import Client, Crowd, heir_of, until
from support.postgres import PostgresServer, installation, running_server

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.errors import NotFoundError, UsageError
from guardian.testing import MemoryCatalog
from guardian.watch.audit import KillMode
from guardian.watch.model import Action, Mode, Observation, Outcome, Session
from guardian.watch.patrol import CycleReport, Patrol, WatchPlan
from guardian.watch.ports import SignalResult
from guardian.watch.rules import Limits, Match, Policy, Victims

TERMINATED, CANCELLED = "57P01", "57014"
BOUND = timedelta(milliseconds=40)
MAJORS = (15, 16, 18)
LONG = timedelta(hours=1)


@dataclass
class Cast:
    """Who plays in a case, and the policy: victims are hit, bystanders never."""

    policy: dict[str, Any]
    victims: list[Client] = field(default_factory=list)
    bystanders: list[Client] = field(default_factory=list)
    action: str = "terminate"


def state_idle(crowd: Crowd) -> Cast:
    return Cast(
        {"state": ("idle",), "for_": BOUND},
        [crowd.idle(), crowd.idle()],
        [crowd.in_transaction(), crowd.aborted(), crowd.active()],
    )


def state_in_transaction(crowd: Crowd) -> Cast:
    return Cast(
        {"state": ("idle in transaction", "idle in transaction (aborted)"), "for_": BOUND},
        [crowd.in_transaction(), crowd.aborted()],
        [crowd.idle(), crowd.active()],
    )


def state_active(crowd: Crowd) -> Cast:
    return Cast(
        {"state": ("active",), "for_": BOUND},
        [crowd.active()],
        [crowd.idle(), crowd.in_transaction()],
        action="cancel",
    )


def state_disabled(crowd: Crowd) -> Cast:
    with crowd.database.connect() as connection:
        connection.execute(
            f'GRANT SET ON PARAMETER track_activities TO "{crowd.role.name}"'.encode()
        )
    silent = crowd.client(options="-c track_activities=off")
    return Cast({"state": ("disabled",)}, [silent], [crowd.idle()])


def state_fastpath(crowd: Crowd) -> Cast:
    return Cast(
        {"state": ("fastpath function call",), "for_": BOUND},
        [crowd.fastpath()],
        [crowd.active(), crowd.idle()],
        action="cancel",
    )


def not_yet(crowd: Crowd) -> Cast:
    return Cast({"state": ("idle",), "for_": LONG}, [], [crowd.idle()])


def transaction_for(crowd: Crowd) -> Cast:
    # It goes on working, so its state is young; its transaction is not.
    return Cast(
        {"transaction_for": BOUND}, [crowd.in_transaction(), crowd.active()], [crowd.idle()]
    )


def users(crowd: Crowd) -> Cast:
    other = crowd.database.server.create_role(f"other_{time.monotonic_ns()}")
    return Cast(
        {"users": ("other_*",), "for_": BOUND, "state": ("idle",)},
        [crowd.idle(role=other)],
        [crowd.idle()],
    )


def databases(crowd: Crowd) -> Cast:
    # The policy of every case names this database alone.
    elsewhere = Client(crowd.database.server.dsn(role=crowd.role), "web")
    crowd.clients.append(elsewhere)
    elsewhere.run("SELECT 'idle now'")
    return Cast({"state": ("idle",), "for_": BOUND}, [crowd.idle()], [elsewhere])


def applications(crowd: Crowd) -> Cast:
    return Cast(
        {"applications": ("report-*",), "state": ("idle",)},
        [crowd.idle("report-7")],
        [crowd.idle("Report-7"), crowd.idle("web")],
    )


def clients(crowd: Crowd) -> Cast:
    return Cast(
        {"clients": ("127.0.0.0/8",), "state": ("idle",)},
        [crowd.idle(tcp=True)],
        [crowd.idle()],
    )


def query(crowd: Crowd) -> Cast:
    pick = crowd.client()
    pick.run("SELECT 'pick me'")
    return Cast({"query": r"pick\s+me"}, [pick], [crowd.idle()])


def wait_event_types(crowd: Crowd) -> Cast:
    holder = crowd.holder(1)
    return Cast(
        {"wait_event_types": ("Lock",)},
        [crowd.waiter(1)],
        [holder, crowd.active()],
        action="cancel",
    )


def waiting_for(crowd: Crowd) -> Cast:
    holder = crowd.holder(1)
    return Cast({"waiting_for": BOUND}, [crowd.waiter(1)], [holder, crowd.active()])


def blocking(crowd: Crowd) -> Cast:
    root = crowd.holder(1)
    chain = [crowd.waiter(1, holds=2), crowd.waiter(2)]
    few, fewer = crowd.holder(3), crowd.waiter(3)
    return Cast({"blocking": 2}, [root], [*chain, few, fewer])


def blocking_for(crowd: Crowd) -> Cast:
    root = crowd.holder(1)
    return Cast({"blocking_for": BOUND}, [root], [crowd.waiter(1), crowd.holder(2)])


def all_of_them(crowd: Crowd) -> Cast:
    return Cast(
        {"state": ("idle",), "applications": ("one", "two"), "query": "now"},
        [crowd.idle("one"), crowd.idle("two")],
        [crowd.idle("three"), crowd.in_transaction("one"), crowd.client("two")],
    )


def exceptions(crowd: Crowd) -> Cast:
    return Cast(
        {
            "state": ("idle",),
            "except_": Match(applications=("pgAdmin*",), users=("nobody",)),
        },
        [crowd.idle()],
        [crowd.idle("pgAdmin 4")],
    )


def oldest(crowd: Crowd) -> Cast:
    first, second, third = crowd.idle(), crowd.idle(), crowd.idle()
    first.run("SELECT 1")
    return Cast({"state": ("idle",), "victims": Victims.OLDEST}, [second], [first, third])


def all_but_oldest(crowd: Crowd) -> Cast:
    first, second, third = crowd.idle(), crowd.idle(), crowd.idle()
    first.run("SELECT 1")
    return Cast({"state": ("idle",), "victims": Victims.ALL_BUT_OLDEST}, [first, third], [second])


CASES: list[Callable[[Crowd], Cast]] = [
    state_idle, state_in_transaction, state_active, state_disabled, state_fastpath, not_yet,
    transaction_for, users, databases, applications, clients, query, wait_event_types, waiting_for,
    blocking, blocking_for,
    all_of_them, exceptions, oldest, all_but_oldest,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_policy_hits_its_victims_and_nobody_else(scene, case):
    cast: Cast = case(scene.crowd)
    expected = CANCELLED if cast.action == "cancel" else TERMINATED
    policy = scene.policy("named so", cast.action, **cast.policy)
    watched = scene.patrol(policy, mode=Mode.OBSERVE)
    enforced = scene.patrol(policy)
    time.sleep(BOUND.total_seconds() * 1.5)

    # Observed: told once, and nobody is harmed.
    told = [kill for _ in range(3) for kill in watched.cycle().kills]
    if "victims" not in cast.policy:  # the first one would be gone, and the next one's turn come
        assert sorted(kill.pid for kill in told) == sorted(one.pid for one in cast.victims)
    assert {kill.outcome for kill in told} <= {Outcome.WOULD}
    assert {kill.mode for kill in told} <= {KillMode.OBSERVE}
    seen = {one.pid for one in scene.watcher.observe().sessions}
    assert {one.pid for one in [*cast.victims, *cast.bystanders]} <= seen

    # Enforced: the victims' own end of the line tells.
    report = enforced.cycle()
    assert sorted(kill.pid for kill in report.kills) == sorted(one.pid for one in cast.victims)
    for kill in report.kills:
        assert (kill.outcome, kill.mode) == (Outcome.SIGNALLED, KillMode.ENFORCE)
        assert kill.evidence["confirmed"] is True
        assert kill.policy == "named so"
        assert kill.reason
        assert str(kill.action) == cast.action
        assert kill.database == scene.database.name
    for client in cast.victims:
        assert (client.finish() if client._thread else client.fate()) == expected
    for client in cast.bystanders:
        assert client.fate() is None
    assert report.problems == ()


def test_a_blocker_of_our_backup_is_hit(scene):
    """And only while it blocks one: the same lock that blocks another client is no reason."""
    crowd = scene.crowd
    harmless, _ = crowd.holder(1), crowd.waiter(1)
    blocker = crowd.holder(2)
    backup = crowd.waiter(2, "guardian dump", role=scene.role)
    report = scene.patrol(scene.policy(blocking_backup=True)).cycle()
    assert [kill.pid for kill in report.kills] == [blocker.pid]
    assert blocker.fate() == TERMINATED
    assert backup.finish() is None  # it got its lock
    assert harmless.fate() is None


def test_a_report_is_made_once_and_hits_nobody(scene16):
    client = scene16.crowd.idle()
    patrol = scene16.patrol(scene16.policy("tell", "report", state=("idle",)))
    reports = [one for _ in range(3) for one in patrol.cycle().reports]
    assert [one.session.pid for one in reports] == [client.pid]
    assert client.fate() is None
    assert list(scene16.catalog.kills()) == []
    (event,) = scene16.catalog.events(kind="session_reported")
    assert str(client.pid) in event.message


# --- the ladder ---


def test_the_ladder_cancels_and_then_terminates_what_goes_on(scene):
    stubborn = scene.crowd.client()
    stubborn.start(
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(300);"
        " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    )
    polite = scene.crowd.active()
    scene.crowd.await_state(stubborn, "active")
    watcher = scene.new_watcher(patience=timedelta(milliseconds=50))
    grace = timedelta(milliseconds=400)
    policy = scene.policy("p", "cancel,terminate", state=("active",), grace=grace)
    patrol = scene.patrol(policy, watcher=watcher)
    first = patrol.cycle()
    assert {kill.pid: kill.action for kill in first.kills} == dict.fromkeys(
        [stubborn.pid, polite.pid], Action.CANCEL
    )
    assert polite.finish() == CANCELLED
    assert patrol.cycle().kills == ()  # within the grace
    time.sleep(grace.total_seconds())
    (last,) = patrol.cycle().kills
    assert (last.pid, last.action, last.outcome) == (
        stubborn.pid, Action.TERMINATE, Outcome.SIGNALLED,
    )  # fmt: skip
    assert stubborn.finish() == TERMINATED
    assert polite.run("SELECT 1") == [(1,)]


def test_the_ladder_terminates_a_session_without_a_query_at_once(scene16):
    client = scene16.crowd.in_transaction()
    (kill,) = (
        scene16.patrol(scene16.policy("p", "cancel,terminate", state=("idle in transaction",)))
        .cycle()
        .kills
    )
    assert kill.action is Action.TERMINATE
    assert client.fate() == TERMINATED


# --- immunities that no configuration lifts ---


def test_superusers_are_spared_unless_asked_for(scene):
    chief, plain = scene.crowd.idle(superuser=True), scene.crowd.idle()
    spares = scene.policy(state=("idle",))
    assert told_and_hit(scene.patrol(spares, mode=Mode.OBSERVE), scene.patrol(spares)) == [
        plain.pid
    ]
    assert chief.fate() is None
    # Asked for, and refused by the server to a role that is none: told, not tried again.
    patrol = scene.patrol(scene.policy(state=("idle",), superusers=True))
    report = patrol.cycle()
    assert [one.outcome for one in report.kills] == [Outcome.REFUSED]
    assert str(chief.pid) in report.problems[0]
    assert patrol.cycle().kills == ()
    assert len(scene.catalog.events(kind="session_unkillable")) == 1
    assert chief.fate() is None
    # Asked for by a superuser.
    watcher = as_superuser(scene)
    strong = scene.patrol(scene.policy(state=("idle",), superusers=True), watcher=watcher)
    assert [one.outcome for one in strong.cycle().kills] == [Outcome.SIGNALLED]
    assert chief.fate() == TERMINATED


def test_the_comment_spares(scene):
    spared = scene.crowd.client()
    spared.run("SELECT 1 /* guardian:spare */")
    victim = scene.crowd.idle()
    assert told_and_hit(greedy(scene, Mode.OBSERVE), greedy(scene)) == [victim.pid]
    assert victim.fate() == TERMINATED
    assert spared.fate() is None


EVERYTHING = Match(state=("idle", "active", "idle in transaction", "fastpath function call"))


def as_superuser(scene: Any) -> PostgresWatcher:
    """The other watch is ours too, which it does not know by itself: another role."""
    connector = Connector("main", scene.database.dsn())
    watcher: PostgresWatcher = scene._make(connector, own_roles=[scene.role.name])
    return watcher


def greedy(scene: Any, mode: Mode = Mode.ENFORCE) -> Patrol:
    """A policy that would hit all of the database, as a superuser."""
    policy = scene.policy("all", state=EVERYTHING.state, superusers=True)
    patrol: Patrol = scene.patrol(policy, mode=mode, watcher=as_superuser(scene))
    return patrol


def told_and_hit(observing: Patrol, enforcing: Patrol) -> list[int]:
    """Whom one round in observe mode names; one in enforce mode hits these, and nobody else."""
    told = observing.cycle().kills
    assert {kill.outcome for kill in told} <= {Outcome.WOULD}
    hit = enforcing.cycle().kills
    assert {kill.outcome for kill in hit} <= {Outcome.SIGNALLED}
    assert sorted(kill.pid for kill in hit) == sorted(kill.pid for kill in told)
    return sorted(kill.pid for kill in told)


def test_replication_is_spared(scene):
    dsn = make_conninfo(scene.database.dsn(), replication="database")
    with psycopg.connect(dsn, autocommit=True) as walsender:
        walsender.execute("CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput")
        victim = scene.crowd.idle()
        assert told_and_hit(greedy(scene, Mode.OBSERVE), greedy(scene)) == [victim.pid]
        assert victim.fate() == TERMINATED
        walsender.execute("IDENTIFY_SYSTEM")


def test_parallel_workers_are_spared_and_their_leader_is_not(scene):
    with scene.database.connect() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS wide AS SELECT g FROM generate_series(1, 50000) g"
        )
        connection.execute("GRANT SELECT ON wide TO public")
    leader = scene.crowd.client(
        options="-c max_parallel_workers_per_gather=2 -c parallel_setup_cost=0"
        " -c parallel_tuple_cost=0 -c min_parallel_table_scan_size=0"
    )
    leader.start("SELECT count(*) FROM wide WHERE pg_sleep(0.01) IS NOT NULL")
    scene.crowd.await_state(leader, "active")
    workers: list[Session] = []

    def find() -> bool:
        seen = scene.watcher.observe().sessions
        workers[:] = [one for one in seen if one.leader_pid == leader.pid]
        return bool(workers)

    until(find)
    assert told_and_hit(greedy(scene, Mode.OBSERVE), greedy(scene)) == [leader.pid]
    assert leader.finish() == TERMINATED


@pytest.mark.parametrize("major", MAJORS)
def test_autovacuum_is_spared(major):
    one = installation(major, from_wheel=major != 15)
    slow = {
        "autovacuum": "on",
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_threshold": "0",
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_cost_limit": "1",
        "autovacuum_vacuum_cost_delay": "100ms",
    }
    with running_server(one, more=slow) as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT g AS i FROM generate_series(1, 200000) g")
            connection.execute("UPDATE t SET i = -i")
        watcher = PostgresWatcher(Connector("main", server.dsn()))
        workers: list[Session] = []

        def find() -> bool:
            seen = watcher.observe().sessions
            workers[:] = [one for one in seen if one.backend_type == "autovacuum worker"]
            return any(one.state == "active" for one in workers)

        until(find)
        policy = Policy("all", EVERYTHING, (Action.TERMINATE,), superusers=True)
        plan = WatchPlan([policy], Limits(per_cycle=100), Mode.ENFORCE, record=False)
        patrols = [
            Patrol(watcher, MemoryCatalog(SystemClock()), SystemClock(), replace(plan, mode=mode))
            for mode in (Mode.OBSERVE, Mode.ENFORCE)
        ]
        victim = Client(server.dsn(), "victim")
        victim.run("SELECT 1")
        assert told_and_hit(*patrols) == [victim.pid]
        assert victim.fate() == TERMINATED
        victim.close()
        after = {one.key for one in watcher.observe().sessions}
        assert {one.key for one in workers} & after
        watcher.close()


@pytest.mark.needs_root
def test_our_own_parallel_dump_and_drill_are_spared(scene, tmp_path, fresh_database):
    """The leader sits idle in transaction for the whole dump; its workers are stopped midway."""
    database = fresh_database(scene.database.server)
    database.execute(
        *(f"CREATE TABLE t{n} AS SELECT g FROM generate_series(1, 200000) g" for n in range(4))
    )
    # Named by hand, for own work is known by its name: a role that dumps, and watches too.
    connector = Connector("main", database.dsn())
    watcher = scene._make(connector)
    match = Match(databases=(database.name,), state=EVERYTHING.state)
    policy = Policy("all", match, (Action.TERMINATE,), superusers=True)
    patrols = [
        scene.patrol(policy, mode=one, watcher=watcher) for one in (Mode.OBSERVE, Mode.ENFORCE)
    ]
    with (
        connector.tool_access(database.name, "dump") as access,
        connector.connect(database.name, "restore") as drill,
        Client(database.dsn(), "web").connection as victim,
    ):
        dump = subprocess.Popen(
            [database.server.tool("pg_dump"), "-Fd", "-j3", "-f", tmp_path / "dump",
             f"--dbname={access.conninfo}"],
            env=dict(access.environ), pass_fds=access.pass_fds, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            drill.execute("SELECT 1")

            def halfway() -> bool:
                seen = watcher.observe().sessions
                dumping = [one for one in seen if one.is_backup]
                return len(dumping) >= 4

            until(halfway)
            children = _children(dump.pid)
            for pid in children:
                os.kill(pid, signal.SIGSTOP)
            victim.execute("SELECT 1")
            seen = watcher.observe()
            backup = [one for one in seen.sessions if one.is_backup]
            assert len(backup) >= 4
            assert "idle in transaction" in {one.state for one in backup}
            assert told_and_hit(*patrols) == [victim.info.backend_pid]
        finally:
            for pid in _children(dump.pid):
                os.kill(pid, signal.SIGCONT)
            _, said = dump.communicate()
        assert dump.returncode == 0, said
        drill.execute("SELECT 1")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


# --- the race, forced within a round ---


class Interrupted(PostgresWatcher):
    """Something happens between the decision and the signal."""

    between: Callable[[], object] = staticmethod(lambda: None)

    def signal(self, session: Session, action: Action, **more: Any) -> SignalResult:
        self.between()
        return super().signal(session, action, **more)


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("COMMIT", Outcome.CHANGED),
        ("SELECT 'another'", Outcome.CHANGED),
        (None, Outcome.GONE),
    ],
)
def test_who_moves_on_at_the_last_moment_is_not_hit(scene, statement, outcome):
    client = scene.crowd.in_transaction()
    watcher = Interrupted(scene.connector)

    def end() -> None:
        client.close()
        with scene.database.connect() as connection:
            asked = "SELECT FROM pg_stat_activity WHERE pid = %s"
            until(lambda: not connection.execute(asked, [client.pid]).fetchall())

    watcher.between = (lambda: client.run(statement)) if statement else end
    patrol = scene.patrol(scene.policy(state=("idle in transaction",)), watcher=watcher)
    (kill,) = patrol.cycle().kills
    assert kill.outcome is outcome
    assert list(scene.catalog.kills()) == [kill]
    if statement:
        assert client.fate() is None
    # It does not count as a kill: nobody is in a cool-down, no limit was used up.
    assert patrol._memory is not None
    assert patrol._memory.sent == ()
    watcher.close()


@pytest.mark.needs_pids
def test_somebody_who_gets_the_pid_at_the_last_moment_is_not_hit(scene):
    """In the same state, of the same user: nothing but its start tells them apart."""
    victim = scene.crowd.in_transaction()
    heirs: list[Client] = []
    watcher = Interrupted(scene.connector)

    def come_back() -> None:
        victim.close()
        with scene.database.connect() as connection:
            asked = "SELECT FROM pg_stat_activity WHERE pid = %s"
            until(lambda: not connection.execute(asked, [victim.pid]).fetchall())
        heirs.append(heir_of(victim.pid, scene.crowd.in_transaction))

    watcher.between = come_back
    patrol = scene.patrol(scene.policy(state=("idle in transaction",)), watcher=watcher)
    (kill,) = patrol.cycle().kills
    assert (kill.pid, kill.outcome) == (victim.pid, Outcome.GONE)
    assert [one.pid for one in heirs] == [victim.pid]
    assert heirs[0].fate() is None
    watcher.close()


def test_a_grant_that_comes_later_counts_for_those_who_were_refused(scene, fresh_role):
    role = fresh_role(scene.database.server)
    client = scene.crowd.idle()
    with scene.database.connect() as connection:
        connection.execute(f'GRANT pg_monitor TO "{role.name}"'.encode())
        watcher = scene._make(Connector("main", scene.database.dsn(role=role)))
        patrol = scene.patrol(scene.policy(state=("idle",)), watcher=watcher)
        refused = patrol.cycle()
        assert [one.outcome for one in refused.kills] == [Outcome.REFUSED]
        assert "GRANT pg_signal_backend" in refused.problems[0]
        assert patrol.cycle().kills == ()
        connection.execute(f'GRANT pg_signal_backend TO "{role.name}"'.encode())
    reports = [patrol.cycle(), patrol.cycle()]
    assert [one.outcome for each in reports for one in each.kills] == [Outcome.SIGNALLED]
    assert client.fate() == TERMINATED
    assert reports[1].problems == ()
    assert len(scene.catalog.events(kind="watch_shortcoming")) == 1


# --- limits ---


def test_the_limits_stop_it_and_it_says_so_once(scene16):
    clients = [scene16.crowd.idle() for _ in range(5)]
    policy = scene16.policy(state=("idle",))
    patrol = scene16.patrol(policy, limits=Limits(per_cycle=2, per_hour=3))
    reports: list[CycleReport] = [patrol.cycle() for _ in range(4)]
    assert [len(one.kills) for one in reports] == [2, 1, 0, 0]
    assert [one.notice is not None for one in reports] == [False, True, False, False]
    assert sum(one.fate() == TERMINATED for one in clients) == 3
    (event,) = scene16.catalog.events(kind="kill_limit_reached")
    assert "per_hour" in event.message
    # A restart does not forget it.
    again = scene16.patrol(policy, limits=Limits(per_cycle=2, per_hour=3))
    assert again.cycle().kills == ()


# --- all slots taken ---


@pytest.mark.parametrize("major", MAJORS)
def test_idle_sessions_in_all_slots_are_ended_and_the_server_admits_clients_again(major):
    one = installation(major, from_wheel=major != 15)
    with running_server(one, more={"max_connections": "20"}) as server:
        web, guard = server.create_role(), server.create_role()
        with server.connect() as connection:
            connection.execute(f'GRANT pg_monitor, pg_signal_backend TO "{guard.name}"'.encode())
        watcher = PostgresWatcher(Connector("main", server.dsn(role=guard)))
        policy = Policy("idle", Match(state=("idle",), users=(web.name,)), (Action.TERMINATE,))
        plan = WatchPlan([policy], Limits(per_cycle=5), Mode.ENFORCE, record=False)
        patrol = Patrol(watcher, MemoryCatalog(SystemClock()), SystemClock(), plan)
        patrol.cycle()
        clients: list[Client] = []
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                clients.append(Client(server.dsn(role=web), "web"))
        for client in clients:
            client.run("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            server.connect(role=web)
        killed = patrol.cycle().kills
        assert len(killed) == 5
        assert all(kill.outcome is Outcome.SIGNALLED for kill in killed)
        until(lambda: _is_admitted(server, web))
        assert sum(client.fate() == TERMINATED for client in clients) == 5
        for client in clients:
            client.close()
        patrol.close()


def _is_admitted(server: PostgresServer, role: Any) -> bool:
    try:
        server.connect(role=role).close()
    except psycopg.OperationalError:
        return False
    return True


# --- by hand ---


def test_a_kill_by_hand_is_audited_and_knows_its_person(scene):
    victim, bystander = scene.crowd.in_transaction(), scene.crowd.in_transaction()
    record = scene.patrol().kill(victim.pid, Action.TERMINATE, by="ana")
    assert (record.mode, record.outcome, record.policy) == (
        KillMode.MANUAL, Outcome.SIGNALLED, None,
    )  # fmt: skip
    assert record.evidence["by"] == "ana"
    assert list(scene.catalog.kills()) == [record]
    assert victim.fate() == TERMINATED
    assert bystander.fate() is None


def test_by_hand_a_query_is_cancelled(scene16):
    victim = scene16.crowd.active()
    record = scene16.patrol().kill(victim.pid, Action.CANCEL, by="ana")
    assert record.action is Action.CANCEL
    assert victim.finish() == CANCELLED


def _own(observation: Observation) -> Session:
    return next(one for one in observation.sessions if one.is_own)


def test_by_hand_too_the_immune_are_left_alone(scene16):
    patrol = scene16.patrol()
    own = _own(scene16.watcher.observe())
    with pytest.raises(UsageError, match="guardian's own"):
        patrol.kill(own.pid, Action.TERMINATE, by="ana")
    idle = scene16.crowd.idle()
    with pytest.raises(UsageError, match="no query"):
        patrol.kill(idle.pid, Action.CANCEL, by="ana")
    with pytest.raises(NotFoundError):
        patrol.kill(2**22 + 1, Action.TERMINATE, by="ana")
    assert list(scene16.catalog.kills()) == []
    assert idle.fate() is None
