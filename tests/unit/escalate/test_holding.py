"""Silences, larger incidents and the night: nobody is told for now, and nothing is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from support.escalation import (
    HOUR,
    MINUTE,
    P0,
    P1,
    P2,
    SECOND,
    START,
    Scene,
    down,
    failed,
    level,
    rules,
)

from guardian.errors import NotFoundError, UsageError
from guardian.escalate.holding import matches
from guardian.escalate.model import State
from guardian.escalate.rules import BusinessHours

BERLIN = "Europe/Berlin"


def utc(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


# --- silences ---


def test_a_silenced_one_is_told_when_the_silence_ends_and_climbs_from_there():
    scene = Scene()
    scene.escalator.silence(HOUR, "deploy", "bob", match={"kind": "probe.*"})
    scene.sees(level())
    scene.wait(HOUR - SECOND)
    assert scene.told() == []
    assert scene.kinds() == ["opened", "fired", "held_back"]
    assert scene.timeline()[-1].text == "silenced until 2026-11-23 03:00 UTC by bob: deploy"
    scene.wait(31 * MINUTE)
    assert scene.told() == [
        "03:00 alert on-call: pager, chat",
        "03:30 escalation lead: lead-mail, chat",
    ]
    assert scene.kinds().count("held_back") == 1


def test_what_passes_in_silence_is_never_told():
    scene = Scene()
    scene.escalator.silence(HOUR, "deploy", "bob")
    scene.sees(level())
    scene.wait(10 * MINUTE)
    scene.sees()
    scene.wait(2 * HOUR)
    assert scene.told() == []


def test_a_silence_in_the_middle_stops_the_climb_but_not_the_word_of_the_end():
    scene = Scene()
    scene.sees(level())
    scene.wait(10 * MINUTE)
    scene.escalator.silence(2 * HOUR, "we know", "bob")
    scene.wait(HOUR)
    assert scene.told() == ["02:00 alert on-call: pager, chat"]
    scene.sees()
    scene.wait(3 * MINUTE)
    assert scene.told() == ["03:12 resolved on-call: pager, chat"]


def test_after_a_silence_the_climb_goes_on_where_it_was():
    scene = Scene()
    scene.sees(level())
    scene.wait(10 * MINUTE)
    scene.escalator.silence(HOUR, "we know", "bob")
    scene.wait(79 * MINUTE)
    scene.told()
    scene.wait(2 * MINUTE)  # 10 before it was noticed, 20 after it had ended
    assert scene.told() == ["03:29 escalation lead: lead-mail, chat"]


def test_a_silence_that_begins_later():
    scene = Scene()
    scene.escalator.silence(HOUR, "window", "bob", starts_at=START + HOUR)
    scene.sees(level(severity=P2))
    assert scene.told() == ["02:00 alert on-call: pager, chat"]
    scene.wait(HOUR)
    scene.sees(level(severity=P2), level("probe.b:b", P2))
    assert scene.told() == []


def test_a_silence_ends_early():
    scene = Scene()
    silence = scene.escalator.silence(HOUR, "deploy", "bob")
    scene.sees(level())
    scene.wait(MINUTE)
    assert scene.escalator.end_silence(silence.id[:4]).ends_at == START + MINUTE
    scene.tick()
    assert scene.told() == ["02:01 alert on-call: pager, chat"]
    with pytest.raises(NotFoundError):
        scene.escalator.end_silence(silence.id)


def test_getting_worse_in_silence_is_told_afterwards_as_what_it_is_then():
    scene = Scene()
    scene.escalator.silence(HOUR, "deploy", "bob")
    scene.sees(down(P1))
    scene.sees(down(P0))
    scene.wait(HOUR)
    assert scene.told() == ["03:00 alert on-call: pager, chat", "03:00 alert lead: lead-mail"]


def test_a_second_failure_in_silence_calls_the_lead_as_soon_as_it_ends():
    scene = Scene()
    scene.sees(failed(1))
    scene.escalator.silence(HOUR, "deploy", "bob")
    scene.wait(31 * MINUTE)
    scene.told()
    scene.sees(failed(2))
    assert scene.told() == []
    scene.wait(30 * MINUTE)
    assert scene.told() == [
        "03:00 escalation lead: lead-mail, chat",
        "03:00 reminder on-call: pager",
    ]


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({}, True),
        ({"kind": "backup.failed"}, True),
        ({"kind": "backup.*"}, True),
        ({"kind": "backup"}, False),
        ({"server": "main", "database": "mina"}, True),
        ({"server": "main", "database": "other"}, False),
        ({"severity": "P1"}, True),
        ({"severity": "P0"}, False),
        ({"key": "*:main/mina"}, True),
        ({"Kind": "*"}, True),
        ({"nonsense": "x"}, False),
    ],
)
def test_what_a_silence_matches(match, holds):
    scene = Scene()
    scene.sees(failed())
    assert matches(match, scene.only()) is holds


def test_what_an_incident_lacks_fits_no_name():
    scene = Scene()
    scene.sees(level())
    assert not matches({"server": "main"}, scene.only())
    assert matches({"server": "*"}, scene.only())


def test_a_silence_that_could_not_work_is_refused():
    scene = Scene()
    with pytest.raises(UsageError, match="cannot match 'sever'; write one of kind, server"):
        scene.escalator.silence(HOUR, "x", "bob", match={"sever": "main"})
    with pytest.raises(UsageError, match="duration above zero"):
        scene.escalator.silence(timedelta(0), "x", "bob")
    assert scene.catalog.silences() == []


# --- larger incidents ---


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        ("backup.failed", True),
        ("vital.connections", True),
        ("sessions.victims", True),
        ("locks.blocked", True),
        ("backup.overdue", False),
        ("proof.overdue", False),
        ("verify.mismatch", False),
        ("store.failing", False),
        ("disk.low", False),
    ],
)
def test_a_server_that_is_down_hides_what_follows_from_it(kind, hidden):
    scene = Scene(rules(settle=(("*", timedelta(0)),)))
    scene.sees(down(), scope="outage")
    scene.told()
    scene.sees(level(f"{kind}:main", server="main"), scope="other")
    assert (scene.told() == []) is hidden
    scene.sees(level(f"{kind}:spare", server="spare"), scope="third")
    assert scene.told() != []


def test_what_was_hidden_is_told_when_the_server_is_back_and_it_still_holds():
    scene = Scene()
    scene.sees(down(), scope="outage")
    scene.sees(failed(), scope="backups")
    scene.wait(10 * MINUTE)
    scene.sees(scope="outage")
    scene.told()
    scene.wait(MINUTE)
    assert scene.told() == []  # it may be gone again in a moment
    scene.wait(MINUTE)
    assert sorted(scene.told()) == [
        "02:12 alert on-call: pager, chat",
        "02:12 resolved on-call: pager, chat",
    ]
    one = scene.only()
    assert scene.kinds(one)[:3] == ["opened", "fired", "held_back"]
    assert scene.timeline(one)[2].text.startswith("part of a larger one, ")


def test_what_is_not_believed_yet_hides_nothing():
    scene = Scene(rules(settle=(("server.down", MINUTE),)))
    scene.sees(down(), scope="outage")
    scene.sees(failed(), scope="backups")
    assert scene.told() == ["02:00 alert on-call: pager, chat"]


def test_both_at_once_the_larger_one_speaks():
    scene = Scene()
    scene.sees(failed(), down())
    assert [one.message.incident_kind for one in scene.envelopes()] == ["server.down"] * 2


# --- business hours ---

OFFICE = BusinessHours(timezone=BERLIN)


def test_a_p2_at_night_waits_for_the_morning():
    """09:00 in Berlin is 08:00 UTC in winter."""
    scene = Scene(rules(business_hours=OFFICE), at=utc(23, 2))
    scene.sees(level(severity=P2))
    scene.wait(8 * HOUR, step=5 * MINUTE)
    assert scene.told() == ["08:00 alert on-call: pager, chat"]
    assert scene.timeline()[2].text == (
        "outside of business hours (Europe/Berlin), until Mon 2026-11-23 09:00 there"
    )


def test_a_p1_at_night_does_not():
    scene = Scene(rules(business_hours=OFFICE))
    scene.sees(level(severity=P1))
    assert scene.told() == ["02:00 alert on-call: pager, chat"]


def test_a_p2_that_becomes_a_p1_at_night_is_told_at_once():
    scene = Scene(rules(business_hours=OFFICE))
    scene.sees(level(severity=P2))
    scene.wait(MINUTE)
    scene.sees(level(severity=P1))
    assert scene.told() == ["02:01 alert on-call: pager, chat"]


def test_the_weekend_is_no_business():
    scene = Scene(rules(business_hours=OFFICE), at=utc(27, 17, 30))  # Friday, half past six there
    scene.sees(level(severity=P2))
    scene.wait(63 * HOUR, step=30 * MINUTE)
    assert scene.told() == ["08:00 alert on-call: pager, chat"]
    assert scene.only().reminded_at == utc(30, 8)


def test_a_told_p2_with_nothing_to_add_is_not_held_back_every_night():
    scene = Scene(rules(business_hours=OFFICE), at=utc(23, 16))
    scene.sees(level(severity=P2))
    scene.wait(48 * HOUR, step=30 * MINUTE)
    assert scene.kinds() == ["opened", "fired", "told"]


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        (utc(23, 7, 59), False),
        (utc(23, 8, 0), True),
        (utc(23, 16, 59), True),
        (utc(23, 17, 0), False),
        (utc(28, 12), False),  # Saturday
        (utc(29, 12), False),
        # summer time: the hours follow the wall
        (utc(26, 6, 59, month=10), False),  # Monday after the clocks went back: winter again
        (utc(26, 7, 59, month=10), False),
        (utc(26, 8, 0, month=10), True),
        (utc(23, 7, 0, month=10), True),  # the Friday before: summer time
        (utc(23, 6, 59, month=10), False),
        (utc(30, 6, 59, month=3), False),  # Monday after they went forward
        (utc(30, 7, 0, month=3), True),
        (utc(27, 7, 59, month=3), False),
        (utc(27, 8, 0, month=3), True),
    ],
)
def test_hours_by_the_wall(now, is_open):
    assert OFFICE.is_open(now) is is_open


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        (utc(23, 2), utc(23, 8)),
        (utc(23, 12), utc(23, 12)),
        (utc(23, 17), utc(24, 8)),
        (utc(27, 17), utc(30, 8)),
        (utc(23, 17, month=10), utc(26, 8, month=10)),  # over the night the clocks go back
        (utc(27, 17, month=3), utc(30, 7, month=3)),  # and forward
    ],
)
def test_when_they_begin(now, opens):
    assert OFFICE.opens_after(now) == opens


def test_hours_over_midnight_belong_to_the_day_they_began_on():
    night = BusinessHours(
        days=frozenset({4}), start=time(22), end=time(6)
    )  # from Friday to Saturday
    assert not night.is_open(utc(27, 3))
    assert night.is_open(utc(27, 22))
    assert night.is_open(utc(28, 5, 59))
    assert not night.is_open(utc(28, 6))
    assert not night.is_open(utc(28, 22))
    assert night.opens_after(utc(28, 6)) == datetime(2026, 12, 4, 22, tzinfo=UTC)


def test_the_same_start_and_end_is_the_whole_day():
    always = BusinessHours(days=frozenset({0}), start=time(0), end=time(0))
    assert always.is_open(utc(23, 0))
    assert always.is_open(utc(23, 23, 59))
    assert not always.is_open(utc(24, 0))


def test_a_start_that_the_clock_skips():
    """02:30 does not exist in Berlin on 2026-03-29: after 02:00, 01:00 UTC, it is 03:00."""
    early = BusinessHours(days=frozenset({6}), start=time(2, 30), end=time(4), timezone=BERLIN)
    assert not early.is_open(utc(29, 0, 59, month=3))
    assert early.is_open(utc(29, 1, month=3))
    assert early.opens_after(utc(29, 0, month=3)) == utc(29, 1, 30, month=3)


def test_a_start_that_comes_twice():
    """02:30 comes twice in Berlin on 2026-10-25; what lies between is before the hours again."""
    early = BusinessHours(days=frozenset({6}), start=time(2, 30), end=time(4), timezone=BERLIN)
    shown = [early.is_open(utc(25, 0, 15 * step, month=10)) for step in range(4)]
    again = [early.is_open(utc(25, 1, 15 * step, month=10)) for step in range(4)]
    assert shown == again == [False, False, True, True]


def test_no_days_never_open():
    closed = BusinessHours(days=frozenset())
    assert closed.opens_after(START) is None
    scene = Scene(rules(business_hours=closed))
    scene.sees(level(severity=P2))
    assert "no day is theirs" in scene.timeline()[-1].text


def test_every_hour_of_a_year_agrees_with_the_next_opening():
    """Whatever the clocks do: what opens_after names is open, and nothing before it is."""
    hours = BusinessHours(timezone=BERLIN)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(365 * 24):
        now += HOUR
        opens = hours.opens_after(now)
        assert opens is not None
        assert hours.is_open(opens)
        if not hours.is_open(now):
            assert opens > now
            assert not hours.is_open(opens - SECOND)
            assert opens - now < timedelta(hours=65)


# --- words owed ---


def test_an_acknowledgement_that_lapses_at_night_is_told_in_the_morning():
    scene = Scene(rules(business_hours=OFFICE), at=utc(23, 15))
    scene.sees(level(severity=P2))
    scene.acknowledge()
    scene.told()
    scene.wait(18 * HOUR, step=5 * MINUTE)
    assert scene.told() == ["08:00 reminder on-call: pager, chat"]
    assert scene.only().state is State.FIRING
