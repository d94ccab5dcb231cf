"""What one look sees, on real servers; and that nothing stops it from looking."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from support.clients import Client, Crowd, until
from support.postgres import PostgresServer, installation, running_server
from support.proxy import BreakableProxy

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.errors import (
    AlreadyRunningError,
    ConnectionFailedError,
    GuardianError,
    LockedError,
    TimedOutError,
)
from guardian.watch.locks import LockGraph
from guardian.watch.matching import immunity
from guardian.watch.model import Action, Outcome


def test_each_state_is_seen_as_it_is(scene):
    crowd = scene.crowd
    clients = {
        "idle": crowd.idle("one"),
        "idle in transaction": crowd.in_transaction("two"),
        "idle in transaction (aborted)": crowd.aborted("three"),
        "active": crowd.active("four"),
    }
    silent = crowd.client("five", superuser=True, options="-c track_activities=off")
    silent.run("SELECT 1")
    seen = scene.watcher.observe()
    for state, client in clients.items():
        session = scene.find(client.pid, seen)
        assert session.state == state
        assert session.user == crowd.role.name
        assert session.database == scene.database.name
        assert session.backend_type == "client backend"
        assert session.visible
        assert {session.is_own, session.is_superuser, session.is_replication} == {False}
        assert 0 <= (session.state_seconds(seen.at) or -1) < 60
    assert scene.find(silent.pid, seen).state == "disabled"
    assert scene.find(clients["active"].pid, seen).query == "SELECT pg_sleep(300)"
    assert scene.find(clients["idle"].pid, seen).application == "one"
    assert scene.find(clients["idle in transaction"].pid, seen).xact_start is not None
    assert scene.find(clients["idle"].pid, seen).xact_start is None
    assert seen.server == "main"
    assert seen.at.utcoffset() == timedelta(0)
    assert seen.blockers == {}


def test_a_look_is_one_statement(pg, make_scene):
    scene = make_scene(pg)
    scene.database.execute(f"ALTER ROLE \"{scene.role.name}\" SET log_statement = 'all'")
    scene.crowd.holder(1)
    scene.crowd.waiter(1)
    for _ in range(3):  # connecting, both of them, and finding out what the role may do
        scene.watcher.observe()
    log = pg.embedded.log_path
    before = log.stat().st_size
    for _ in range(6):
        assert scene.watcher.observe().blockers
    pids = "|".join(str(pid) for pid in scene.watcher._own_pids())
    said = log.read_bytes()[before:].decode(errors="replace")
    asked = re.findall(rf"\[(?:{pids})\] LOG:  (?:execute \S+|statement): (.*)", said)
    assert len(asked) == 6
    assert {one.startswith("-- One look") for one in asked} == {True}


def test_a_client_over_tcp_has_an_address_and_one_over_the_socket_has_none(scene16):
    over_tcp = scene16.crowd.idle(tcp=True)
    over_socket = scene16.crowd.idle()
    seen = scene16.watcher.observe()
    assert scene16.find(over_tcp.pid, seen).client == "127.0.0.1"
    assert scene16.find(over_socket.pid, seen).client is None


def test_our_own_work_is_known_by_role_and_name(scene, fresh_role):
    crowd, own = scene.crowd, {"role": scene.role}
    other = fresh_role(scene.database.server)
    dump = crowd.in_transaction("guardian dump", **own)
    backup = crowd.in_transaction("guardian backup", **own)
    drill = crowd.idle("guardian restore", **own)
    lookalike = crowd.idle("guardians of the galaxy", **own)
    impostor = crowd.idle("guardian dump")
    ally = crowd.idle("guardian catalog", role=other)
    scene.watcher.observe()
    watcher = scene.new_watcher(own_roles=[other.name])
    watcher.observe()
    seen = watcher.observe()
    facts = {one.pid: (one.is_own, one.is_backup) for one in seen.sessions if one.state is not None}
    assert facts[dump.pid] == (True, True)
    assert facts[backup.pid] == (True, True)
    assert facts[drill.pid] == (True, False)
    assert facts[lookalike.pid] == (False, False)
    assert facts[impostor.pid] == (False, False)
    assert facts[ally.pid] == (True, False)
    assert not scene.find(ally.pid).is_own
    ours = [one for one in seen.sessions if one.application == "guardian watch"]
    assert len([one for one in ours if one.is_own]) == 4  # two of each watcher
    assert len(ours) == 4


def test_superusers_are_known_and_unknown_roles_count_as_such(scene16, fresh_role):
    crowd = scene16.crowd
    chief = crowd.idle(superuser=True)
    plain = crowd.idle()
    vanished = scene16.database.server.create_role()
    gone = crowd.idle(role=vanished)
    with scene16.database.connect() as connection:
        connection.execute(f'DROP ROLE "{vanished.name}"'.encode())
    seen = scene16.watcher.observe()
    assert scene16.find(chief.pid, seen).is_superuser
    assert not scene16.find(plain.pid, seen).is_superuser
    assert scene16.find(gone.pid, seen).is_superuser


def test_a_chain_of_locks_has_its_root_and_true_waits(scene):
    crowd = scene.crowd
    root = crowd.holder(1)
    middle = crowd.waiter(1, holds=2)
    last = crowd.waiter(2)
    bystander = crowd.in_transaction()
    seen = scene.watcher.observe()
    assert {middle.pid: (root.pid,), last.pid: (middle.pid,)} == seen.blockers
    assert scene.find(middle.pid, seen).wait_started_at is not None
    assert scene.find(middle.pid, seen).wait_seconds(seen.at) > 0
    assert scene.find(bystander.pid, seen).wait_started_at is None
    (found,) = LockGraph(seen).roots
    assert (found.pid, found.victims) == (root.pid, 2)
    assert found.longest_wait_seconds > 0


def test_a_prepared_transaction_is_a_root(scene):
    crowd = scene.crowd
    gid = "it's \u00e9"
    maker = crowd.client()
    with scene.database.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (i int)")
        connection.execute(f'GRANT ALL ON t TO "{crowd.role.name}"'.encode())
        connection.execute(f'GRANT ALL ON SCHEMA public TO "{crowd.role.name}"'.encode())
    maker.run("BEGIN")
    maker.run("LOCK TABLE t IN EXCLUSIVE MODE")
    maker.run("PREPARE TRANSACTION 'it''s \u00e9'")
    waiter = crowd.client()
    waiter.start("INSERT INTO t VALUES (1)")
    crowd.await_state(waiter, "active", wait="Lock")
    seen = scene.watcher.observe()
    try:
        assert seen.blockers[waiter.pid] == (0,)
        (found,) = [one for one in seen.prepared if one.database == scene.database.name]
        assert (found.gid, found.owner) == (gid, crowd.role.name)
        assert found.prepared_at <= seen.at
        (root,) = LockGraph(seen).roots
        assert (root.pid, root.session, root.victims) == (0, None, 1)
        assert root.prepared == (found,)
    finally:
        crowd.client(superuser=True).run("ROLLBACK PREPARED 'it''s \u00e9'")


def test_queries_in_any_encoding_do_not_stop_the_look(scene, fresh_database):
    server = scene.database.server
    latin = fresh_database(
        server, options="ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    crowd = Crowd(latin, scene.crowd.role)
    try:
        client = crowd.client("caf\u00e9")
        client.connection.execute("SELECT 'd\u00e9j\u00e0 vu'")
        session = scene.find(client.pid)
        assert session.query == "SELECT 'd\\xe9j\\xe0 vu'"
    finally:
        crowd.close()


def test_a_look_takes_of_long_queries_what_policies_search(make_watcher):
    """A server may show 1 MB of each, which nobody reads; in the rest secrets are looked for."""
    one = installation(16, from_wheel=True)
    with running_server(one, more={"track_activity_query_size": "1MB"}) as server:
        latin = server.create_database(
            options="ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        tail = "\u00fcber ALTER ROLE x PASSWORD 'geheim' " * 20_000
        texts = {
            "plain": f"SELECT 'first' /* {tail} */",
            "spared": f"SELECT 'second' /* {tail} */ /* guardian:spare */",
            "spared aloud": f"SELECT 'third' /* {tail} */ /* GUARDIAN:SPARE */",
        }
        with ExitStack() as opened:
            for name, text in texts.items():
                dsn = latin.dsn(client_encoding="LATIN1")
                client = opened.enter_context(closing(Client(dsn, name)))
                client.connection.execute(text.encode("latin-1"))
            watcher = make_watcher(Connector("main", server.dsn()))
            for _ in range(2):  # the second one knows the texts already
                seen = {one.application: one for one in watcher.observe().sessions}
                found = {name: seen[name].query or "" for name in texts}
                assert max(map(len, found.values())) < 20_000
                assert "geheim" not in "".join(found.values())
                assert [
                    place in found[name]
                    for name, place in zip(texts, ("'first'", "'second'", "'third'"), strict=True)
                ] == [True] * 3
                spared = {name for name in texts if immunity(seen[name], superusers=True)}
                assert spared == {"spared", "spared aloud"}


# --- what our role may do ---


def test_a_role_that_sees_nothing_is_told_so_and_grants_count_at_once(scene, fresh_role):
    server = scene.database.server
    client = scene.crowd.idle()
    blind = fresh_role(server)
    watcher = scene._make(Connector("main", scene.database.dsn(role=blind)))
    session = scene.find(client.pid, watcher.observe())
    assert not session.visible
    assert session.backend_start is None
    sees, signals = watcher.facts.shortcomings
    assert f"GRANT pg_monitor TO {blind.name};" in sees
    assert f"GRANT pg_signal_backend TO {blind.name};" in signals
    with server.connect() as connection:
        for line in (sees, signals):
            connection.execute(line[line.index("GRANT") :].encode())
    watcher.observe()
    assert watcher.facts.shortcomings == ()
    session = scene.find(client.pid, watcher.observe())
    assert session.visible
    assert watcher.signal(session, Action.TERMINATE).outcome is Outcome.SIGNALLED


def test_settings_of_role_and_database_do_not_matter(pg, make_scene):
    scene = make_scene(pg)
    name = f'"{scene.role.name}"'
    with scene.database.connect() as connection:
        for setting in ("statement_timeout = '1ms'", "lock_timeout = '1ms'",
                        "idle_in_transaction_session_timeout = '1ms'",
                        "TimeZone = 'Asia/Kolkata'",
                        "DateStyle = 'SQL, DMY'", "client_encoding = 'LATIN1'",
                        "default_transaction_isolation = 'serializable'",
                        "search_path = ''"):  # fmt: skip
            connection.execute(f"ALTER ROLE {name} SET {setting}".encode())
    for _ in range(5):
        seen = scene.watcher.observe()
        assert seen.at.utcoffset() == timedelta(0)
    assert scene.watcher.facts.shortcomings == ()
    client = scene.crowd.idle()
    result = scene.watcher.signal(scene.find(client.pid), Action.TERMINATE)
    assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, True)


def test_a_server_that_records_no_activity_is_told(pg16, make_scene):
    scene16 = make_scene(pg16)
    with scene16.database.connect() as connection:
        connection.execute(
            f'ALTER DATABASE "{scene16.database.name}" SET track_activities = off'.encode()
        )
    scene16.watcher.observe()
    (told,) = scene16.watcher.facts.shortcomings
    assert "track_activities" in told


# --- what goes wrong on the way ---


@pytest.fixture(scope="module")
def mortal():
    with running_server(installation(16, from_wheel=True)) as server:
        yield server


@pytest.fixture
def own_server(mortal):
    """One that a test may stop and overload; it runs again for the next."""
    yield mortal
    if not mortal.embedded.is_running:
        mortal.embedded.start()


def test_a_restarted_server_is_seen_again_at_once(own_server, make_watcher):
    watcher = make_watcher(Connector("main", own_server.dsn()))
    watcher.observe()
    own_server.embedded.stop()
    with pytest.raises(ConnectionFailedError) as caught:
        watcher.observe()
    assert "main" in str(caught.value)
    own_server.embedded.start()
    assert watcher.observe().sessions
    own_server.embedded.stop()
    own_server.embedded.start()
    assert watcher.observe().sessions  # both connections are dead, and that goes unnoticed


def test_a_failover_to_another_address_is_followed(own_server, make_watcher):
    with running_server(installation(18, from_wheel=True)) as other:
        name = other.superuser.name
        assert name == own_server.superuser.name
        dsn = (
            f"host={own_server.socket_dir},{other.socket_dir} "
            f"port={own_server.port},{other.port} user={name} dbname=postgres"
        )
        watcher = make_watcher(Connector("main", dsn))
        watcher.observe()
        assert watcher.facts.server_version_num // 10000 == 16
        own_server.embedded.stop()
        assert watcher.observe().sessions
        assert watcher.facts.server_version_num // 10000 == 18


def test_connections_that_were_killed_are_opened_anew(scene16):
    scene16.watcher.observe()
    for pid in scene16.watcher._own_pids():
        with scene16.database.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    before = scene16.watcher._own_pids()
    assert scene16.watcher.observe().sessions
    assert scene16.watcher._own_pids().isdisjoint(before)
    assert len(scene16.watcher._own_pids()) == 2


def test_a_network_that_swallows_everything_costs_one_timeout(scene16, make_watcher):
    server = scene16.database.server
    with BreakableProxy("127.0.0.1", server.port) as proxy:
        dsn = scene16.database.dsn(role=scene16.role, tcp=True, port=proxy.port)
        watcher = make_watcher(Connector("main", dsn), timeout=timedelta(seconds=1))
        watcher.observe()
        proxy.hang()
        for _ in range(2):
            with pytest.raises(GuardianError) as caught:
                watcher.observe()
            assert isinstance(caught.value, TimedOutError | ConnectionFailedError)
        threads = [one for one in threading.enumerate() if one.name == "watch main"]
        assert len(threads) <= 1
        proxy.mend()
        until(lambda: _looks(watcher))


def _looks(watcher: PostgresWatcher) -> bool:
    try:
        watcher.observe()
    except GuardianError:
        return False
    return True


def test_two_looks_at_once_do_not_pile_up(own_server, make_watcher):
    watcher = make_watcher(Connector("main", own_server.dsn()))
    watcher.observe()
    with own_server.connect() as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE")
            caught: list[BaseException] = []

            def look() -> None:
                try:
                    watcher.observe()
                except GuardianError as error:
                    caught.append(error)

            thread = threading.Thread(target=look)
            thread.start()
            until(watcher._busy.locked)
            with pytest.raises(AlreadyRunningError):
                watcher.observe()
            thread.join()
            assert isinstance(caught[0], LockedError)
        assert watcher.observe().sessions


def test_a_look_that_takes_too_long_is_given_up(own_server, make_watcher):
    watcher = make_watcher(Connector("main", own_server.dsn()), timeout=timedelta(seconds=0.5))
    watcher.observe()
    with own_server.connect() as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TimedOutError, match=r"longer than 0\.5s"):
                watcher.observe()
        assert watcher.observe().sessions


def as_many_as_go(connect: Callable[[], Client]) -> list[Client]:
    """Clients until the server has no slot left."""
    made: list[Client] = []
    while len(made) < 50:
        try:
            made.append(connect())
        except psycopg.OperationalError:
            return made
    raise AssertionError("there is always room for more")


def test_with_all_slots_taken_the_watch_still_sees_and_kills(make_watcher):
    # One of its own: its slots are few.
    one = installation(16, from_wheel=True)
    with running_server(one, more={"max_connections": "14"}) as server:
        web = server.create_role()
        guard = server.create_role()
        with server.connect() as connection:
            connection.execute(f'GRANT pg_monitor, pg_signal_backend TO "{guard.name}"'.encode())
        watcher = make_watcher(Connector("main", server.dsn(role=guard)))
        watcher.observe()
        crowd = as_many_as_go(lambda: Client(server.dsn(role=web), "web"))
        try:
            # One of the two is lost, and its slot is taken at once.
            lost = min(watcher._own_pids())
            with server.connect() as chief:
                chief.execute("SELECT pg_terminate_backend(%s, 5000)", [lost])
            crowd.append(Client(server.dsn(role=web), "web"))
            watcher.observe()
            watcher.observe()
            seen = watcher.observe()
            assert len(watcher._own_pids()) == 1
            assert "no second connection" in watcher.facts.shortcomings[0]
            victims = [one for one in seen.sessions if one.application == "web"]
            assert len(victims) == len(crowd)
            result = watcher.signal(victims[0], Action.TERMINATE)
            assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, True)
            until(lambda: _connects(server, web))
            until(lambda: watcher.observe().sessions and len(watcher._own_pids()) == 2)
            assert watcher.facts.shortcomings == ()
        finally:
            for client in crowd:
                client.close()


def test_a_watch_that_comes_too_late_for_a_slot_says_so(make_watcher):
    one = installation(16, from_wheel=True)
    with running_server(one, more={"max_connections": "8"}) as server:
        guard = server.create_role()
        crowd = as_many_as_go(lambda: Client(server.dsn(role=guard), "web"))
        try:
            watcher = make_watcher(Connector("main", server.dsn(role=guard)))
            with pytest.raises(ConnectionFailedError) as caught:
                watcher.observe()
            assert "no slot left" in str(caught.value)
            assert "pg_use_reserved_connections" in str(caught.value)
        finally:
            for client in crowd:
                client.close()


def _connects(server: PostgresServer, role: Any) -> bool:
    try:
        server.connect(role=role).close()
    except psycopg.OperationalError:
        return False
    return True
