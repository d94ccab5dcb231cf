"""Every key of a match, at its bound and beside it; immunities; reasons word for word."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.sessions import NOW, ago, observation, session, waiter

from guardian.watch.locks import LockGraph
from guardian.watch.matching import View, explain, immunity, spares
from guardian.watch.rules import Match

MINUTE = timedelta(minutes=1)
FIVE = timedelta(minutes=5)


def view(one, *others, blockers=None, last_waiting=None) -> View:
    look = observation(one, *others, blockers=blockers or {})
    backups = frozenset(each.pid for each in look.sessions if each.is_backup)
    return View(one, NOW, LockGraph(look), backups, last_waiting)


def queue(count: int, seconds: float = 90, **first):
    """Session 1 with so many waiters behind it, one behind the other."""
    one = session(1, seconds=600, **first)
    others = [waiter(pid, seconds - pid) for pid in range(2, count + 2)]
    return view(one, *others, blockers={each.pid: (each.pid - 1,) for each in others})


# --- one key each: (match, facts of the session, does it hold?) ---

CASES = [
    # state: exactly this one
    ({"state": ("idle",)}, {"state": "idle"}, True),
    ({"state": ("idle",)}, {"state": "idle in transaction"}, False),
    ({"state": ("idle", "active")}, {"state": "active"}, True),
    ({"state": ("idle in transaction",)}, {"state": "idle in transaction (aborted)"}, False),
    ({"state": ("idle",)}, {"state": None}, False),
    # for: since the state's change, for a running query since its start; longer, not as long
    ({"for_": FIVE}, {"state": "idle", "seconds": 300}, False),
    ({"for_": FIVE}, {"state": "idle", "seconds": 300.001}, True),
    ({"for_": FIVE}, {"state": "idle", "state_change": ago(9), "query_start": ago(999)}, False),
    ({"for_": FIVE}, {"state": "idle in transaction", "state_change": ago(301)}, True),
    ({"for_": FIVE}, {"state": "active", "seconds": 300}, False),
    ({"for_": FIVE}, {"state": "active", "query_start": ago(9), "state_change": ago(999)}, False),
    ({"for_": FIVE}, {"state": "active", "query_start": ago(301), "state_change": ago(9)}, True),
    ({"for_": FIVE}, {"state": "disabled", "state_change": None}, False),
    ({"for_": FIVE}, {"state": None, "seconds": 999}, False),
    # transaction_for
    ({"transaction_for": FIVE}, {"xact_start": ago(300)}, False),
    ({"transaction_for": FIVE}, {"xact_start": ago(301)}, True),
    ({"transaction_for": FIVE}, {"state": "idle", "seconds": 999}, False),
    # globs, case kept
    ({"users": ("web",)}, {"user": "web"}, True),
    ({"users": ("web",)}, {"user": "Web"}, False),
    ({"users": ("web",)}, {"user": "webber"}, False),
    ({"users": ("we?", "x")}, {"user": "web"}, True),
    ({"users": ("*",)}, {"user": None}, False),
    ({"users": ("*",)}, {"user": "two\nlines"}, True),
    ({"databases": ("mina*",)}, {"database": "mina_test"}, True),
    ({"databases": ("mina*",)}, {"database": "test_mina"}, False),
    ({"applications": ("pgAdmin*",)}, {"application": "pgAdmin 4 - DB:mina"}, True),
    ({"applications": ("pgAdmin*",)}, {"application": "pgadmin"}, False),
    ({"applications": ("",)}, {"application": ""}, True),
    ({"wait_event_types": ("Lock", "IO")}, {"wait_event_type": "IO"}, True),
    ({"wait_event_types": ("Lock",)}, {"wait_event_type": "LWLock"}, False),
    ({"wait_event_types": ("*",)}, {"wait_event_type": None}, False),
    # networks
    ({"clients": ("10.0.0.0/8",)}, {"client": "10.9.9.9"}, True),
    ({"clients": ("10.0.0.0/8",)}, {"client": "11.0.0.1"}, False),
    ({"clients": ("10.1.2.3",)}, {"client": "10.1.2.3/32"}, True),
    ({"clients": ("10.1.2.3/8",)}, {"client": "10.200.0.1"}, True),
    ({"clients": ("192.168.0.0/16", "::1")}, {"client": "::1"}, True),
    ({"clients": ("10.0.0.0/8",)}, {"client": "::ffff:10.0.0.1"}, True),
    ({"clients": ("0.0.0.0/0",)}, {"client": "fd00::1"}, False),
    ({"clients": ("0.0.0.0/0", "::/0")}, {"client": None}, False),
    ({"clients": ("0.0.0.0/0", "::/0")}, {"client": "localhost"}, False),
    # query: found anywhere, case kept
    ({"query": "from big"}, {"query": "select * from big"}, True),
    ({"query": "^from big"}, {"query": "select * from big"}, False),
    ({"query": "FROM"}, {"query": "select * from big"}, False),
    ({"query": "(?i)FROM"}, {"query": "select * from big"}, True),
    ({"query": "."}, {"query": None}, False),
    ({"query": "end$"}, {"query": "x" * 16_384 + "end"}, False),
    # waiting_for: the wait's own start
    ({"waiting_for": MINUTE}, {"wait_started_at": ago(60)}, False),
    ({"waiting_for": MINUTE}, {"wait_started_at": ago(61)}, True),
    ({"waiting_for": MINUTE}, {"wait_started_at": None, "seconds": 999}, False),
    # several: all must hold
    ({"state": ("idle",), "users": ("web",)}, {"state": "idle"}, True),
    ({"state": ("idle",), "users": ("bob",)}, {"state": "idle"}, False),
    ({"state": ("active",), "users": ("web",)}, {"state": "idle"}, False),
]


@pytest.mark.parametrize(("keys", "facts", "holds"), CASES)
def test_each_key(keys, facts, holds):
    seen = view(session(1, **{"seconds": 60, **facts}))
    match = Match(**keys)
    assert (explain(match, seen) is not None) == holds
    if len(match.keys) == 1:
        assert spares(match, seen) == holds


@pytest.mark.parametrize(("count", "holds"), [(0, False), (2, False), (3, True), (4, True)])
def test_blocking_counts_all_behind_it(count, holds):
    assert (explain(Match(blocking=3), queue(count)) is not None) == holds
    assert spares(Match(blocking=3), queue(count)) == holds


@pytest.mark.parametrize(("seconds", "holds"), [(62, False), (62.1, True)])
def test_blocking_for_is_the_longest_wait_behind_it(seconds, holds):
    """The first waiter has waited two seconds less than ``seconds``."""
    assert (explain(Match(blocking_for=MINUTE), queue(3, seconds)) is not None) == holds


def test_who_holds_nobody_up_does_not_do_it_for_long():
    assert not spares(Match(blocking_for=MINUTE), queue(0))


@pytest.mark.parametrize(("seconds", "holds"), [(60, False), (61, True)])
def test_who_was_given_the_lock_a_moment_ago_has_held_it_since_then(seconds, holds):
    """After a root is gone its first waiter holds the lock, and is innocent of the waits so far."""
    one, *others = (session(1), waiter(2, 600), waiter(3, 500))
    seen = view(one, *others, blockers={2: (1,), 3: (2,)}, last_waiting=ago(seconds))
    assert (explain(Match(blocking_for=MINUTE), seen) is not None) == holds


def test_only_roots_are_meant_by_blocking():
    """Session 2 holds two up, and is itself held up: ending it frees nobody for good."""
    look = queue(3)
    middle = View(next(iter_pid(look, 2)), NOW, look.graph, look.backups)
    assert middle.victims == 2
    for match in (Match(blocking=1), Match(blocking_for=timedelta(seconds=1))):
        assert explain(match, look) is not None
        assert explain(match, middle) is None
        assert spares(match, middle)


def iter_pid(look: View, pid: int):
    root = look.graph.draw(look.graph.roots[0])
    level = [root]
    while level:
        yield from (one.session for one in level if one.pid == pid)
        level = [below for one in level for below in one.blocks]


def test_a_waiter_that_holds_others_up_is_meant_when_its_wait_is_named():
    look = queue(3)
    middle = View(next(iter_pid(look, 2)), NOW, look.graph, look.backups)
    assert explain(Match(blocking=2, waiting_for=MINUTE), middle) is not None
    assert explain(Match(blocking=3, waiting_for=MINUTE), middle) is None
    assert explain(Match(blocking=2, waiting_for=MINUTE), look) is None  # the root does not wait


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("is_backup", [True, False])
def test_blocking_backup_looks_through_the_chain(wanted, is_backup):
    dump = waiter(3, 5, is_own=True, is_backup=is_backup)
    look = view(session(1), waiter(2, 9), dump, blockers={2: (1,), 3: (2,)})
    match = Match(blocking_backup=wanted)
    assert (explain(match, look) is not None) == (wanted == is_backup)
    assert spares(match, look) == (wanted == is_backup)


def test_an_exception_spares_when_any_key_holds():
    seen = view(session(1, "idle", 5))
    assert spares(Match(state=("active",), users=("web",)), seen)
    assert not spares(Match(state=("active",), users=("bob",)), seen)
    assert not spares(Match(), seen)


# --- immunities ---


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"is_own": True}, "it is guardian's own"),
        ({"visible": False}, "our role may not see what it does; grant it pg_monitor"),
        ({"backend_start": None}, "our role may not see what it does; grant it pg_monitor"),
        ({"is_replication": True}, "it is replication"),
        ({"leader_pid": 77}, "it is a worker of pid 77"),
        ({"backend_type": "walsender"}, "it is no client but walsender"),
        ({"backend_type": "autovacuum worker"}, "it is no client but autovacuum worker"),
        ({"backend_type": None}, "it is no client but of an unknown kind"),
        ({"is_superuser": True, "user": "root"}, "'root' is a superuser"),
    ],
)
def test_immunities(facts, words):
    assert immunity(session(1, **facts)) == words
    lifted = immunity(session(1, **facts), superusers=True)
    assert lifted == (None if "is_superuser" in facts else words)


@pytest.mark.parametrize(
    ("query", "spared"),
    [
        ("/* guardian:spare */ select 1", True),
        ("select 1 /*guardian:spare*/", True),
        ("select 1\n/*\n guardian:spare because it is the payroll */", True),
        ("/* Guardian:Spare */ select 1", True),
        ("select 'x' /* guardian:sparely */", False),
        ("-- guardian:spare\nselect 1", False),
        ("select 1", False),
        (None, False),
        (" " * 20_000 + "/* guardian:spare */", True),
    ],
)
def test_the_comment_that_spares(query, spared):
    assert (immunity(session(1, query=query)) is not None) == spared


def test_an_ordinary_client_is_not_immune():
    assert immunity(session(1)) is None


# --- reasons ---


@pytest.mark.parametrize(
    ("keys", "facts", "words"),
    [
        (
            {"state": ("idle in transaction",), "for_": FIVE},
            {"seconds": 723},
            "idle in transaction for 12m 3s, longer than 5m; application 'web'",
        ),
        ({"state": ("idle",)}, {"state": "idle", "application": ""}, "idle"),
        ({"for_": FIVE}, {"seconds": 300.2}, "idle in transaction for just over 5m; application"),
        (
            {"state": ("active",), "for_": FIVE, "users": ("w*",), "databases": ("*",)},
            {"state": "active", "seconds": 3700},
            "active for 1h 1m, longer than 5m; user 'web'; database 'mina'; application 'web'",
        ),
        (
            {"transaction_for": MINUTE, "applications": ("w*",), "clients": ("10.0.0.0/8",)},
            {"seconds": 100},
            "transaction open for 1m 40s, longer than 1m; application 'web'; client 10.1.2.3",
        ),
        (
            {"query": "select", "wait_event_types": ("Client",)},
            {"wait_event_type": "Client"},
            "query matches 'select'; wait event type 'Client'; application 'web'",
        ),
        (
            {"waiting_for": MINUTE},
            {"wait_started_at": ago(75)},
            "waiting for a lock for 1m 15s, longer than 1m; application 'web'",
        ),
        (
            {"users": ("*",)},
            {"user": "\x1b[2J\n'x'", "application": ""},
            """user "\\x1b[2J\\n'x'\"""",
        ),
    ],
)
def test_reasons(keys, facts, words):
    reason = explain(Match(**keys), view(session(1, **facts)))
    assert reason is not None
    assert reason == words or reason.startswith(f"{words} 'web'")
    assert reason.isprintable()


def test_the_reason_for_a_lock_root():
    words = explain(Match(blocking=3, blocking_for=MINUTE), queue(7, 122))
    assert words == (
        "holds up 7 sessions, at least 3; holding up others for 2m, longer than 1m; "
        "application 'web'"
    )


def test_the_reason_for_holding_up_a_backup():
    look = view(session(1), waiter(2, 5, is_backup=True), blockers={2: (1,)})
    assert explain(Match(blocking_backup=True, blocking=1), look) == (
        "holds up 1 session, at least 1; holds up a backup; application 'web'"
    )
