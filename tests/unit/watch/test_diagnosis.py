from __future__ import annotations

from support.sessions import NOW, ago, observation, session

from guardian.watch.diagnosis import HIDDEN, connections_of, long_transactions


def test_clients_by_state_and_by_who_they_are():
    look = observation(
        session(1, "active", 30, query_start=ago(30)),
        session(2, "idle", 5),
        session(3, "idle", 50),
        session(4, "idle in transaction", 7, application="job"),
        session(5, "idle in transaction (aborted)", 9, application="job"),
        session(6, None, backend_type="checkpointer"),
        session(7, None, backend_type="walsender"),
        session(8, None, visible=False, application=""),
        session(9, None, visible=False, database=None, backend_type=None),
    )
    found = connections_of(look, 10)
    assert (found.clients, found.hidden) == (6, 1)
    assert [(one.state, one.count, one.longest_seconds) for one in found.by_state][:4] == [
        ("active", 1, 30),
        ("idle in transaction", 1, 7),
        ("idle in transaction (aborted)", 1, 9),
        ("idle", 2, 50),
    ]
    assert (found.by_state[-1].state, found.by_state[-1].count) == (HIDDEN, 1)
    assert [(one.application, one.count) for one in found.by_client] == [
        ("web", 3),
        ("job", 2),
        (None, 1),
    ]
    web, job, _ = found.by_client
    assert (web.active, web.idle, web.idle_in_transaction) == (1, 2, 0)
    assert (job.active, job.idle, job.idle_in_transaction) == (0, 0, 2)
    assert connections_of(look, 1).by_client == (web,)


def test_open_transactions_the_oldest_first_without_our_own_short_ones():
    look = observation(
        session(1, "idle", 90),
        session(2, xact_start=ago(5)),
        session(3, xact_start=ago(60)),
        session(4, xact_start=ago(1), is_own=True),
        session(5, xact_start=ago(600), is_own=True),
        session(6, None, backend_type="autovacuum worker", xact_start=ago(70)),
    )
    assert [one.pid for one in long_transactions(look, 10)] == [5, 3, 2]
    assert [one.pid for one in long_transactions(look, 1)] == [5]


def test_an_empty_server():
    assert connections_of(observation(at=NOW), 10).by_state == ()
    assert long_transactions(observation(at=NOW), 10) == []
