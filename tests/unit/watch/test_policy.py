"""Verdicts over one look and several: who decides, what is done, and what is held back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.sessions import NOW, observation, session, waiter

from guardian.watch.memory import HOUR, Memory, Sent
from guardian.watch.model import Action, Mode, Outcome
from guardian.watch.policy import Hold, Limits, Match, Policy, Victims, evaluate

CANCEL, TERMINATE, REPORT = Action.CANCEL, Action.TERMINATE, Action.REPORT
MINUTE = timedelta(minutes=1)
IDLE = Match(state=("idle",))
ACTIVE = Match(state=("active",), for_=MINUTE)
MANY = Limits(per_cycle=100, per_hour=1000)
BOTH = pytest.mark.parametrize("mode", list(Mode))


def rule(match=IDLE, *action, name="p", **more) -> Policy:
    return Policy(name, match, action or (TERMINATE,), **more)


def ladder(match=ACTIVE, **more) -> Policy:
    return rule(match, CANCEL, TERMINATE, **more)


def judge(sessions, *policies, memory=None, limits=MANY, mode=Mode.ENFORCE, at=NOW, blockers=None):
    look = observation(*sessions, blockers=blockers or {}, at=at)
    return evaluate(look, policies, memory or Memory(), limits, mode)


def told(decisions):
    return [(one.session.pid, one.policy, one.action, one.hold) for one in decisions.verdicts]


def hit(decisions):
    return [(one.session.pid, one.action) for one in decisions.signals]


class Story:
    """Looks at one server, one after the other, with the memory between them."""

    def __init__(self, *policies, limits=MANY, mode=Mode.ENFORCE):
        self.policies, self.limits, self.mode, self.memory = policies, limits, mode, Memory()

    def look(self, seconds, *sessions, blockers=None):
        """A look so many seconds after NOW."""
        self.last = judge(
            sessions,
            *self.policies,
            memory=self.memory,
            limits=self.limits,
            mode=self.mode,
            at=NOW + timedelta(seconds=seconds),
            blockers=blockers,
        )
        self.memory = self.last.memory
        return self.last

    def is_tripped(self) -> bool:
        return self.memory.tripped


# --- who decides ---


def test_nobody_matches_nothing_happens():
    decisions = judge([session(1, "active")], rule())
    assert (decisions.verdicts, decisions.memory, decisions.notice) == ((), Memory(), None)


def test_the_first_match_decides():
    first = rule(Match(users=("web",)), REPORT, name="first")
    decisions = judge([session(1, "idle"), session(2, "idle", user="bob")], first, rule())
    assert told(decisions) == [(1, "first", REPORT, None), (2, "p", TERMINATE, None)]


def test_an_exception_is_the_policys_own():
    spared = rule(IDLE, name="spared", except_=Match(users=("web",)))
    assert told(judge([session(1, "idle")], spared)) == []
    assert told(judge([session(1, "idle")], spared, rule())) == [(1, "p", TERMINATE, None)]


def test_whom_victims_leaves_out_no_later_policy_hits():
    oldest = rule(IDLE, name="oldest", victims=Victims.OLDEST)
    decisions = judge([session(1, "idle", 5), session(2, "idle", 9)], oldest, rule())
    assert hit(decisions) == [(2, TERMINATE)]


@pytest.mark.parametrize(
    ("victims", "pids"),
    [(Victims.ALL, [2, 3, 1]), (Victims.OLDEST, [2]), (Victims.ALL_BUT_OLDEST, [3, 1])],
)
def test_victims_by_age_in_their_state(victims, pids):
    sessions = [session(1, "idle", 10), session(2, "idle", 30), session(3, "idle", 20)]
    assert [pid for pid, _ in hit(judge(sessions, rule(victims=victims)))] == pids


def test_all_but_oldest_of_one_is_nobody():
    assert hit(judge([session(1, "idle")], rule(victims=Victims.ALL_BUT_OLDEST))) == []


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"is_superuser": True}, "'web' is a superuser"),
        ({"query": "select /* guardian:spare */"}, "its query carries the comment"),
        ({"is_own": True}, None),
        ({"is_replication": True, "backend_type": "walsender"}, None),
        ({"leader_pid": 7}, None),
        ({"backend_type": "checkpointer"}, None),
        ({"visible": False}, None),
        ({"state": "active"}, None),  # no policy means it
        ({"application": "pgAdmin"}, None),  # an exception spares it, no immunity
    ],
)
def test_whom_only_an_immunity_keeps_from_a_verdict_is_told(facts, why):
    policy = rule(except_=Match(applications=("pgAdmin",)))
    decisions = judge([session(1, **{"state": "idle", **facts})], rule(ACTIVE, name="a"), policy)
    assert decisions.verdicts == ()
    assert [one.policy for one in decisions.spared] == ([] if why is None else ["p"])
    assert all(one.why.startswith(str(why)) for one in decisions.spared)


def test_a_later_policy_may_lift_the_immunity_of_superusers():
    chief = session(1, "idle", is_superuser=True)
    decisions = judge([chief], rule(name="a"), rule(name="b"), rule(name="c", superusers=True))
    assert told(decisions) == [(1, "c", TERMINATE, None)]
    assert [one.policy for one in decisions.spared] == ["a"]  # the first one is enough


def test_the_immune_are_not_the_oldest_either():
    sessions = [session(1, "idle", 99, is_own=True), session(2, "idle", 9), session(3, "idle", 5)]
    assert hit(judge(sessions, rule(victims=Victims.OLDEST))) == [(2, TERMINATE)]


def test_superusers_are_immune_to_those_policies_that_do_not_name_them():
    root = session(1, "idle", is_superuser=True)
    strict = rule(superusers=True, name="strict")
    assert told(judge([root], rule())) == []
    assert told(judge([root], rule(), strict)) == [(1, "strict", TERMINATE, None)]


def test_two_policies_of_one_name_and_one_twice_do_not_double_a_verdict():
    twice = rule()
    assert len(judge([session(1, "idle")], twice, twice, rule()).verdicts) == 1


# --- the ladder ---


def test_a_ladder_cancels_waits_and_terminates():
    story = Story(ladder(grace=timedelta(seconds=30)))
    query = session(1, "active", 100)
    assert told(story.look(0, query)) == [(1, "p", CANCEL, None)]
    assert told(story.look(29, query)) == [(1, "p", TERMINATE, Hold.GRACE)]
    assert told(story.look(30, query)) == [(1, "p", TERMINATE, None)]
    assert told(story.look(35, query)) == [(1, "p", TERMINATE, Hold.COOL_DOWN)]
    assert told(story.look(60, query)) == [(1, "p", TERMINATE, None)]


def test_a_short_grace_is_not_stretched_by_the_cool_down():
    story = Story(ladder(grace=timedelta(seconds=3)))
    story.look(0, session(1, "active", 100))
    assert hit(story.look(5, session(1, "active", 100))) == [(1, TERMINATE)]


def test_a_new_query_begins_the_ladder_anew():
    story = Story(ladder())
    story.look(0, session(1, "active", 100))
    later = session(1, "active", -10)  # begun 10 s after NOW
    assert told(story.look(29, later)) == []
    assert told(story.look(71, later)) == [(1, "p", CANCEL, None)]
    assert told(story.look(101, later)) == [(1, "p", TERMINATE, None)]


def test_a_new_query_is_not_cancelled_within_the_cool_down():
    story = Story(ladder(Match(state=("active",))))
    story.look(0, session(1, "active", 100))
    assert told(story.look(20, session(1, "active", -10))) == [(1, "p", CANCEL, Hold.COOL_DOWN)]
    assert told(story.look(30, session(1, "active", -10))) == [(1, "p", CANCEL, None)]


def test_another_session_with_that_pid_begins_anew():
    story = Story(ladder())
    old = session(1, "active", 100)
    story.look(0, old)
    new = replace(old, backend_start=NOW)
    assert told(story.look(40, new)) == [(1, "p", CANCEL, None)]


@pytest.mark.parametrize("state", ["idle", "idle in transaction", "idle in transaction (aborted)"])
@BOTH
def test_who_runs_nothing_is_terminated_by_a_ladder_and_never_cancelled(state, mode):
    match = Match(state=(state,))
    idle = [session(1, state, 999)]
    assert told(judge(idle, ladder(match), mode=mode)) == [(1, "p", TERMINATE, None)]
    assert told(judge(idle, rule(match, CANCEL), mode=mode)) == [(1, "p", CANCEL, Hold.POINTLESS)]


def test_a_cancelled_session_that_sits_in_its_transaction_has_its_grace():
    story = Story(ladder(Match(users=("web",)), grace=MINUTE))
    story.look(0, session(1, "active", 100))
    aborted = session(1, "idle in transaction (aborted)", -1)
    assert told(story.look(59, aborted)) == [(1, "p", TERMINATE, Hold.GRACE)]
    assert told(story.look(60, aborted)) == [(1, "p", TERMINATE, None)]


def test_anothers_cancel_is_no_rung_of_this_ladder():
    story = Story(ladder(name="one"))
    story.look(0, session(1, "active", 100))
    story.policies = (ladder(name="two"),)
    assert told(story.look(10, session(1, "active", 100))) == [(1, "two", CANCEL, Hold.COOL_DOWN)]
    assert told(story.look(30, session(1, "active", 100))) == [(1, "two", CANCEL, None)]


def test_after_anothers_cancel_the_cool_down_counts_and_not_this_ladders_grace():
    story = Story(ladder(name="one"))
    story.look(0, session(1, "active", 100))
    story.policies = (ladder(Match(users=("web",)), name="two", grace=timedelta(seconds=5)),)
    aborted = session(1, "idle in transaction (aborted)", -1)
    assert told(story.look(10, aborted)) == [(1, "two", TERMINATE, Hold.COOL_DOWN)]


# --- the same one again ---


def test_a_session_is_left_alone_after_a_signal():
    story = Story(rule(), limits=replace(MANY, cool_down=MINUTE))
    idle = session(1, "idle")
    assert [told(story.look(at, idle))[0][3] for at in (0, 59, 60, 61)] == [
        None,
        Hold.COOL_DOWN,
        None,
        Hold.COOL_DOWN,
    ]


def test_the_cool_down_holds_between_policies():
    story = Story(rule(name="one"))
    story.look(0, session(1, "idle"))
    story.policies = (rule(name="two"),)
    assert told(story.look(5, session(1, "idle"))) == [(1, "two", TERMINATE, Hold.COOL_DOWN)]


def test_a_report_is_made_once_a_spell():
    story = Story(rule(Match(users=("web",)), REPORT))
    idle, again = session(1, "idle", 10), session(1, "idle", -60)
    assert [len(story.look(at, idle).reports) for at in (0, 5, 4000)] == [1, 0, 0]
    assert told(story.last) == [(1, "p", REPORT, Hold.REPORTED)]
    assert len(story.look(4005, again).reports) == 1
    assert story.last.signals == ()


def test_reports_are_not_limited():
    decisions = judge([session(1, "idle")], rule(IDLE, REPORT), limits=Limits(0, 0))
    assert len(decisions.reports) == 1
    assert decisions.notice is None


# --- what came of it ---


@pytest.mark.parametrize("outcome", [Outcome.GONE, Outcome.CHANGED])
def test_who_was_not_hit_costs_nothing_and_has_no_cool_down(outcome):
    story = Story(rule(), limits=Limits(5, 1))
    one = session(1, "idle")
    story.memory = story.look(0, one).memory.settle(one.key, outcome)
    assert hit(story.look(5, one)) == [(1, TERMINATE)]


def test_who_was_hit_counts():
    story = Story(rule(), limits=Limits(5, 1))
    one = session(1, "idle")
    story.memory = story.look(0, one).memory.settle(one.key, Outcome.SIGNALLED)
    assert told(story.look(40, one)) == [(1, "p", TERMINATE, Hold.PER_HOUR)]


def test_whom_the_server_refuses_us_is_not_tried_again():
    story = Story(rule(), limits=Limits(5, 1))
    one, other = session(1, "idle", 9), session(2, "idle", 5)
    story.look(0, one, other)
    story.memory = story.memory.settle(one.key, Outcome.REFUSED)
    assert told(story.look(5, one, other)) == [
        (1, "p", TERMINATE, Hold.REFUSED),
        (2, "p", TERMINATE, None),
    ]
    assert story.look(10).memory.refused == frozenset()  # it ended: forgotten


def test_a_rung_that_hit_nobody_leaves_the_one_below_counted():
    story = Story(ladder(), limits=Limits(5, 2))
    query = session(1, "active", 100)
    story.look(0, query)
    assert hit(story.look(30, query)) == [(1, TERMINATE)]
    story.memory = story.memory.settle(query.key, Outcome.CHANGED)
    assert [one.action for one in story.memory.sent] == [CANCEL]


# --- limits ---


def test_a_report_takes_nobodys_place_within_the_hour():
    story = Story(rule(Match(users=("bob",)), REPORT, name="told"), rule(), limits=Limits(5, 1))
    bob = session(1, user="bob")
    assert len(story.look(0, bob).reports) == 1
    assert hit(story.look(5, bob, session(2, "idle"))) == [(2, TERMINATE)]


def test_an_hour_to_the_second_is_over_also_for_one_who_is_still_there():
    story = Story(rule(), limits=Limits(5, 1))
    looks = [hit(story.look(at, session(1, "idle"))) for at in (0, 3599, 3600)]
    assert looks == [[(1, TERMINATE)], [], [(1, TERMINATE)]]


@BOTH
def test_at_most_so_many_in_one_look_the_oldest_first(mode):
    sessions = [session(pid, "idle", 100 - pid) for pid in range(1, 8)]
    decisions = judge(sessions, rule(), limits=Limits(per_cycle=5), mode=mode)
    assert [pid for pid, _ in hit(decisions)] == [1, 2, 3, 4, 5]
    assert [one[3] for one in told(decisions)[5:]] == [Hold.PER_CYCLE] * 2
    assert decisions.notice is None


def test_the_policies_order_is_the_order_of_need():
    sessions = [session(1, "idle", 100), session(2, "active", 70)]
    decisions = judge(sessions, rule(ACTIVE, name="first"), rule(), limits=Limits(per_cycle=1))
    assert told(decisions) == [
        (2, "first", TERMINATE, None),
        (1, "p", TERMINATE, Hold.PER_CYCLE),
    ]


@BOTH
def test_the_breaker_stops_says_so_once_and_goes_on_when_the_hour_has_room(mode):
    story = Story(rule(), limits=Limits(per_cycle=2, per_hour=3), mode=mode)
    idle = [session(pid, "idle") for pid in range(20)]
    assert len(story.look(0, *idle[:1]).signals) == 1
    assert len(story.look(60, *idle[1:3]).signals) == 2
    assert not story.is_tripped()  # reached, but nothing was held back
    assert len(story.look(65, *idle[3:5]).signals) == 0
    would = "is" if mode is Mode.ENFORCE else "would be"
    assert story.last.notice == (
        "the limit of 3 signals in an hour (limits.per_hour) is reached and 2 more would be due; "
        f"nobody {would} signalled until 13:00:00 UTC"
    )
    assert {one.hold for one in story.last.verdicts} == {Hold.PER_HOUR}
    assert story.look(70, *idle[3:5]).notice is None
    assert story.look(3599.9, *idle[3:5]).signals == ()
    assert len(story.look(3600, *idle[3:5]).signals) == 1  # one place is free; still too few
    assert story.is_tripped()
    assert len(story.look(3660, idle[4]).signals) == 1
    assert not story.is_tripped()
    anew = story.look(3661, *idle[5:8])
    assert len(anew.signals) == 1
    assert anew.notice is not None


def test_a_limit_of_none_stops_everything_and_knows_no_end():
    decisions = judge([session(1, "idle")], rule(), limits=Limits(5, 0))
    assert told(decisions) == [(1, "p", TERMINATE, Hold.PER_HOUR)]
    assert decisions.notice is not None
    assert decisions.notice.endswith("nobody is signalled")


def test_both_rungs_of_a_ladder_count():
    story = Story(ladder(), limits=Limits(5, 1))
    story.look(0, session(1, "active", 100))
    assert told(story.look(40, session(1, "active", 100))) == [(1, "p", TERMINATE, Hold.PER_HOUR)]


def test_a_cancel_is_not_terminated_in_the_same_look():
    story = Story(ladder(grace=timedelta(microseconds=1)))
    assert hit(story.look(0, session(1, "active", 100))) == [(1, CANCEL)]


# --- lock roots ---

ROOTS = Match(blocking=1, blocking_for=MINUTE)


def two_roots():
    """Session 1 holds up two for 70 s, session 2 one for 200 s: 140 against 200."""
    sessions = [session(1), session(2), waiter(11, 70), waiter(12, 65), waiter(21, 200)]
    return sessions, {11: (1,), 12: (1,), 21: (2,)}


@BOTH
def test_one_root_in_a_look_the_one_that_frees_the_most(mode):
    sessions, blockers = two_roots()
    decisions = judge(sessions, rule(ROOTS), blockers=blockers, mode=mode)
    assert told(decisions) == [
        (2, "p", TERMINATE, None),
        (1, "p", TERMINATE, Hold.NEXT_ROOT),
    ]


def test_the_next_root_has_its_turn_in_the_next_look():
    sessions, blockers = two_roots()
    story = Story(rule(ROOTS))
    story.look(0, *sessions, blockers=blockers)
    assert hit(story.look(5, *sessions, blockers=blockers)) == [(1, TERMINATE)]


def test_no_root_when_another_policy_already_ends_one_that_holds_others_up():
    sessions, blockers = two_roots()
    forgotten = rule(Match(state=("idle in transaction",), users=("bob",)), name="forgotten")
    sessions[0] = replace(sessions[0], user="bob")
    decisions = judge(sessions, forgotten, rule(ROOTS), blockers=blockers)
    assert told(decisions) == [
        (1, "forgotten", TERMINATE, None),
        (2, "p", TERMINATE, Hold.NEXT_ROOT),
    ]


def test_a_root_is_hit_beside_one_who_holds_up_nobody():
    sessions, blockers = two_roots()
    decisions = judge([*sessions, session(30, "idle")], rule(), rule(ROOTS), blockers=blockers)
    assert hit(decisions) == [(30, TERMINATE), (2, TERMINATE)]


def test_an_immune_root_does_not_stand_in_the_way_of_the_next():
    sessions, blockers = two_roots()
    sessions[1] = replace(sessions[1], is_own=True)
    assert hit(judge(sessions, rule(ROOTS), blockers=blockers)) == [(1, TERMINATE)]


def test_those_who_wait_behind_an_immune_root_are_innocent():
    sessions = [session(1, is_own=True), waiter(2, 90), waiter(3, 80)]
    assert judge(sessions, rule(ROOTS), blockers={2: (1,), 3: (2,)}).verdicts == ()


def test_a_prepared_transaction_is_nobody_to_hit():
    sessions = [waiter(2, 90), waiter(3, 80)]
    assert judge(sessions, rule(ROOTS), blockers={2: (0,), 3: (2,)}).verdicts == ()


def test_after_a_root_its_first_waiter_has_its_own_time():
    story = Story(rule(ROOTS))
    queue = [waiter(2, 90), waiter(3, 80)]
    story.look(0, session(1), *queue, blockers={2: (1,), 3: (1, 2)})
    assert hit(story.last) == [(1, TERMINATE)]
    given = session(2, "idle in transaction", backend_start=queue[0].backend_start)
    for at in (5, 30, 60):  # it was last seen waiting at 0
        assert told(story.look(at, given, queue[1], blockers={3: (2,)})) == []
    assert hit(story.look(61, given, queue[1], blockers={3: (2,)})) == [(2, TERMINATE)]


def test_a_deadlock_that_the_server_leaves_is_resolved_at_one_place():
    sessions = [waiter(1, 90), waiter(2, 90)]
    decisions = judge(sessions, rule(ROOTS), blockers={1: (2,), 2: (1,)})
    assert told(decisions) == [(1, "p", TERMINATE, None)]


def test_victims_of_roots_are_chosen_by_age_and_hit_by_rank():
    sessions, blockers = two_roots()
    sessions = [replace(sessions[0], state_change=NOW - HOUR), *sessions[1:]]
    oldest = rule(ROOTS, victims=Victims.OLDEST)
    assert hit(judge(sessions, oldest, blockers=blockers)) == [(1, TERMINATE)]


# --- observe ---


def test_observe_takes_the_terminated_for_gone():
    story = Story(rule(), limits=Limits(5, 2), mode=Mode.OBSERVE)
    one = session(1, "idle")
    assert told(story.look(0, one)) == [(1, "p", TERMINATE, None)]
    for at in (40, 4000, 90_000):
        assert told(story.look(at, one)) == [(1, "p", TERMINATE, Hold.DONE)]
    assert story.memory.hour(NOW + timedelta(seconds=90_000), Mode.OBSERVE) == ()


def test_those_taken_for_gone_have_an_order_of_their_own():
    story = Story(rule(), mode=Mode.OBSERVE)
    both = [session(1, "idle"), session(2, "idle")]
    story.look(0, *both)
    assert story.look(5, *both).verdicts == story.look(5, *reversed(both)).verdicts


def test_observe_takes_the_cancelled_for_ended_until_the_next_query():
    story = Story(ladder(), mode=Mode.OBSERVE)
    assert told(story.look(0, session(1, "active", 100))) == [(1, "p", CANCEL, None)]
    assert told(story.look(500, session(1, "active", 100))) == [(1, "p", CANCEL, Hold.DONE)]
    assert told(story.look(600, session(1, "active", -510))) == [(1, "p", CANCEL, None)]


def test_observe_goes_on_to_the_next_oldest_as_enforce_would():
    story = Story(rule(victims=Victims.OLDEST), mode=Mode.OBSERVE)
    both = [session(1, "idle", 9), session(2, "idle", 5)]
    assert [hit(story.look(at, *both)) for at in (0, 5, 10)] == [
        [(1, TERMINATE)],
        [(2, TERMINATE)],
        [],
    ]


def test_what_observe_only_thought_of_binds_enforce_in_nothing():
    story = Story(ladder(), rule(), limits=Limits(5, 2), mode=Mode.OBSERVE)
    sessions = [session(1, "active", 100), session(2, "idle")]
    assert len(story.look(0, *sessions).signals) == 2
    story.mode = Mode.ENFORCE
    assert hit(story.look(1, *sessions)) == [(1, CANCEL), (2, TERMINATE)]


# --- clocks ---


def test_a_clock_that_jumps_back_a_little_keeps_the_cool_down():
    story = Story(rule())
    story.look(0, session(1, "idle"))
    assert told(story.look(-60, session(1, "idle"))) == [(1, "p", TERMINATE, Hold.COOL_DOWN)]


def test_a_clock_that_jumps_back_far_does_not_stop_us_for_ever():
    story = Story(rule(), limits=Limits(5, 1))
    story.look(0, session(1, "idle"))
    assert hit(story.look(-86_400, session(1, "idle"))) == [(1, TERMINATE)]


# --- the memory ---


def full_memory() -> Memory:
    story = Story(rule(), ladder(), rule(Match(users=("bob",)), REPORT, name="told"))
    story.look(
        0,
        session(1, "idle"),
        session(2, "active", 100),
        session(3, user="bob"),
        waiter(4, 9),
        blockers={4: (3,)},
    )
    memory = story.memory.settle(session(1).key, Outcome.REFUSED)
    return replace(memory, tripped=True)


def test_a_memory_survives_as_json():
    import json

    memory = full_memory()
    assert memory.sent
    assert memory.waited
    assert memory.refused
    assert Memory.from_document(json.loads(json.dumps(memory.to_document()))) == memory


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"sent": [{}], "refused": [], "waited": [], "tripped": False},
        {**full_memory().to_document(), "refused": [{"pid": 1, "backend_start": "2026-01-01"}]},
        {**full_memory().to_document(), "refused": [{"pid": 1, "backend_start": 5}]},
        {**full_memory().to_document(), "waited": 7},
    ],
)
def test_a_damaged_memory_is_told(document):
    with pytest.raises(ValueError, match="not a memory of the watch"):
        Memory.from_document(document)


def test_a_memory_does_not_grow_with_what_has_ended():
    memory = full_memory().advance(NOW + HOUR, present=set(), waiting=set())
    assert memory == Memory(tripped=True)


def test_a_memory_of_one_long_session_does_not_grow():
    key = session(1).key
    made = [
        Sent(key, policy, action, mode, NOW - timedelta(hours=hours))
        for hours in range(50, 1, -1)
        for policy in "ab"
        for action in (CANCEL, REPORT)
        for mode in Mode
    ]
    memory = Memory(tuple(made)).advance(NOW, present={key}, waiting=set())
    assert len(memory.sent) == 4  # a signal for each mode, a report for each policy
    assert {one.at for one in memory.sent} == {NOW - timedelta(hours=2)}


def test_of_many_reports_within_an_hour_the_latest_is_remembered():
    key = session(1).key
    made = [Sent(key, "p", REPORT, Mode.ENFORCE, NOW - timedelta(minutes=m)) for m in (9, 5, 1)]
    memory = Memory(tuple(made)).advance(NOW, present={key}, waiting=set())
    assert memory.sent == (made[-1],)
