"""What holds whatever the sessions, the policies and the limits are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from support.sessions import NOW, ago, observation, session

from guardian.watch.locks import LockGraph
from guardian.watch.matching import View, explain, spares
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation
from guardian.watch.policy import Hold, Limits, Match, Policy, Victims, evaluate, immunity

STATES = ("active", "idle", "idle in transaction", "idle in transaction (aborted)", "disabled")
DURATIONS = st.sampled_from([timedelta(seconds=one) for one in (1, 30, 60, 300)])
WORDS = st.sampled_from(["web", "bob", "guardian dump", ""])
GLOBS = st.lists(st.sampled_from(["*", "web", "b*", "guardian*"]), max_size=2).map(tuple)


@st.composite
def sessions(draw, pid: int):
    seconds = draw(st.sampled_from([0, 1, 29, 30, 31, 61, 301, 4000]))
    waits = draw(st.booleans())
    return session(
        pid,
        draw(st.sampled_from(STATES)),
        seconds,
        user=draw(WORDS),
        application=draw(WORDS),
        client=draw(st.sampled_from([None, "10.0.0.1", "fd00::1"])),
        query=draw(st.sampled_from(["select 1", "/* guardian:spare */ vacuum", None])),
        backend_type=draw(st.sampled_from(["client backend"] * 5 + ["walsender", None])),
        wait_event_type="Lock" if waits else None,
        wait_started_at=ago(min(seconds, 100)) if waits else None,
        is_superuser=draw(st.sampled_from([False] * 5 + [True])),
        is_replication=draw(st.sampled_from([False] * 9 + [True])),
        is_own=draw(st.sampled_from([False] * 5 + [True])),
        is_backup=draw(st.booleans()),
        leader_pid=draw(st.sampled_from([None] * 9 + [1])),
        visible=draw(st.sampled_from([True] * 9 + [False])),
    )


@st.composite
def observations(draw) -> Observation:
    pids = range(1, draw(st.integers(1, 9)))
    everyone = tuple(draw(sessions(pid)) for pid in pids)
    waiting = [one.pid for one in everyone if one.wait_started_at is not None]
    blockers = {pid: tuple(draw(st.lists(st.integers(0, 9), max_size=3))) for pid in waiting}
    return observation(*everyone, blockers={pid: many for pid, many in blockers.items() if many})


MATCHES = st.builds(
    Match,
    state=st.lists(st.sampled_from(STATES), max_size=2).map(tuple),
    for_=st.none() | DURATIONS,
    transaction_for=st.none() | DURATIONS,
    users=GLOBS,
    applications=GLOBS,
    clients=st.sampled_from([(), ("0.0.0.0/0",), ("fd00::/8", "10.0.0.0/8")]),
    query=st.sampled_from([None, None, "select", "guardian"]),
    blocking=st.sampled_from([None, None, 1, 2]),
    blocking_for=st.none() | DURATIONS,
    waiting_for=st.none() | st.none() | DURATIONS,
    blocking_backup=st.sampled_from([None, None, None, True, False]),
)
SIMPLE = st.builds(Match, state=st.sampled_from([(one,) for one in STATES]))
POLICIES = st.lists(
    st.builds(
        Policy,
        name=st.sampled_from("abcd"),
        match=SIMPLE | MATCHES.filter(lambda one: one.keys != ()),
        action=st.sampled_from([(one,) for one in Action] + [(Action.CANCEL, Action.TERMINATE)]),
        except_=st.just(Match()) | MATCHES,
        victims=st.sampled_from(Victims),
        grace=DURATIONS,
        superusers=st.booleans(),
    ),
    max_size=4,
)
LIMITS = st.builds(Limits, st.integers(0, 4), st.integers(0, 8), DURATIONS)
MODES = st.sampled_from(Mode)


@given(st.lists(observations(), min_size=1, max_size=4), POLICIES, LIMITS, MODES)
@settings(max_examples=300)
def test_what_must_never_happen(looks, policies, limits, mode):
    memory = Memory()
    sent: Counter = Counter()
    for step, look in enumerate(looks):
        at = NOW + step * timedelta(seconds=5)
        decisions = evaluate(replace(look, at=at), policies, memory, limits, mode)
        memory = decisions.memory
        lifting = {policy.name for policy in policies if policy.superusers}
        graph = LockGraph(look)

        assert len({one.session.key for one in decisions.verdicts}) == len(decisions.verdicts)
        assert len(decisions.signals) <= limits.per_cycle
        for one in decisions.verdicts:
            assert immunity(one.session, superusers=one.policy in lifting) is None
            assert one.reason
        for one in decisions.signals:
            assert one.action is not Action.CANCEL or one.session.is_running
            sent[one.session.key] += 1
        assert sent.total() <= limits.per_hour

        by_roots = [
            one
            for one in decisions.signals
            if all(p.match.wants_root for p in policies if p.name == one.policy)
        ]
        assert len(by_roots) <= 1
        assert all(one.session.pid in graph.ranks for one in by_roots)


@given(observations(), POLICIES, LIMITS, MODES, st.randoms())
def test_the_order_of_sessions_does_not_matter_and_twice_is_the_same(
    look, policies, limits, mode, random
):
    mixed = list(look.sessions)
    random.shuffle(mixed)
    again = replace(look, sessions=tuple(mixed), blockers=dict(reversed(look.blockers.items())))
    memory = Memory()
    for _ in range(2):
        first = evaluate(look, policies, memory, limits, mode)
        assert evaluate(look, policies, memory, limits, mode) == first
        assert evaluate(again, policies, memory, limits, mode) == first
        memory = first.memory


@given(observations(), POLICIES, MODES)
def test_the_first_match_decides(look, policies, mode):
    """By a second reading of the rules, without the machinery around them."""
    policies = [replace(one, name=str(place)) for place, one in enumerate(policies)]
    decisions = evaluate(look, policies, Memory(), Limits(99, 99), mode)
    found = {one.session.pid: one.policy for one in decisions.verdicts}
    graph = LockGraph(look)
    backups = frozenset(one.pid for one in look.sessions if one.is_backup)
    for one in look.sessions:
        view = View(one, look.at, graph, backups)
        first = next(
            (
                policy
                for policy in policies
                if immunity(one, superusers=policy.superusers) is None
                and explain(policy.match, view) is not None
                and not spares(policy.except_, view)
            ),
            None,
        )
        if first is None:
            assert one.pid not in found
        elif first.victims is Victims.ALL:
            assert found[one.pid] == first.name
        else:
            assert found.get(one.pid, first.name) == first.name


@given(observations(), POLICIES, LIMITS)
def test_a_memory_survives_as_json_and_decides_the_same(look, policies, limits):
    memory = evaluate(look, policies, Memory(), limits, Mode.ENFORCE).memory
    again = Memory.from_document(memory.to_document())
    assert again == memory
    later = replace(look, at=NOW + timedelta(seconds=5))
    assert evaluate(later, policies, again, limits, Mode.ENFORCE) == evaluate(
        later, policies, memory, limits, Mode.ENFORCE
    )


# Locks are left out: when a root really goes, its waiters go on, which observing cannot show.
TERMINATING = st.lists(
    st.builds(
        Policy,
        name=st.sampled_from("abc"),
        match=st.builds(
            Match,
            state=st.sampled_from([(one,) for one in STATES]),
            for_=st.none() | DURATIONS,
            users=GLOBS,
        ),
        action=st.just((Action.TERMINATE,)),
        victims=st.sampled_from(Victims),
        superusers=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


@given(
    st.lists(sessions(0), min_size=1, max_size=8),
    st.lists(st.sampled_from([1, 5, 29, 600, 3599, 3601]), min_size=1, max_size=12),
    TERMINATING,
    LIMITS,
)
@settings(max_examples=300)
def test_observe_tells_what_enforce_does_and_uses_up_the_same_limits(
    everyone, pauses, policies, limits
):
    everyone = [
        replace(one, pid=pid, wait_started_at=None, wait_event_type=None)
        for pid, one in enumerate(everyone, start=1)
    ]
    living = list(everyone)
    told, did = Memory(), Memory()
    at = NOW
    for pause in pauses:
        at += timedelta(seconds=pause)
        watched = evaluate(observation(*everyone, at=at), policies, told, limits, Mode.OBSERVE)
        acted = evaluate(observation(*living, at=at), policies, did, limits, Mode.ENFORCE)
        told, did = watched.memory, acted.memory
        assert watched.signals == acted.signals
        assert (watched.notice is None) == (acted.notice is None)
        assert {one.session for one in watched.verdicts if one.hold is not Hold.DONE} == {
            one.session for one in acted.verdicts
        }
        dead = {one.session.key for one in acted.signals}
        living = [one for one in living if one.key not in dead]
