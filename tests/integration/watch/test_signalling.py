"""One signal to one session, and nobody else: the clients tell what became of them."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support.clients import until

from guardian.watch.model import Action, Outcome

TERMINATED, CANCELLED = "57P01", "57014"


@pytest.mark.parametrize("kind", ["idle", "in_transaction", "aborted", "active"])
def test_a_session_is_terminated_in_any_state(scene, kind):
    victim = getattr(scene.crowd, kind)()
    bystander = getattr(scene.crowd, kind)()
    result = scene.watcher.signal(scene.find(victim.pid), Action.TERMINATE)
    assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, True)
    if kind == "active":
        victim.finish()
    assert victim.fate() == TERMINATED
    assert bystander.fate() is None


def test_a_cancelled_query_ends_and_its_session_lives(scene):
    victim, bystander = scene.crowd.active(), scene.crowd.active()
    result = scene.watcher.signal(scene.find(victim.pid), Action.CANCEL)
    assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, True)
    assert victim.finish() == CANCELLED
    assert victim.run("SELECT 1") == [(1,)]
    assert bystander.is_waiting()


def test_a_waiter_for_a_lock_is_cancelled_out_of_it(scene):
    scene.crowd.holder(1)
    waiter = scene.crowd.waiter(1)
    assert scene.watcher.signal(scene.find(waiter.pid), Action.CANCEL).confirmed
    assert waiter.finish() == CANCELLED


@pytest.mark.parametrize("kind", ["idle", "in_transaction", "aborted"])
def test_a_session_without_a_query_is_never_cancelled(scene16, kind):
    client = getattr(scene16.crowd, kind)()
    for anything in (False, True):
        session = scene16.find(client.pid)
        result = scene16.watcher.signal(session, Action.CANCEL, whatever_it_does=anything)
        assert result.outcome is Outcome.CHANGED
    assert client.fate() is None


# --- the race: what happens between the decision and the signal ---


@pytest.mark.parametrize("action", [Action.TERMINATE, Action.CANCEL])
def test_a_session_that_ended_is_gone(scene, action):
    client = scene.crowd.active() if action is Action.CANCEL else scene.crowd.idle()
    session = scene.find(client.pid)
    client.close()
    until(lambda: client.pid not in {one.pid for one in scene.watcher.observe().sessions})
    assert scene.watcher.signal(session, action).outcome is Outcome.GONE


def test_a_pid_that_came_back_is_somebody_else(scene):
    client = scene.crowd.idle()
    seen = scene.find(client.pid)
    before = replace(seen, backend_start=seen.backend_start - timedelta(microseconds=1))
    for anything in (False, True):
        result = scene.watcher.signal(before, Action.TERMINATE, whatever_it_does=anything)
        assert result.outcome is Outcome.GONE
    assert client.fate() is None


MOVES = {
    "an idle one ran a query": ("idle", "SELECT 2"),
    "an idle one began": ("idle", "BEGIN"),
    "one in a transaction ran a query": ("in_transaction", "SELECT 2"),
    "one in a transaction committed": ("in_transaction", "COMMIT"),
    "one in a transaction began another": ("in_transaction", "COMMIT; BEGIN"),
    "one in a transaction failed": ("in_transaction", "SELECT 1/0"),
    "an aborted one rolled back": ("aborted", "ROLLBACK"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_session_that_moved_on_is_not_hit(scene, move):
    kind, statement = MOVES[move]
    client = getattr(scene.crowd, kind)()
    session = scene.find(client.pid)
    with contextlib.suppress(psycopg.errors.DivisionByZero):
        client.run(statement)
    assert scene.watcher.signal(session, Action.TERMINATE).outcome is Outcome.CHANGED
    assert client.fate() is None


@pytest.mark.parametrize("action", [Action.TERMINATE, Action.CANCEL])
def test_another_query_is_not_the_one_that_was_judged(scene, action):
    client = scene.crowd.active()
    session = scene.find(client.pid)
    client.connection.cancel_safe()
    assert client.finish() == CANCELLED
    client.start("SELECT pg_sleep(300)")
    scene.crowd.await_state(client, "active")
    assert scene.watcher.signal(session, action).outcome is Outcome.CHANGED
    assert client.is_waiting()


def test_by_hand_a_session_may_have_moved_on(scene16):
    client = scene16.crowd.idle()
    session = scene16.find(client.pid)
    client.run("SELECT 2")
    result = scene16.watcher.signal(session, Action.TERMINATE, whatever_it_does=True)
    assert result.outcome is Outcome.SIGNALLED
    assert client.fate() == TERMINATED


# --- who is never hit, even if somebody asks ---


def test_no_other_backend_is_hit(scene16):
    seen = scene16.watcher.observe()
    others = [one for one in seen.sessions if one.backend_type != "client backend"]
    assert {one.backend_type for one in others} > {"checkpointer", "walwriter"}
    for one in others:
        result = scene16.watcher.signal(one, Action.TERMINATE, whatever_it_does=True)
        assert result.outcome is Outcome.CHANGED
    after = {one.key for one in scene16.watcher.observe().sessions}
    assert {one.key for one in others} <= after


def test_replication_is_not_hit(scene):
    server = scene.database.server
    dsn = make_conninfo(server.dsn(scene.database.name), replication="database")
    with psycopg.connect(dsn, autocommit=True) as walsender:
        pid = walsender.info.backend_pid
        session = scene.find(pid)
        assert session.is_replication
        result = scene.watcher.signal(session, Action.TERMINATE, whatever_it_does=True)
        assert result.outcome is Outcome.CHANGED
        walsender.execute("IDENTIFY_SYSTEM")


def test_our_own_two_connections_are_not_hit(scene16):
    scene16.watcher.observe()
    seen = scene16.watcher.observe()
    own = [one for one in seen.sessions if one.pid in scene16.watcher._own_pids()]
    assert len(own) == 2
    for one in own:
        result = scene16.watcher.signal(one, Action.TERMINATE, whatever_it_does=True)
        assert result.outcome is Outcome.REFUSED
    assert {one.key for one in own} <= {one.key for one in scene16.watcher.observe().sessions}


def test_a_session_that_we_may_not_see_is_not_hit(scene16):
    session = replace(scene16.find(scene16.crowd.idle().pid), backend_start=None)
    assert scene16.watcher.signal(session, Action.TERMINATE).outcome is Outcome.REFUSED


# --- what the server, or the session, does not let happen ---


def test_a_superuser_is_refused_to_a_role_that_is_none(scene):
    chief = scene.crowd.idle(superuser=True)
    result = scene.watcher.signal(scene.find(chief.pid), Action.TERMINATE)
    assert result.outcome is Outcome.REFUSED
    assert "superuser" in (result.detail or "").lower()
    assert chief.fate() is None


def test_without_the_grant_to_signal_it_is_refused(scene, fresh_role):
    role = fresh_role(scene.database.server)
    with scene.database.connect() as connection:
        connection.execute(f'GRANT pg_monitor TO "{role.name}"'.encode())
    watcher = scene._make(type(scene.connector)("main", scene.database.dsn(role=role)))
    client = scene.crowd.idle()
    result = watcher.signal(scene.find(client.pid, watcher.observe()), Action.TERMINATE)
    assert result.outcome is Outcome.REFUSED
    assert result.detail
    (told,) = watcher.facts.shortcomings
    assert f"GRANT pg_signal_backend TO {role.name};" in told
    assert client.fate() is None


@pytest.mark.needs_root
def test_a_session_that_does_not_die_is_told(scene16):
    """Stopped by the system, as one that hangs in the kernel on a dead disk."""
    victim = scene16.crowd.idle()
    session = scene16.find(victim.pid)
    watcher = scene16.new_watcher(patience=timedelta(milliseconds=200))
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        result = watcher.signal(session, Action.TERMINATE)
        assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, False)
        assert "still there" in (result.detail or "")
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    assert victim.fate() == TERMINATED


def test_a_query_that_takes_no_cancel_is_told(scene16):
    victim = scene16.crowd.client()
    victim.start(
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(300);"
        " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    )
    scene16.crowd.await_state(victim, "active")
    watcher = scene16.new_watcher(patience=timedelta(milliseconds=200))
    result = watcher.signal(scene16.find(victim.pid), Action.CANCEL)
    assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, False)
    assert "still runs" in (result.detail or "")
    assert watcher.signal(scene16.find(victim.pid), Action.TERMINATE).confirmed
    assert victim.finish() == TERMINATED


def test_a_report_is_no_signal(scene16):
    session = scene16.find(scene16.crowd.idle().pid)
    with pytest.raises(ValueError, match="report"):
        scene16.watcher.signal(session, Action.REPORT)
