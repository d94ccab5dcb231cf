"""Storms: a hundred conditions in a minute are a handful of messages, and none is unmentioned."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.dispatching import ALERTS, Office, titles, told
from support.incidents import START, incident_id

from guardian.errors import DeliveryError
from guardian.escalate.model import TITLE_LIMIT, MessageKind, Receipt, Severity, Standing, State
from guardian.testing import FakeChannel

ALERT, STORM, RESOLVED = MessageKind.ALERT, MessageKind.STORM, MessageKind.RESOLVED
DELIVERED, GROUPED = Standing.DELIVERED, Standing.GROUPED
DOWN = DeliveryError("503: try later")


@pytest.fixture
def office() -> Office:
    return Office()


def alerts(channel: FakeChannel) -> list[MessageKind]:
    return [one.kind for one in channel.sent if one.kind in ALERTS]


def test_a_hundred_at_once_are_six_messages(office):
    for number in range(100):
        office.tell(number)
    report = office.run()
    assert report.grouped == 95
    assert alerts(office.pager) == [ALERT] * 5 + [STORM]
    assert titles([office.pager]) >= {f"message 1 of {number}" for number in range(100)}
    assert office.catalog.outstanding() == 0


def test_a_hundred_in_a_minute_are_a_handful_of_messages(office):
    for number in range(100):
        office.tell(number)
        office.pass_time(timedelta(seconds=0.6), step=0.6)
    office.pass_time(timedelta(seconds=60))
    assert len(alerts(office.pager)) <= 10
    assert titles([office.pager]) >= {f"message 1 of {number}" for number in range(100)}
    assert office.catalog.outstanding() == 0


def test_of_many_the_worst_go_alone_and_stand_first(office):
    for number in range(20):
        office.tell(number, severity=Severity.P2)
    office.tell(30, severity=Severity.P0)
    for number in range(40, 46):
        office.tell(number, severity=Severity.P1)
    office.run()
    alone = [one.incident for one in office.pager.sent if one.kind is ALERT]
    assert alone == [incident_id(n) for n in (30, 40, 41, 42, 43)]
    (storm,) = [one for one in office.pager.sent if one.kind is STORM]
    assert storm.severity is Severity.P1
    assert storm.state is State.FIRING
    assert len(storm.items) == 22
    assert storm.items[:2] == ("P1 message 1 of 44", "P1 message 1 of 45")
    assert storm.items[2] == "P2 message 1 of 0"
    assert storm.title == "22 incidents at once, worst: message 1 of 44"
    assert len(storm.title) <= TITLE_LIMIT


def test_members_say_in_which_message_they_were_told(office):
    for number in range(7):
        office.tell(number)
    office.run()
    grouped = office.catalog.envelopes(incident_id(6))[0]
    (storm,) = [one for one in office.pager.sent if one.kind is STORM]
    assert (grouped.standing, grouped.group) == (GROUPED, storm.dedup_key)
    assert office.words(6) == ["put into one message with 1 others, for on-call through pager"]
    assert len(storm.dedup_key) < 255


def test_a_single_one_beyond_the_limit_goes_as_itself(office):
    for number in range(6):
        office.tell(number)
    office.run()
    assert alerts(office.pager) == [ALERT] * 6


def test_what_comes_right_after_a_storm_waits_for_the_next_and_no_longer(office):
    for number in range(10):
        office.tell(number)
    office.run()
    for number in range(20, 24):
        office.tell(number)
    office.pass_time(timedelta(seconds=15))
    assert alerts(office.pager) == [ALERT] * 5 + [STORM]
    office.pass_time(timedelta(seconds=5))
    assert alerts(office.pager) == [ALERT] * 5 + [STORM] * 2


def test_after_a_minute_it_is_calm_again(office):
    for number in range(10):
        office.tell(number)
    office.run()
    office.clock.advance(61)
    for number in range(20, 25):
        office.tell(number)
    office.run()
    assert alerts(office.pager)[-5:] == [ALERT] * 5


def test_more_than_fit_into_one_are_several_the_worst_first(office):
    for number in range(250):
        severity = Severity.P0 if number >= 240 else Severity.P2
        office.tell(number, severity=severity)
    office.run()
    office.pass_time(timedelta(seconds=60))
    storms = [one for one in office.pager.sent if one.kind is STORM]
    assert [len(one.items) for one in storms][:2] == [100, 100]
    assert storms[0].severity is Severity.P0
    assert titles([office.pager]) >= {f"message 1 of {number}" for number in range(250)}


def test_each_channel_has_its_own_measure_and_each_rung_its_own_storm(office):
    for number in range(8):
        office.tell(number)
        office.tell(100 + number, channel="chat")
    for number in range(8):
        office.tell(200 + number, channel="chat", rung="lead")
    office.run()
    assert alerts(office.pager) == [ALERT] * 5 + [STORM]
    chat = [one for one in office.pager.sent if one.kind is STORM]
    assert len(chat) == 1
    office.pass_time(timedelta(seconds=40))
    storms = [one for one in office.chat.sent if one.kind is STORM]
    rungs = {
        one.rung
        for number in (*range(100, 108), *range(200, 208))
        for one in office.catalog.envelopes(incident_id(number))
        if one.standing is GROUPED
    }
    assert rungs == {"on-call", "lead"}
    assert len(storms) == 2


def test_a_channel_that_wants_each_by_itself_gets_it(office):
    office.channels["pager"].groups = False
    for number in range(30):
        office.tell(number)
    office.run()
    assert alerts(office.pager) == [ALERT] * 30


def test_tests_and_digests_are_never_put_together(office):
    for number in range(9):
        office.tell(number)
    for number in range(3):
        office.tell(50 + number, kind=MessageKind.TEST)
    office.run()
    assert [one.kind for one in office.pager.sent].count(MessageKind.TEST) == 3


def test_a_storm_is_ended_when_all_of_its_incidents_are_over(office):
    office.open(*range(8))
    for number in range(8):
        office.tell(number)
    office.run()
    (storm,) = [one for one in office.pager.sent if one.kind is STORM]
    office.resolve(*range(5))
    office.resolve(5, 6)
    office.run()
    assert RESOLVED not in [one.kind for one in office.pager.sent]
    office.resolve(7)
    office.run()
    (end,) = [one for one in office.pager.sent if one.kind is RESOLVED]
    assert (end.dedup_key, end.title) == (storm.dedup_key, "All 3 incidents of a storm are over")
    assert end.number > storm.number
    office.pass_time(timedelta(minutes=2))
    assert len([one for one in office.pager.sent if one.kind is RESOLVED]) == 1


def test_ends_go_alone_where_alerts_did_and_together_where_they_did_not(office):
    office.open(*range(30))
    for number in range(30):
        office.tell(number)
    office.run()
    alone = [one.incident for one in office.pager.sent if one.kind is ALERT]
    office.clock.advance(5)
    for number in range(30):
        office.tell(number, 2, RESOLVED)
    office.run()
    ends = [one for one in office.pager.sent if one.kind is RESOLVED]
    assert [one.incident for one in ends if one.incident] == alone
    (together,) = [one for one in ends if one.incident is None]
    assert len(together.items) == 25
    assert together.title == "25 incidents, first: message 2 of 5"
    assert STORM not in [one.kind for one in office.pager.sent[6:]]


def test_a_storm_s_message_is_handed_over_like_any_other(office):
    for number in range(10):
        office.tell(number)
    office.pager.answers.extend([Receipt()] * 5)
    office.pager.otherwise = DOWN
    office.run()
    assert alerts(office.pager) == [ALERT] * 5
    office.pass_time(timedelta(minutes=7))
    assert [one.kind for one in office.chat.sent] == [STORM]
    assert len(office.chat.sent[0].items) == 5


def test_a_dead_channel_s_pile_is_a_handful_for_the_next(office):
    office.pager.otherwise = DOWN
    for number in range(100):
        office.tell(number)
    office.pass_time(timedelta(minutes=8))
    assert len(office.chat.sent) <= 8
    assert titles([office.chat]) >= {f"message 1 of {number}" for number in range(100)}
    assert office.catalog.outstanding() == 0


def test_an_alert_after_a_storm_keeps_its_place_before_its_end(office):
    for number in range(10):
        office.tell(number)
    office.run()
    office.tell(50, 1)
    office.tell(51, 1)
    office.tell(50, 2, RESOLVED)
    assert office.run().delivered == 0
    office.run()
    office.pass_time(timedelta(seconds=30))
    kinds = [one.kind for one in office.pager.sent if one.incident is None or "50" in one.incident]
    assert kinds[-2:] == [STORM, RESOLVED]
    assert (incident_id(50), ALERT) not in told(office.pager)
    assert office.clock.now() > START
