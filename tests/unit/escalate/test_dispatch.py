"""What becomes of messages: delivered, tried again, handed over, given up."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from support.dispatching import PEOPLE, Office, told
from support.incidents import MINUTE, START, envelope, incident_id

from guardian.adapters.clock import SystemClock
from guardian.errors import DeliveryError
from guardian.escalate.compose import self_test_mail
from guardian.escalate.dispatch import Dispatcher
from guardian.escalate.model import ChannelHealth, EntryKind, MessageKind, Receipt, Standing
from guardian.escalate.rules import EscalationRules
from guardian.escalate.sending import close_channels
from guardian.testing import FakeChannel, MemoryCatalog

ALERT, REMINDER, RESOLVED = MessageKind.ALERT, MessageKind.REMINDER, MessageKind.RESOLVED
DOWN = DeliveryError("503: try later")
GONE = DeliveryError("410: this hook was revoked", permanent=True)
WAITING, DELIVERED = Standing.WAITING, Standing.DELIVERED
HANDED_OVER, LOST = Standing.HANDED_OVER, Standing.UNDELIVERABLE


@pytest.fixture
def office() -> Office:
    return Office()


# --- well ---


def test_what_is_due_is_delivered_and_written_down(office):
    office.pager.otherwise = Receipt("202 accepted", memo="thread 7")
    office.tell(1)
    report = office.run()
    assert (report.delivered, report.outstanding, report.trouble) == (1, 0, None)
    (found,) = office.catalog.envelopes(incident_id(1))
    assert (found.standing, found.delivered_at, found.attempts) == (DELIVERED, START, 1)
    assert office.words(1) == ["alert told to on-call through pager: 202 accepted"]
    assert office.catalog.memo(found.message.dedup_key, "pager") == "thread 7"
    assert [one.last_success_at for one in office.catalog.channel_health()] == [START]
    assert office.run().delivered == 0
    assert len(office.pager.sent) == 1


def test_nothing_leaves_before_it_is_due(office):
    office.post(envelope(next_at=START + MINUTE))
    assert office.run().delivered == 0
    office.clock.advance(MINUTE)
    assert office.run().delivered == 1


def test_messages_of_one_incident_and_channel_keep_their_order(office):
    office.tell(1, 3, RESOLVED)
    office.tell(1, 1)
    office.tell(1, 2, REMINDER)
    assert office.run().delivered == 3
    assert [one.kind for one in office.pager.sent] == [ALERT, REMINDER, RESOLVED]


def test_a_memo_goes_with_the_next_message_also_of_another_process(office):
    office.pager.otherwise = Receipt(memo="thread 7")
    office.tell(1)
    office.run()
    office.start()
    office.tell(1, 2)
    office.tell(2, 1)
    office.run()
    assert [(one.number, memo) for one, memo in office.pager.tries] == [
        (1, None),
        (2, "thread 7"),
        (1, None),
    ]


def test_the_worst_goes_first(office):
    office.tell(1)
    office.tell(2, severity="P0")
    office.run()
    assert told(office.pager) == [(incident_id(2), ALERT), (incident_id(1), ALERT)]


# --- a channel that fails for a while ---


def test_what_failed_is_tried_again_ever_more_slowly_and_noted_once(office):
    office.pager.answers.extend([DOWN] * 4)
    office.tell(1)
    assert office.run().postponed == 1
    tries = []
    for _ in range(40):
        before = len(office.pager.tries)
        office.clock.advance(1)
        office.run()
        if len(office.pager.tries) > before:
            tries.append(office.clock.now() - START)
    assert [one.total_seconds() for one in tries] == [2, 6, 14, 30]
    assert office.of(1) == [("pager", DELIVERED)]
    assert office.words(1) == [
        "pager did not take it (503: try later); it is tried again",
        "alert told to on-call through pager: taken",
    ]


def test_a_channel_that_asks_for_time_gets_it(office):
    office.pager.answers.append(DeliveryError("429", retry_after=100))
    office.tell(1)
    office.run()
    office.tell(2)
    office.pass_time(timedelta(seconds=95))
    assert len(office.pager.tries) == 1
    office.pass_time(timedelta(seconds=10))
    assert len(office.pager.sent) == 2


def test_a_channel_that_fails_is_asked_with_one_message_at_a_time(office):
    office.pager.otherwise = DOWN
    for number in range(4):
        office.tell(number)
    office.run()
    assert len(office.pager.tries) == 1
    office.clock.advance(2)
    office.run()
    assert len(office.pager.tries) == 2
    assert len({one.incident for one, _ in office.pager.tries}) == 2, "not the same twice"
    office.pager.otherwise = Receipt()
    office.clock.advance(60)
    assert office.run().delivered == 4


def test_one_message_that_a_channel_chokes_on_does_not_hold_up_the_others(office):
    office.tell(1)

    class Choking(FakeChannel):
        def send(self, message, memo=None):
            if message.incident == incident_id(1):
                raise DOWN
            return super().send(message, memo)

    office.channels["pager"] = Choking("pager")
    office.start()
    for number in (2, 3):
        office.tell(number)
    office.pass_time(timedelta(seconds=15))
    assert {one.incident for one in office.pager.sent} == {incident_id(2), incident_id(3)}
    assert office.of(1) == [("pager", WAITING)]


def test_a_channel_that_breaks_in_our_hands_tells_no_secret(office, caplog):
    office.pager.answers.append(RuntimeError("https://hooks.example/T0K3N refused"))
    office.tell(1)
    office.run()
    (found,) = office.catalog.envelopes(incident_id(1))
    assert found.error == "channel pager broke (RuntimeError)"
    assert "T0K3N" not in caplog.text
    office.pass_time(timedelta(seconds=5))
    assert office.of(1) == [("pager", DELIVERED)]


# --- handing over ---


def test_after_five_minutes_the_next_channel_has_it(office):
    office.pager.otherwise = DOWN
    office.tell(1)
    office.pass_time(timedelta(minutes=5))
    assert office.of(1)[0] == ("pager", WAITING)
    assert office.chat.sent == []
    office.pass_time(timedelta(seconds=70))
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]
    assert office.words(1)[1:] == [
        "pager did not take it (503: try later); handed over to on-call through chat",
        "alert told to on-call through chat: taken",
    ]


def test_who_gets_it_instead_is_told_why_they_hear_of_it(office):
    for name in ("pager", "chat"):
        office.channels[name].otherwise = GONE
    office.tell(1, why="nobody has acknowledged it for 30m")
    office.run()
    (heard,) = office.mail.sent
    assert heard.why == "in place of on-call, whom chat did not reach"
    (to_chat,) = {one.why for one, _ in office.chat.tries}
    assert to_chat == (
        "in place of pager, which did not take it: nobody has acknowledged it for 30m"
    )
    (original,) = {one.why for one, _ in office.pager.tries}
    assert original == "nobody has acknowledged it for 30m"


def test_the_end_that_another_channel_tells_still_says_how_it_ended(office):
    office.pager.otherwise = DOWN
    office.tell(1, 2, RESOLVED, why="it is gone")
    office.pass_time(timedelta(minutes=10))
    assert [one.why for one in office.chat.sent] == ["it is gone"]


def test_a_refusal_is_handed_over_at_once(office):
    office.pager.answers.append(GONE)
    office.tell(1)
    report = office.run()
    assert (report.handed_over, report.delivered) == (1, 1)
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]
    office.tell(2)
    office.run()
    assert office.of(2) == [("pager", DELIVERED)], "a refusal of one is no reason to pause"


def test_the_person_s_other_channel_that_has_it_is_passed_over_for_the_rung_behind(office):
    office.pager.answers.append(GONE)
    office.tell(1)
    office.tell(1, channel="chat", others=("pager", "rung:lead"))
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED), ("mail", DELIVERED)]


def test_the_rungs_behind_have_it_once_however_many_hand_it_over(office):
    office.pager.otherwise = office.chat.otherwise = GONE
    office.tell(1)
    office.tell(1, channel="chat", others=("pager", "rung:lead", "rung:cto"))
    office.run()
    assert told(office.mail) == [(incident_id(1), ALERT)]
    assert office.phone.sent == []
    assert "chat did not take it (410: this hook was revoked); those behind it have it already" in (
        office.words(1)
    )


def test_it_goes_through_all_rungs(office):
    for name in ("pager", "chat", "mail"):
        office.channels[name].otherwise = GONE
    office.tell(1)
    office.run()
    assert told(office.phone) == [(incident_id(1), ALERT)]
    assert office.catalog.envelopes(incident_id(1))[-1].rung == "cto"


def test_what_nobody_takes_ever_is_undeliverable_and_says_so(office, caplog):
    for channel in office.channels.values():
        channel.otherwise = GONE
    office.tell(1)
    report = office.run()
    assert (report.undeliverable, report.outstanding) == (1, 0)
    (lost,) = office.catalog.undelivered()
    assert (lost.channel, lost.standing) == ("phone", LOST)
    assert "no other channel takes it either" in office.words(1)[-1]
    assert "no other channel takes it either" in caplog.text


def test_a_network_that_is_gone_for_an_hour_loses_nothing(office):
    for channel in office.channels.values():
        channel.otherwise = DOWN
    office.tell(1)
    office.pass_time(timedelta(hours=1), step=20)
    assert office.catalog.outstanding() == 1
    office.chat.otherwise = Receipt()
    office.pass_time(timedelta(minutes=5))
    assert told(office.chat) == [(incident_id(1), ALERT)]
    assert office.catalog.outstanding() == 0
    tries = sum(len(one.tries) for one in office.channels.values())
    assert tries < 100
    assert office.catalog.undelivered() == []


def test_a_refusal_at_the_end_goes_back_to_those_that_only_failed(office):
    office.pager.otherwise = DOWN
    for name in ("chat", "mail", "phone"):
        office.channels[name].otherwise = GONE
    office.tell(1)
    office.pass_time(timedelta(minutes=10))
    assert office.catalog.outstanding() == 1
    assert office.catalog.undelivered() == []
    office.pager.otherwise = Receipt()
    office.pass_time(timedelta(minutes=2))
    assert told(office.pager) == [(incident_id(1), ALERT)]


def test_after_a_day_it_is_given_up(office):
    office.pager.otherwise = DOWN
    office.tell(1, others=())
    office.pass_time(timedelta(hours=23, minutes=55), step=60)
    assert office.of(1) == [("pager", WAITING)]
    office.pass_time(timedelta(minutes=10), step=60)
    assert office.of(1) == [("pager", LOST)]


def test_a_channel_that_is_known_to_be_dead_keeps_nobody_waiting(office):
    office.pager.otherwise = DOWN
    office.tell(1)
    office.pass_time(timedelta(minutes=6))
    tries = len(office.pager.tries)
    office.tell(2)
    office.tell(3)
    office.pass_time(timedelta(seconds=5))
    assert {one.incident for one in office.chat.sent} == {incident_id(n) for n in (1, 2, 3)}
    assert len(office.pager.tries) <= tries + 1


def test_who_asks_for_longer_than_we_have_is_passed_by_at_once(office):
    office.pager.answers.append(DeliveryError("429", retry_after=1800))
    office.tell(1)
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]


def test_age_alone_does_not_hand_over(office):
    """The daemon was off for an hour; then the first try fails."""
    office.tell(1)
    office.clock.advance(3600)
    office.pager.answers.append(DOWN)
    office.run()
    office.clock.advance(5)
    office.run()
    assert office.of(1) == [("pager", DELIVERED)]


def test_a_channel_that_is_not_in_the_config_any_more_hands_over(office):
    del office.channels["pager"]
    office.start()
    office.tell(1)
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]
    assert "channel pager is not in the config" in office.words(1)[0]


def test_the_end_is_told_to_nobody_new_and_waits_for_its_own_channel(office):
    office.pager.otherwise = DOWN
    office.tell(1, 2, RESOLVED, others=("rung:lead",))
    office.pass_time(timedelta(minutes=20))
    assert office.mail.tries == []
    assert office.of(1) == [("pager", WAITING)]
    office.pager.otherwise = Receipt()
    office.pass_time(timedelta(minutes=2))
    assert told(office.pager) == [(incident_id(1), RESOLVED)]


def test_the_same_person_may_hear_of_the_end_by_another_channel_meanwhile(office):
    office.pager.otherwise = DOWN
    office.tell(1, 2, RESOLVED)
    office.pass_time(timedelta(minutes=10))
    assert told(office.chat) == [(incident_id(1), RESOLVED)]
    assert office.of(1) == [("pager", WAITING), ("chat", DELIVERED)]
    office.pager.otherwise = Receipt()
    office.pass_time(timedelta(minutes=2))
    assert told(office.pager) == [(incident_id(1), RESOLVED)]
    assert len(office.chat.sent) == 1


def test_who_gets_an_alert_when_it_is_over_already_hears_of_the_end_too(office):
    office.pager.otherwise = DOWN
    office.tell(1, 1)
    office.tell(1, 2, RESOLVED)
    office.pass_time(timedelta(minutes=7))
    assert told(office.chat) == [(incident_id(1), ALERT), (incident_id(1), RESOLVED)]


# --- channels that hang, and channels' health ---


def test_a_channel_that_hangs_keeps_no_other_waiting(tmp_path):
    catalog = MemoryCatalog(SystemClock())
    pager, chat = FakeChannel("pager"), FakeChannel("chat")
    pager.hang()
    rules = EscalationRules(people={"on-call": ("pager", "chat")})
    dispatcher = Dispatcher({"pager": pager, "chat": chat}, catalog, SystemClock(), rules)
    from guardian.escalate.model import Change

    catalog.apply(Change(envelopes=(envelope(1), envelope(2, 2, "chat"), envelope(3, 3, "chat"))))
    report = dispatcher.run_once(0.2)
    assert (report.delivered, report.in_the_air) == (2, 1)
    assert len(chat.sent) == 2
    assert dispatcher.run_once(60).in_the_air == 1, "does not wait for what is not its own"
    pager.release()
    dispatcher.close()
    assert [one.standing for one in catalog.envelopes(incident_id(1))] == [DELIVERED]
    assert (pager.closed, chat.closed) == (True, True)


def test_what_hangs_is_given_up_and_what_it_says_later_still_counts(office):
    office.pager.hang()
    office.tell(1)
    office.run(0.05)
    office.clock.advance(31)
    report = office.run(0.05)
    assert (report.postponed, report.in_the_air) == (1, 0)
    (found,) = office.catalog.envelopes(incident_id(1))
    assert found.error == "channel pager did not answer within 30s"
    office.pager.release()
    deadline = threading.Event()
    while office.of(1) != [("pager", DELIVERED)]:
        deadline.wait(0.01)
        office.run(0.05)
    assert len(office.pager.tries) == 1, "it was not sent again"


def test_a_channel_that_always_hangs_does_not_eat_threads(office):
    office.pager.hang()
    before = threading.active_count()
    for number in range(10):
        office.tell(number, others=())
    for _ in range(20):
        office.clock.advance(61)
        office.run(0.02)
    assert threading.active_count() - before <= 3
    office.pager.release()


def test_a_failing_channel_is_a_condition_until_it_works_again(office):
    office.pager.otherwise = DOWN
    office.tell(1)
    first = office.run()
    assert first.observation.scope == "channels"
    assert first.observation.conditions == ()
    reports = office.pass_time(timedelta(minutes=5))
    (condition,) = reports[-1].observation.conditions
    assert (condition.key, condition.kind) == ("channel.failing:pager", "channel.failing")
    assert condition.since == START
    (health,) = office.catalog.channel_health()
    assert health.last_error == "503: try later"
    assert health.failures > 3
    office.pager.otherwise = Receipt()
    office.pass_time(timedelta(minutes=2))
    office.tell(2)
    assert office.run().observation.conditions == ()
    assert [one.failing_since for one in office.catalog.channel_health()] == [None] * len(
        office.catalog.channel_health()
    )


def test_a_new_process_knows_how_channels_did(office):
    office.catalog.save_channel_health(ChannelHealth("pager", START - 10 * MINUTE, 9, None, "503"))
    (condition,) = office.run().observation.conditions
    assert condition.key == "channel.failing:pager"
    office.pager.otherwise = DOWN
    office.tell(1)
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]


def test_a_test_by_hand_that_reaches_it_ends_a_failing_channel(office):
    """guardian alerts test runs in a process of its own."""
    office.pager.answers.append(GONE)
    office.tell(1)
    office.pass_time(timedelta(minutes=6))
    assert len(office.run().observation.conditions) == 1
    office.catalog.save_channel_health(ChannelHealth("pager", None, 0, START - MINUTE))
    assert len(office.run().observation.conditions) == 1, "that was before"
    office.catalog.save_channel_health(ChannelHealth("pager", None, 0, office.clock.now()))
    assert office.run().observation.conditions == ()


# --- the self-test ---


def test_a_test_that_is_refused_is_an_ailing_channel_and_no_other_s_message(office):
    office.pager.otherwise = GONE
    rules = EscalationRules(people=PEOPLE)
    office.post(*self_test_mail(["pager", "chat"], START, rules).envelopes)
    report = office.run()
    assert (report.delivered, report.handed_over, report.undeliverable) == (1, 0, 1)
    assert [one.kind for one in office.chat.sent] == [MessageKind.TEST]
    reports = office.pass_time(timedelta(minutes=5))
    (condition,) = reports[-1].observation.conditions
    assert condition.key == "channel.failing:pager"
    assert len(office.pager.tries) == 1
    assert office.mail.tries == office.phone.tries == []


def test_a_test_that_is_not_taken_waits_for_its_own_channel(office):
    office.pager.otherwise = DOWN
    office.post(*self_test_mail(["pager"], START, EscalationRules(people=PEOPLE)).envelopes)
    reports = office.pass_time(timedelta(hours=1), step=20)
    assert [one.key for one in reports[-1].observation.conditions] == ["channel.failing:pager"]
    assert office.chat.tries == office.mail.tries == office.phone.tries == []
    office.pager.otherwise = Receipt()
    office.pass_time(timedelta(minutes=2))
    assert [one.kind for one in office.pager.sent] == [MessageKind.TEST]
    assert office.run().observation.conditions == ()


# --- channels that cannot be made ---


def test_a_channel_that_cannot_be_made_is_a_condition_from_the_start(office):
    unusable = {"pager": "channel pager: its DSN is none; copy it from the project's settings"}
    del office.channels["pager"]
    office.start(unusable)
    (condition,) = office.run().observation.conditions
    assert (condition.key, condition.kind) == ("channel.failing:pager", "channel.failing")
    assert condition.title.startswith("Channel pager cannot be used: ")
    assert "others instead" in condition.impact
    assert condition.evidence[0].value == unusable["pager"]
    office.dispatcher.reconfigure(office.channels, EscalationRules(people=PEOPLE))
    assert office.run().observation.conditions == ()


def test_what_is_for_a_channel_that_cannot_be_made_goes_to_the_next_at_once(office):
    del office.channels["pager"]
    office.start({"pager": "its DSN is none"})
    office.tell(1)
    office.run()
    assert office.of(1) == [("pager", HANDED_OVER), ("chat", DELIVERED)]
    assert "channel pager cannot be used: its DSN is none" in office.words(1)[0]


def test_where_no_other_takes_it_it_waits_until_the_channel_is_mended(office):
    pager = office.channels.pop("pager")
    office.start({"pager": "its DSN is none"})
    for channel in office.channels.values():
        channel.otherwise = GONE
    office.tell(1)
    office.pass_time(timedelta(minutes=20))
    assert office.catalog.outstanding() == 1
    assert office.catalog.undelivered() == []
    office.channels["pager"] = pager
    office.dispatcher.reconfigure(office.channels, EscalationRules(people=PEOPLE))
    office.pass_time(timedelta(minutes=2))
    assert told(pager) == [(incident_id(1), ALERT)]
    assert office.catalog.outstanding() == 0


# --- clocks, config, waiting ---


def test_a_wall_clock_that_is_set_back_delays_nothing(office):
    office.pager.answers.append(DOWN)
    office.tell(1)
    office.run()
    office.clock.jump_to(START - timedelta(hours=3))
    office.run()
    office.clock.advance(3)
    office.run()
    assert office.of(1) == [("pager", DELIVERED)]


def test_what_an_earlier_process_put_off_by_a_clock_that_was_ahead_leaves_at_once(office):
    office.clock.jump_to(START + timedelta(days=2))
    office.tell(1)
    office.clock.jump_to(START)
    office.start()
    office.run()
    assert office.of(1) == [("pager", DELIVERED)]


def test_another_config_holds_from_the_next_run_on(office):
    new = FakeChannel("pager")
    old = office.pager
    office.dispatcher.reconfigure(
        {"pager": new, "chat": office.chat}, EscalationRules(people={"on-call": ("pager",)})
    )
    office.tell(1)
    office.run()
    assert (len(old.sent), len(new.sent)) == (0, 1)
    assert (old.closed, office.chat.closed, office.mail.closed) == (True, False, True)


def test_waiting_ends_when_there_is_something_urgent(office):
    waited = threading.Event()

    def wait() -> None:
        office.dispatcher.wait(60)
        waited.set()

    threading.Thread(target=wait, daemon=True).start()
    office.dispatcher.urge()
    assert waited.wait(10)
    office.run()
    assert not office.dispatcher._urged.is_set()


def test_a_message_of_no_incident_has_no_timeline(office):
    office.post(envelope(1, None, kind=MessageKind.TEST))
    assert office.run().delivered == 1


def test_entries_are_of_the_right_kind(office):
    office.pager.answers.append(GONE)
    office.tell(1)
    office.run()
    kinds = [one.kind for one in office.catalog.timeline(incident_id(1))]
    assert kinds == [EntryKind.UNDELIVERED, EntryKind.DELIVERED]


def test_a_host_that_had_no_thread_for_a_while_costs_no_channel(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never began must not count as what hangs, of which a channel bears three."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    office.tell(1)
    with monkeypatch.context() as host:
        host.setattr(threading.Thread, "start", refuse)
        for _ in range(4):
            report = office.run()
            assert (report.delivered, report.in_the_air) == (0, 0)
            office.clock.advance(MINUTE)
    (waiting,) = office.catalog.envelopes(incident_id(1))
    assert waiting.error == "channel pager: this host can start no thread"
    office.run()
    assert [one.kind for one in office.pager.sent] == [ALERT]


@pytest.mark.parametrize("free", [0, 1])
def test_on_a_host_without_a_thread_what_cannot_be_closed_is_left(monkeypatch, free):
    start = threading.Thread.start
    left = free

    def begin(thread: threading.Thread) -> None:
        nonlocal left
        if left == 0:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    pager, chat = FakeChannel("pager"), FakeChannel("chat")
    with monkeypatch.context() as host:
        host.setattr(threading.Thread, "start", begin)
        close_channels([pager, chat], 10)
    assert (pager.closed, chat.closed) == (free == 1, False)
