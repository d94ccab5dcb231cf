from __future__ import annotations

from datetime import timedelta

import pytest

from guardian.watch.model import Action
from guardian.watch.rules import Match, Policy

IDLE = Match(state=("idle",))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"query": "("}, "'\\(' is not a regular expression"),
        ({"clients": ("10.0.0.0/99",)}, "10.0.0.0/99"),
        ({"blocking": 0}, "blocking is not"),
        ({"for_": timedelta(0)}, "for is not a duration above zero"),
        ({"waiting_for": timedelta(seconds=-1)}, "waiting_for is not a duration above zero"),
    ],
)
def test_conditions_that_make_no_sense(keys, words):
    with pytest.raises(ValueError, match=words):
        Match(**keys)


def test_the_keys_are_those_that_ask_for_something():
    match = Match(users=("web",), databases=(), for_=timedelta(1), blocking_backup=False)
    assert match.keys == ("for_", "users", "blocking_backup")
    assert Match().keys == ()


@pytest.mark.parametrize(
    ("keys", "wants"),
    [
        ({"blocking": 1}, True),
        ({"blocking_for": timedelta(1)}, True),
        ({"blocking_backup": True}, True),
        ({"blocking_backup": False}, False),
        ({"blocking": 1, "waiting_for": timedelta(1)}, False),
        ({"waiting_for": timedelta(1)}, False),
    ],
)
def test_which_conditions_mean_roots(keys, wants):
    assert Match(**keys).wants_root == wants


def test_a_policy_for_everybody_is_refused():
    with pytest.raises(ValueError, match="policy 'p': match is empty"):
        Policy("p", Match(), (Action.TERMINATE,))


@pytest.mark.parametrize(
    "actions",
    [
        (),
        (Action.TERMINATE, Action.CANCEL),
        (Action.REPORT, Action.TERMINATE),
        (Action.CANCEL, Action.TERMINATE, Action.TERMINATE),
    ],
)
def test_other_sequences_are_no_ladder(actions):
    with pytest.raises(ValueError, match="one action, or"):
        Policy("p", IDLE, actions)


def test_a_ladder_is_one():
    assert Policy("p", IDLE, (Action.CANCEL, Action.TERMINATE)).is_ladder
    assert not Policy("p", IDLE, (Action.CANCEL,)).is_ladder
