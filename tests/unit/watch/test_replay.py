from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from support.sessions import NOW, observation, session

from guardian.watch.model import Action
from guardian.watch.policy import Limits, Match, Policy
from guardian.watch.replay import replay

IDLE = Policy("idle", Match(state=("idle",), for_=timedelta(minutes=1)), (Action.TERMINATE,))
SLOW = Policy("slow", Match(state=("active",)), (Action.CANCEL, Action.TERMINATE))
TOLD = Policy("told", Match(users=("bob",)), (Action.REPORT,))
NOBODY = Policy("nobody", Match(users=("nobody",)), (Action.TERMINATE,))


def look(seconds, *sessions, server="main"):
    return replace(observation(*sessions, at=NOW + timedelta(seconds=seconds)), server=server)


def hits(result):
    return {
        one.policy: [
            (hit.server, (hit.at - NOW).seconds, hit.verdict.session.pid, hit.verdict.action.value)
            for hit in one.hits
        ]
        for one in result.policies
    }


def test_an_empty_recording_has_every_policy_and_nobody_hit():
    result = replay([], [IDLE, SLOW], Limits())
    assert hits(result) == {"idle": [], "slow": []}
    assert (result.looks, result.first, result.last, result.stops) == (0, None, None, ())


def test_each_victim_once_grouped_by_policy():
    people = [session(1, "idle"), session(2, "active", 9), session(3, user="bob")]
    result = replay(
        (look(at, *people) for at in range(0, 200, 5)), [IDLE, SLOW, TOLD, NOBODY], Limits()
    )
    assert hits(result) == {
        "idle": [("main", 65, 1, "terminate")],
        "slow": [("main", 0, 2, "cancel")],
        "told": [],
        "nobody": [],
    }
    assert [len(one.reports) for one in result.policies] == [0, 0, 1, 0]
    assert (result.looks, result.first) == (40, NOW)
    assert result.last == NOW + timedelta(seconds=195)


def test_servers_do_not_share_their_limits():
    looks = [look(at, session(1, "idle", 99), server=name) for at in (0, 5) for name in "ab"]
    result = replay(looks, [IDLE], Limits(per_cycle=1, per_hour=1))
    assert hits(result) == {"idle": [("a", 0, 1, "terminate"), ("b", 0, 1, "terminate")]}
    assert result.stops == ()


def test_limits_hold_back_and_are_told():
    people = [session(pid, "idle", 1000 - pid) for pid in range(1, 6)]
    looks = [look(at, *people) for at in range(0, 60, 5)]
    result = replay(looks, [IDLE], Limits(per_cycle=2, per_hour=3))
    assert [pid for _, _, pid, _ in hits(result)["idle"]] == [1, 2, 3]
    assert result.policies[0].limited == 2
    assert result.stops == (("main", NOW + timedelta(seconds=5)),)


def test_who_was_held_back_and_hit_later_is_not_counted_as_limited():
    people = [session(1, "idle", 99), session(2, "idle", 98)]
    result = replay([look(0, *people), look(5, *people)], [IDLE], Limits(per_cycle=1))
    assert len(hits(result)["idle"]) == 2
    assert result.policies[0].limited == 0


def test_what_no_signal_would_help_was_not_held_back_by_limits():
    cancel = Policy("idle", Match(state=("idle",)), (Action.CANCEL,))
    result = replay([look(0, session(1, "idle"))], [cancel], Limits())
    assert (hits(result), result.policies[0].limited) == ({"idle": []}, 0)
