"""Sessions, lock trees and the audit as the page tells them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from support.dashboard import a_kill
from support.sessions import NOW, session, waiter

from guardian.watch.audit import KillMode
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation, Outcome, PreparedTransaction
from guardian.watch.outage import Availability
from guardian.watch.policy import Decisions, Hold, Verdict
from guardian.web.ports import Look, ServerNow
from guardian.web.views.sessions import kill_rows, may_be_killed, server_sessions
from guardian.web.views.wording import Level

SERVER = ServerNow("main", Availability.UP)
FRESH = timedelta(minutes=1)


def page(*sessions, blockers=None, verdicts=(), prepared=(), at=NOW, **options):
    seen = Observation("main", NOW, sessions, blockers or {}, prepared)
    decisions = Decisions("main", NOW, Mode.OBSERVE, tuple(verdicts), Memory())
    return server_sessions(SERVER, Look(at, seen, decisions), NOW, FRESH, **options)


def test_before_the_first_look_nothing_is_claimed():
    found = server_sessions(SERVER, None, NOW, FRESH)
    assert (found.at, found.is_stale, found.rows) == (None, True, ())


def test_who_has_a_verdict_comes_first_then_who_holds_up_then_who_waits():
    idle, busy = session(1, "idle", 900), session(2, "active", 5)
    root, waits = session(3, "idle in transaction", 60), waiter(4, 30)
    verdict = Verdict(idle, "old", Action.TERMINATE, "idle for 15m", Hold.PER_CYCLE)
    found = page(busy, waits, root, idle, blockers={4: (3,)}, verdicts=[verdict])
    assert [one.pid for one in found.rows] == [1, 3, 4, 2]
    first, holder, waiting, _ = found.rows
    assert (first.verdict_action, first.verdict) == ("terminate", "by old: idle for 15m")
    assert first.held == Hold.PER_CYCLE.value
    assert holder.victims == 1
    assert (waiting.blocked_by, waiting.waits) == ([3], "for a lock, 30s")


def test_the_tree_tells_who_waits_behind_whom():
    root, first, second = session(1, seconds=90), waiter(2, 60), waiter(3, 30)
    (tree,) = page(root, first, second, blockers={2: (1,), 3: (2,)}).trees
    assert (tree.victims, tree.longest, tree.is_deadlock) == (2, "1m", False)
    assert tree.node.pid == 1
    assert [one.pid for one in tree.node.blocks] == [2]
    assert [one.pid for one in tree.node.blocks[0].blocks] == [3]
    assert tree.node.blocks[0].said == "waits 1m; active for 1m"


def test_a_prepared_transaction_is_named():
    prepared = PreparedTransaction("gid <b>", NOW - timedelta(hours=2), "web", "mina")
    (tree,) = page(waiter(2, 60), blockers={2: (0,)}, prepared=(prepared,)).trees
    assert tree.node.pid == 0
    assert tree.node.said == "prepared transaction gid <b> of web in mina, 2h old"


def test_a_look_that_is_old_or_failed_says_so():
    assert page(session(1), at=NOW - timedelta(minutes=2)).is_stale
    assert not page(session(1)).is_stale


def test_what_our_role_may_not_see_is_told_as_hidden():
    found = page(session(1, None, visible=False, query=None), session(2, "active"))
    assert found.hidden == 1
    hidden = next(one for one in found.rows if one.pid == 1)
    assert (hidden.state, hidden.query) == ("hidden", "hidden from our role")


def test_query_texts_stay_out_where_they_are_not_wanted():
    found = page(session(1, "active", query="select secret"), with_query=False)
    assert "secret" not in found.rows[0].query


def test_control_characters_do_not_get_through():
    (row,) = page(session(1, "active", query="a\x1b[31m\nb", application="x\x00y")).rows
    assert (row.query, row.application) == ("a\\x1b[31m b", "x\\x00y")


def test_shares_add_up():
    found = page(session(1, "active"), session(2, "idle"), session(3, "idle"))
    assert [(one.state, one.count) for one in found.shares] == [("active", 1), ("idle", 2)]
    last = found.shares[-1]
    assert round(last.start + last.percent) == 100


def test_a_long_list_is_cut_and_says_so():
    found = page(*[session(n, "idle", n) for n in range(1, 260)])
    assert (len(found.rows), found.left_out, found.clients) == (200, 59, 259)


def test_what_may_not_be_ended_says_why():
    assert may_be_killed(session(1, "active"), Action.CANCEL) is None
    assert "no query" in (may_be_killed(session(1, "idle"), Action.CANCEL) or "")
    assert may_be_killed(session(1, "idle"), Action.TERMINATE) is None
    assert may_be_killed(session(1, "active", is_own=True), Action.TERMINATE)


def test_the_audit_tells_who_and_what_came_of_it():
    by_hand = a_kill(NOW, 7, KillMode.MANUAL, Outcome.SIGNALLED, by="ada")
    would = a_kill(NOW, 8, KillMode.OBSERVE, Outcome.WOULD, by="")
    still = replace(by_hand, evidence={"by": "ada", "confirmed": False})
    first, second, third = kill_rows([by_hand, would, still])
    assert (first.by, first.said, first.level) == ("ada", "ended", Level.OK)
    assert (second.by, second.said) == ("policy forgotten transactions", "would have (observe)")
    assert third.said == "did not end"
