"""The runbook's escalation, minute by minute: who hears when, with the ladder that needs no config.

On-call at once; the lead after 30 minutes, or at once for a P0; the CTO after an hour, or a quarter
of one for a P0. Two failed backups in a row are the lead's. A database that is away for more than 5
minutes is a P0.
"""

from __future__ import annotations

import pytest
from support.escalation import (
    HOUR,
    MINUTE,
    P0,
    P1,
    P2,
    P3,
    SECOND,
    Scene,
    down,
    failed,
    level,
    rules,
)

ON_CALL = "on-call: pager, chat"
LEAD = "lead: lead-mail, chat"
LEAD_TOO = "lead: lead-mail"
"""In one step with on-call: the chat they share hears once."""
CTO = "cto: cto-mail"


def test_p1_climbs_at_30_and_60_minutes():
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.wait(3 * HOUR)
    assert scene.told() == [
        f"02:00 alert {ON_CALL}",
        f"02:30 escalation {LEAD}",
        f"03:00 escalation {CTO}",
    ]
    assert scene.only().escalated_to == "cto"


def test_p0_calls_everybody_and_the_cto_after_15_minutes():
    scene = Scene()
    scene.sees(level(severity=P0))
    scene.wait(3 * HOUR)
    assert scene.told() == [
        f"02:00 alert {ON_CALL}",
        f"02:00 alert {LEAD_TOO}",
        f"02:15 escalation {CTO}",
    ]


def test_p2_is_on_calls_alone():
    scene = Scene()
    scene.sees(level(severity=P2))
    scene.wait(5 * HOUR)
    assert scene.told() == [f"02:00 alert {ON_CALL}"]


def test_p3_waits_for_the_digest():
    scene = Scene()
    scene.sees(level(severity=P3))
    scene.wait(5 * HOUR)
    assert scene.told() == []
    assert scene.kinds() == ["opened", "fired"]


@pytest.mark.parametrize(
    ("acknowledged_after", "heard"),
    [
        (5 * MINUTE, [ON_CALL]),
        (30 * MINUTE - SECOND, [ON_CALL]),
        (31 * MINUTE, [ON_CALL, LEAD]),
        (61 * MINUTE, [ON_CALL, LEAD, CTO]),
    ],
)
def test_an_answer_stops_the_climb(acknowledged_after, heard):
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.wait(acknowledged_after)
    called = [line.split(" ", 2)[2] for line in scene.told()]
    scene.acknowledge()
    scene.wait(3 * HOUR)
    assert called == heard
    assert {line.split()[1] for line in scene.told()} == {"acknowledged"}


def test_not_restored_within_the_time_but_before_the_next_rung():
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.wait(29 * MINUTE)
    scene.sees()
    scene.wait(HOUR)
    assert scene.told() == [f"02:00 alert {ON_CALL}", f"02:31 resolved {ON_CALL}"]


def test_the_first_failed_night_is_on_calls_and_the_second_at_once_the_leads():
    scene = Scene()
    scene.sees(failed(1))
    scene.wait(10 * MINUTE)
    scene.acknowledge()
    scene.told()
    scene.wait(12 * HOUR - 10 * MINUTE)
    assert scene.told() == [
        "06:10 reminder on-call: pager, chat",  # the acknowledgement has run out
        f"06:30 escalation {LEAD}",  # 10 minutes were over before it
        f"07:00 escalation {CTO}",
    ]
    scene.sees()
    assert [line.split()[1] for line in scene.told()] == ["resolved"] * 3


def test_two_failed_nights_call_the_lead_whatever_the_ladders_time_is():
    """The first night's failure is taken, and its acknowledgement is made to last all day."""
    scene = Scene()
    scene.sees(failed(1))
    scene.wait(10 * MINUTE)
    scene.acknowledge(lasting=30 * HOUR)
    scene.wait(24 * HOUR - 10 * MINUTE, step=HOUR)
    scene.told()
    scene.sees(failed(2))
    assert scene.told() == [f"02:00 escalation {LEAD}", "02:00 update on-call: pager"]
    (lead, *_) = [one for one in scene.envelopes() if one.rung == "lead"][-1:]
    assert lead.message.why == "it failed 2 times in a row"
    assert lead.message.occurrences == 2
    scene.wait(30 * MINUTE)
    assert scene.told() == [f"02:30 escalation {CTO}"]


def test_two_failed_nights_that_are_seen_at_once():
    scene = Scene()
    scene.sees(failed(2))
    assert scene.told() == [f"02:00 alert {ON_CALL}", f"02:00 escalation {LEAD_TOO}"]


def test_a_third_failed_night_calls_the_next():
    scene = Scene()
    scene.sees(failed(1))
    scene.acknowledge()
    scene.sees(failed(2))
    scene.acknowledge()
    scene.told()
    scene.sees(failed(3))
    assert f"02:00 escalation {CTO}" in scene.told()


def test_page_after_is_the_users():
    scene = Scene(rules(page_after=3))
    scene.sees(failed(1))
    scene.acknowledge()
    scene.told()
    scene.sees(failed(2))
    assert scene.told() == []
    scene.sees(failed(3))
    assert f"02:00 escalation {LEAD}" in scene.told()


def test_the_database_away_for_5_minutes_is_a_p0():
    scene = Scene()
    scene.sees(down(P1))
    scene.wait(5 * MINUTE)
    assert scene.told() == [f"02:00 alert {ON_CALL}"]
    scene.sees(down(P0))
    scene.wait(HOUR)
    assert scene.told() == [
        "02:05 update on-call: pager, chat",
        f"02:05 alert {LEAD_TOO}",
        f"02:20 escalation {CTO}",
    ]


def test_getting_worse_ends_an_acknowledgement():
    scene = Scene()
    scene.sees(down(P1))
    scene.acknowledge()
    scene.told()
    scene.sees(down(P0))
    assert scene.told() == ["02:00 update on-call: pager, chat", f"02:00 alert {LEAD_TOO}"]
    assert scene.only().acknowledged_by is None


def test_reminders_until_somebody_answers():
    scene = Scene(rules(remind_every={P1: HOUR}))
    scene.sees(level(severity=P1))
    scene.wait(2 * HOUR)
    assert scene.told() == [
        f"02:00 alert {ON_CALL}",
        f"02:30 escalation {LEAD}",
        f"03:00 escalation {CTO}",
        "03:00 reminder on-call: pager, chat",
        f"03:00 reminder {LEAD_TOO}",
        "04:00 reminder on-call: pager, chat",
        f"04:00 reminder {LEAD_TOO}",
        f"04:00 reminder {CTO}",
    ]
    scene.acknowledge()
    scene.told()
    scene.wait(3 * HOUR)
    assert scene.told() == []


def test_no_reminder_behind_an_alert_that_still_waits():
    scene = Scene(rules(remind_every={P1: HOUR}))
    scene.delivers = False
    scene.sees(level(severity=P1))
    scene.wait(5 * HOUR)
    assert [line.split()[1] for line in scene.told()] == ["alert", "escalation", "escalation"]
