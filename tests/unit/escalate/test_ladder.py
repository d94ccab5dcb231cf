"""Who hears of it, by which channels, who is next: ladders of the user's own, and odd ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.escalation import (
    HOUR,
    MINUTE,
    P0,
    P1,
    P2,
    P3,
    SECOND,
    START,
    Scene,
    failed,
    level,
    rules,
)

from guardian.escalate.ladder import Due, climbed
from guardian.escalate.rules import (
    EscalationRules,
    Ladder,
    Rung,
    default_ladders,
    rung_id,
)


def ladder(*rungs: tuple[int, str]) -> Ladder:
    """Rungs as (minutes, people)."""
    return Ladder(tuple(Rung(at * MINUTE, tuple(who.split())) for at, who in rungs))


def test_a_ladder_of_ones_own():
    scene = Scene(rules(ladders={P2: ladder((5, "lead"), (10, "cto on-call"))}))
    scene.sees(level(severity=P2))
    scene.wait(20 * MINUTE)
    assert scene.told() == [
        "02:05 alert lead: lead-mail, chat",
        "02:10 escalation cto: cto-mail",
        "02:10 escalation on-call: pager, chat",
    ]
    assert scene.only().rungs_told == ("P2/5m/lead", "P2/10m/cto", "P2/10m/on-call")
    assert scene.only().escalated_to == "on-call"


def test_a_person_may_stand_on_several_rungs():
    scene = Scene(rules(ladders={P1: ladder((0, "lead"), (10, "lead cto"))}))
    scene.sees(level())
    scene.wait(20 * MINUTE)
    assert scene.told() == [
        "02:00 alert lead: lead-mail, chat",
        "02:10 escalation lead: lead-mail, chat",
        "02:10 escalation cto: cto-mail",
    ]
    assert scene.only().people_told == ("lead", "cto")


def test_a_name_written_twice_on_one_rung_hears_once():
    scene = Scene(rules(ladders={P1: ladder((0, "cto cto"))}))
    scene.sees(level())
    assert scene.told() == ["02:00 alert cto: cto-mail"]
    assert scene.only().rungs_told == ("P1/0m/cto",)


def test_rungs_that_fell_due_while_nobody_looked_are_told_together():
    scene = Scene()
    scene.sees(level())
    scene.clock.advance(5 * HOUR)
    scene.tick()
    assert scene.told() == [
        "02:00 alert on-call: pager, chat",
        "07:00 escalation lead: lead-mail, chat",
        "07:00 escalation cto: cto-mail",
    ]


def test_a_lower_severity_does_not_tell_again_who_knows():
    scene = Scene(rules(ladders={P2: ladder((0, "on-call"), (20, "lead"), (40, "cto"))}))
    scene.sees(level(severity=P0))
    scene.sees(level(severity=P2))
    scene.wait(HOUR)
    assert scene.told()[2:] == ["02:40 escalation cto: cto-mail"]


def test_nobody_by_wish():
    scene = Scene(rules(ladders={P1: Ladder()}))
    scene.sees(level())
    scene.wait(2 * HOUR)
    scene.acknowledge()
    scene.resolve()
    assert scene.envelopes() == []


def test_nobody_to_tell_at_all():
    scene = Scene(EscalationRules())
    scene.sees(level(), failed(2))
    scene.wait(2 * HOUR)
    assert scene.envelopes() == []
    assert len(scene.catalog.open_incidents()) == 2


def test_a_person_without_a_channel_is_named_in_the_timeline():
    scene = Scene(rules(people={"on-call": (), "lead": ("mail",)}))
    scene.sees(level())
    scene.wait(30 * MINUTE)
    assert scene.told() == ["02:30 escalation lead: mail"]
    assert scene.timeline()[2].text == "on-call cannot be told: no channel"


def test_the_runbooks_ladder():
    one, two, three, five = ("a",), ("a", "b"), ("a", "b", "c"), tuple("abcde")
    assert default_ladders(()) == {
        P0: ladder(),
        P1: ladder(),
        P2: ladder(),
        P3: Ladder(digest=True),
    }
    assert default_ladders(one)[P0] == ladder((0, "a"))
    assert default_ladders(two)[P0] == ladder((0, "a b"))
    assert default_ladders(three)[P0] == ladder((0, "a b"), (15, "c"))
    assert default_ladders(five)[P0] == ladder((0, "a b"), (15, "c"), (60, "d e"))
    assert default_ladders(five)[P1] == ladder((0, "a"), (30, "b"), (60, "c"))
    assert default_ladders(five)[P2] == ladder((0, "a"))


def test_rungs_are_in_the_order_of_their_time():
    assert ladder((30, "b"), (0, "a")) == ladder((0, "a"), (30, "b"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ladder((5, "a"), (5, "b")),
        lambda: ladder((-5, "a")),
        lambda: Ladder((Rung(MINUTE, ("a",)),), digest=True),
    ],
)
def test_ladders_that_cannot_be(wrong):
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (timedelta(0), "P1/0m/lead"),
        (30 * MINUTE, "P1/30m/lead"),
        (90 * MINUTE, "P1/1h30m/lead"),
        (90 * MINUTE + SECOND, "P1/5401s/lead"),
        (timedelta(milliseconds=1500), "P1/1.5s/lead"),
        (timedelta(milliseconds=10_500), "P1/10.5s/lead"),
    ],
)
def test_rungs_have_names_that_differ(after, text):
    assert rung_id(P1, after, "lead") == text


# --- who is next ---


def test_who_is_next():
    scene = Scene()
    scene.sees(level())
    assert next_due(scene) == Due(START + 30 * MINUTE, ("lead",))
    scene.wait(31 * MINUTE)
    assert next_due(scene) == Due(START + HOUR, ("cto",))
    scene.acknowledge()
    assert next_due(scene) is None
    scene.wait(4 * HOUR)
    assert next_due(scene) == Due(START + HOUR + 4 * HOUR, ("cto",))
    scene.wait(HOUR)
    assert next_due(scene) is None


def test_the_stopwatch_never_runs_backwards():
    """A clock that is corrected by a second or two is not worth more."""
    scene = Scene()
    scene.sees(level())
    assert climbed(scene.only(), START - SECOND) == timedelta(0)
    assert climbed(scene.only(), START + SECOND) == SECOND


def test_nobody_is_next_while_it_is_silenced():
    scene = Scene()
    scene.escalator.silence(HOUR, "x", "bob")
    scene.sees(level())
    assert next_due(scene) is None


def next_due(scene: Scene) -> Due | None:
    return scene.escalator.next_due(scene.only())


# --- a channel that fails is told of through others ---


def channel_failing(name: str):
    return level(f"channel.failing:{name}", P1)


@pytest.mark.parametrize(
    ("name", "heard"),
    [
        ("pager", "02:00 alert on-call: chat"),
        ("chat", "02:00 alert on-call: pager"),
        ("cto-mail", "02:00 alert on-call: pager, chat"),
    ],
)
def test_a_failing_channel_is_told_of_through_others(name, heard):
    scene = Scene()
    scene.sees(channel_failing(name))
    assert scene.told() == [heard]
    assert all(name not in one.others for one in scene.envelopes())


def test_when_on_call_has_no_other_way_the_next_rung_hears():
    people = {"on-call": ("pager",), "lead": ("mail",)}
    scene = Scene(rules(people=people))
    scene.sees(channel_failing("pager"))
    assert scene.told() == ["02:00 alert lead: mail"]
    assert scene.timeline()[2].text == "lead by mail in place of on-call: first to be called for P1"
    scene.sees()
    scene.wait(2 * MINUTE)
    assert scene.told() == ["02:02 resolved lead: mail"]


def test_several_failing_channels_are_told_of_through_none_of_them():
    scene = Scene()
    scene.sees(channel_failing("pager"), channel_failing("chat"))
    assert scene.told() == ["02:00 alert lead: lead-mail, lead-mail"]  # of two incidents


def test_when_all_fail_they_are_tried_nonetheless():
    scene = Scene(rules(people={"on-call": ("pager",)}))
    scene.sees(channel_failing("pager"))
    assert scene.told() == ["02:00 alert on-call: pager"]


def test_other_incidents_go_through_a_failing_channel_as_ever():
    """Its messages wait, and are handed over: that is the dispatcher's part."""
    scene = Scene()
    scene.sees(channel_failing("pager"), scope="channels")
    scene.told()
    scene.sees(level())
    assert scene.told() == ["02:00 alert on-call: pager, chat"]
