"""While the catalog is away the alert leaves, once; and is written down when it is back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.dispatching import Office, titles, told
from support.incidents import START, envelope, incident_id

from guardian.errors import CatalogError, DeliveryError
from guardian.escalate.model import ChannelHealth, MessageKind, Receipt, Settlement, Standing
from guardian.testing import MemoryCatalog

ALERT, RESOLVED = MessageKind.ALERT, MessageKind.RESOLVED
WAITING, DELIVERED = Standing.WAITING, Standing.DELIVERED
HANDED_OVER, GROUPED = Standing.HANDED_OVER, Standing.GROUPED
DOWN = DeliveryError("503: try later")
GONE = DeliveryError("410: revoked", permanent=True)


@pytest.fixture
def office() -> Office:
    return Office()


class ReadOnly(MemoryCatalog):
    """One whose disk is full: it can be read."""

    full = False

    def _refuse(self):
        if self.full:
            raise CatalogError("catalog x has no room left", mend="make room")

    def settle(self, settlement):
        self._refuse()
        return super().settle(settlement)

    def save_channel_health(self, health):
        self._refuse()
        super().save_channel_health(health)


@pytest.fixture
def full() -> Office:
    office = Office()
    office.catalog = ReadOnly(office.clock)
    office.start()
    return office


def direct(office: Office, of: int, number: int = 1, kind: MessageKind = ALERT, **changes):
    now = office.clock.now()
    made = envelope(number, of, kind=kind, at=now, others=("chat", "rung:lead"), **changes)
    office.dispatcher.send_unrecorded([made])


def test_what_is_urgent_leaves_without_the_catalog_and_is_written_later(office):
    office.break_catalog()
    direct(office, 1)
    report = office.run()
    assert (report.delivered, report.unwritten, report.outstanding) == (1, 1, None)
    assert report.trouble is not None
    assert "no room left" in report.trouble
    assert told(office.pager) == [(incident_id(1), ALERT)]
    office.mend_catalog()
    office.clock.advance(10)
    report = office.run()
    assert (report.unwritten, report.outstanding, report.trouble) == (0, 0, None)
    assert office.of(1) == [("pager", DELIVERED)]
    assert office.words(1) == ["alert told to on-call through pager: taken"]
    assert len(office.pager.sent) == 1


def test_the_first_question_to_the_catalog_comes_after_the_urgent_message(office):
    asked: list[int] = []

    class Slow(MemoryCatalog):
        def waiting(self, now, limit=500):
            asked.append(len(office.pager.tries))
            return super().waiting(now, limit)

    office.catalog = Slow(office.clock)
    office.start()
    direct(office, 1)
    office.run()
    assert asked[0] == 1


def test_it_is_tried_again_and_handed_over_without_the_catalog(office):
    office.break_catalog()
    office.pager.otherwise = DOWN
    direct(office, 1)
    office.pass_time(timedelta(minutes=6))
    assert told(office.chat) == [(incident_id(1), ALERT)]
    tries = len(office.pager.tries)
    assert 5 < tries < 20
    office.mend_catalog()
    office.clock.advance(10)
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]
    (health,) = [one for one in office.catalog.channel_health() if one.channel == "pager"]
    assert health.failures == tries


def test_what_still_waits_when_the_catalog_is_back_waits_in_the_outbox(office):
    office.break_catalog()
    office.pager.otherwise = DOWN
    direct(office, 1)
    office.run()
    office.mend_catalog()
    office.clock.advance(1.5)
    office.pass_time(timedelta(seconds=6), step=6)
    (found,) = office.catalog.envelopes(incident_id(1))
    assert found.attempts >= 1
    assert found.standing is WAITING
    office.start()  # a crash loses it no more
    office.pager.otherwise = Receipt()
    office.clock.advance(60)
    office.run()
    assert office.of(1) == [("pager", DELIVERED)]
    assert len(office.pager.sent) == 1


def test_a_flight_that_the_catalog_hears_of_on_its_way_is_one_row(office):
    office.break_catalog()
    office.pager.hang()
    direct(office, 1)
    office.run(0.05)
    office.mend_catalog()
    office.clock.advance(10)
    office.run(0.05)
    assert office.of(1) == [("pager", WAITING)]
    office.pager.release()
    while office.of(1) != [("pager", DELIVERED)]:
        office.run(0.05)
    assert len(office.pager.tries) == 1


def test_with_a_full_disk_nothing_is_sent_twice(full):
    full.tell(1)
    full.tell(2)
    full.catalog.full = True
    reports = [full.run(), *full.pass_time(timedelta(seconds=100))]
    assert len(full.pager.sent) == 2
    assert reports[-1].unwritten == 2
    full.catalog.full = False
    full.clock.advance(10)
    full.run()
    assert full.catalog.outstanding() == 0
    assert full.of(1) == full.of(2) == [("pager", DELIVERED)]


def test_with_a_full_disk_a_failure_still_backs_off_and_hands_over(full):
    full.tell(1)
    full.catalog.full = True
    full.pager.otherwise = DOWN
    full.pass_time(timedelta(minutes=6))
    assert len(full.pager.tries) < 20
    assert told(full.chat) == [(incident_id(1), ALERT)]
    full.catalog.full = False
    full.clock.advance(10)
    full.run()
    assert full.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]


def test_with_a_full_disk_a_storm_is_still_a_handful(full):
    for number in range(100):
        full.tell(number)
    full.catalog.full = True
    full.run()
    full.pass_time(timedelta(seconds=30))
    assert len(full.pager.sent) == 6
    full.catalog.full = False
    full.clock.advance(10)
    full.run()
    assert full.catalog.outstanding() == 0
    standings = [full.of(number)[0][1] for number in range(100)]
    assert standings.count(GROUPED) == 95


def test_an_end_in_the_outbox_waits_for_the_alert_that_the_catalog_never_saw(office):
    office.break_catalog()
    office.pager.otherwise = DOWN
    direct(office, 1, 1)
    office.run()
    office.mend_catalog()
    office.tell(1, 2, RESOLVED)
    office.clock.advance(10)
    office.pager.otherwise = Receipt()
    office.run()
    office.pass_time(timedelta(seconds=30))
    assert told(office.pager) == [(incident_id(1), ALERT), (incident_id(1), RESOLVED)]


def test_messages_past_the_outbox_keep_their_order(office):
    office.break_catalog()
    office.pager.answers.append(DOWN)
    direct(office, 1, 1)
    direct(office, 1, 2, RESOLVED)
    office.pass_time(timedelta(seconds=10))
    assert told(office.pager) == [(incident_id(1), ALERT), (incident_id(1), RESOLVED)]


def test_what_the_catalog_told_before_goes_on_without_it_and_in_order(office):
    office.pager.answers.append(DOWN)
    office.tell(1, 1)
    office.run()
    office.break_catalog()
    direct(office, 1, 2, RESOLVED)
    office.pass_time(timedelta(seconds=10))
    assert told(office.pager) == [(incident_id(1), ALERT), (incident_id(1), RESOLVED)]
    office.mend_catalog()
    office.clock.advance(10)
    office.run()
    assert office.of(1) == [("pager", DELIVERED)] * 2


def test_an_end_that_overtook_its_alert_has_the_last_word(office):
    """The alert lay in the outbox unseen when the catalog went away."""
    office.tell(1, 1)
    office.break_catalog()
    direct(office, 1, 2, RESOLVED)
    office.run()
    assert told(office.pager) == [(incident_id(1), RESOLVED)]
    office.mend_catalog()
    office.clock.advance(10)
    office.run()
    kinds = [one.kind for one in office.pager.sent]
    assert kinds == [RESOLVED, ALERT, RESOLVED]
    assert office.catalog.outstanding() == 0


def test_what_another_process_settled_is_not_sent_from_memory(office):
    office.pager.answers.append(DOWN)
    office.tell(1, 1)
    office.run()
    (row,) = office.catalog.envelopes(incident_id(1))
    office.catalog.settle(Settlement((replace(row, standing=DELIVERED, delivered_at=START),)))
    office.clock.advance(10)
    office.run()
    office.break_catalog()
    office.pass_time(timedelta(minutes=1))
    assert office.pager.sent == []


def test_who_could_not_ask_how_channels_did_ends_no_incident(office):
    office.catalog.save_channel_health(ChannelHealth("pager", START, 9, None, "503"))
    office.break_catalog()
    seen = office.run().observation
    assert (seen.conditions, seen.blind) == ((), ("channel.failing:",))
    office.mend_catalog()
    office.clock.advance(10)
    seen = office.run().observation
    assert [one.key for one in seen.conditions] == ["channel.failing:pager"]
    assert seen.blind == ()


def test_a_catalog_that_is_away_is_not_asked_all_the_time(office):
    asked = []

    class Counting(MemoryCatalog):
        def waiting(self, now, limit=500):
            asked.append(now)
            raise CatalogError("away")

    office.catalog = Counting(office.clock)
    office.start()
    for _ in range(10):
        office.run()
        office.clock.advance(1)
    assert len(asked) == 2


def test_a_catalog_that_comes_and_goes_loses_nothing(office):
    for number in range(60):
        if number % 3 == 0:
            office.break_catalog()
            direct(office, number)
        else:
            office.mend_catalog()
            office.tell(number)
        office.clock.advance(7)
        office.run()
    office.mend_catalog()
    office.pass_time(timedelta(minutes=2))
    assert titles([office.pager]) >= {f"message 1 of {number}" for number in range(60)}
    alone = [one.incident for one in office.pager.sent if one.incident]
    assert len(set(alone)) == len(alone), "nothing is sent twice"
    assert office.catalog.outstanding() == 0
    assert office.clock.now() > START
