"""One incident's life, transition by transition."""

from __future__ import annotations

from datetime import timedelta

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

from guardian.escalate import incident as life
from guardian.escalate.incident import News, Return
from guardian.escalate.model import IncidentId, State

NONE = timedelta(0)


def opened(condition, its_rules=None):
    step = life.opened(IncidentId("abc"), condition, "sensor", START, its_rules or rules())
    return step.incident


def firing(condition, its_rules=None):
    its_rules = its_rules or rules()
    return life.passed(opened(condition, its_rules), START, its_rules).incident


# --- pending ---


def test_what_must_settle_tells_nobody_before():
    scene = Scene()
    scene.sees(level("vital.connections:main", P2))
    scene.wait(59 * SECOND)
    assert scene.only().state is State.PENDING
    assert scene.told() == []
    scene.wait(SECOND)
    assert scene.only().state is State.FIRING
    assert scene.only().fired_at == START + MINUTE
    assert scene.told() == ["02:01 alert on-call: pager, chat"]


def test_what_passes_before_it_has_settled_is_heard_by_nobody():
    scene = Scene()
    scene.sees(level("vital.connections:main"))
    one = scene.only()
    scene.wait(30 * SECOND)
    scene.sees()
    assert scene.told() == []
    assert scene.catalog.open_incidents() == []
    assert scene.kinds(one) == ["opened", "resolved"]
    assert scene.timeline(one)[-1].text == "it passed before anybody had to be told"


def test_a_pending_one_fires_also_when_its_sensor_falls_silent():
    scene = Scene()
    scene.sees(level("vital.connections:main"))
    scene.clock.advance(MINUTE)
    scene.tick()
    assert scene.only().state is State.FIRING


def test_settle_is_the_users():
    its = rules(settle=(("probe.*", 10 * SECOND), ("vital.connections:main", NONE)))
    assert its.settle_of("probe.web", "probe.web:web") == 10 * SECOND
    assert firing(level("vital.connections:main"), its).state is State.FIRING
    assert opened(level("vital.connections:other"), its).state is State.PENDING


@pytest.mark.parametrize(
    ("kind", "settle", "recovery"),
    [
        ("server.down", NONE, 2 * MINUTE),
        ("backup.failed", NONE, NONE),
        ("backup.overdue", NONE, NONE),
        ("proof.overdue", NONE, NONE),
        ("verify.mismatch", NONE, NONE),
        ("store.failing", NONE, NONE),
        ("locks.blocked", MINUTE, 2 * MINUTE),
        ("vital.connections", MINUTE, 2 * MINUTE),
        ("disk.low", MINUTE, 2 * MINUTE),
        ("probe.web", NONE, 2 * MINUTE),
        ("channel.failing", NONE, 2 * MINUTE),
    ],
)
def test_times_by_kind(kind, settle, recovery):
    its = rules()
    assert (its.settle_of(kind, f"{kind}:x"), its.recovery_of(kind, f"{kind}:x")) == (
        settle,
        recovery,
    )


# --- recovering ---


def test_gone_is_believed_when_it_lasts():
    scene = Scene()
    scene.sees(level())
    scene.wait(10 * MINUTE)
    scene.sees()
    assert scene.only().state is State.RECOVERING
    assert scene.only().cleared_at == START + 10 * MINUTE
    scene.wait(2 * MINUTE - SECOND)
    assert scene.only().state is State.RECOVERING
    one = scene.only()
    scene.wait(SECOND)
    assert scene.catalog.open_incidents() == []
    (done,) = scene.catalog.incidents()
    assert done.resolved_at == START + 12 * MINUTE
    assert done.cleared_at == START + 10 * MINUTE
    assert scene.kinds(one) == ["opened", "fired", "told", "recovering", "resolved", "told"]
    assert scene.told()[-1] == "02:12 resolved on-call: pager, chat"


def test_a_sensor_that_falls_silent_is_no_recovery():
    scene = Scene()
    scene.sees(level())
    scene.sees()
    scene.clock.advance(5 * HOUR)
    scene.tick()
    assert scene.only().state is State.RECOVERING


def test_a_relapse_goes_on_where_it_was_and_tells_nobody():
    scene = Scene()
    scene.sees(level())
    scene.wait(10 * MINUTE)
    scene.sees()
    scene.wait(MINUTE)
    scene.told()
    scene.sees(level())
    scene.wait(19 * MINUTE)
    assert scene.only().state is State.FIRING
    assert scene.told() == []
    scene.wait(MINUTE + 15 * SECOND)  # the ladder's time stood still for the minute
    assert scene.told() == ["02:31 escalation lead: lead-mail, chat"]


def test_a_relapse_of_what_was_acknowledged_is_acknowledged():
    scene = Scene()
    scene.sees(level())
    scene.acknowledge()
    scene.sees()
    assert scene.only().state is State.RECOVERING
    scene.sees(level())
    assert scene.only().state is State.ACKNOWLEDGED


def test_a_relapse_after_the_acknowledgement_ran_out_is_told():
    its = rules(recovery=(("*", 10 * HOUR),), acknowledged_for={P1: HOUR})
    scene = Scene(its)
    scene.sees(level())
    scene.acknowledge()
    scene.sees()
    scene.wait(2 * HOUR)
    scene.told()
    scene.sees(level())
    assert scene.only().state is State.FIRING
    assert scene.told() == ["04:00 reminder on-call: pager, chat"]
    assert scene.kinds()[-3:] == ["relapsed", "lapsed", "told"]


def test_one_success_ends_a_failed_backup():
    scene = Scene()
    scene.sees(failed())
    scene.sees()
    assert scene.catalog.open_incidents() == []
    assert scene.told()[-1] == "02:00 resolved on-call: pager, chat"


def test_each_firing_within_the_hour_doubles_the_recovery_up_to_an_hour():
    scene = Scene()
    needed = []
    for _ in range(9):
        scene.sees(level())
        needed.append(life.recovery_needed(scene.only(), scene.clock.now(), rules()) // MINUTE)
        scene.sees()
    assert needed == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    scene.clock.advance(HOUR + SECOND)
    assert life.recovery_needed(scene.only(), scene.clock.now(), rules()) == 2 * MINUTE


def test_what_comes_and_goes_is_one_long_incident():
    scene = Scene()
    for _ in range(30):
        scene.sees(level())
        scene.wait(MINUTE)
        scene.sees()
        scene.wait(3 * MINUTE)
    assert len(scene.catalog.incidents()) == 1
    alerts = [line for line in scene.told() if "alert" in line]
    assert len(alerts) == 2  # once resolved, when nobody knew yet; then never more


# --- reopening ---


def test_what_comes_back_soon_is_the_same_incident_on_a_new_climb():
    scene = Scene()
    scene.sees(failed(1))
    scene.wait(30 * MINUTE)
    one = scene.only()
    scene.sees()
    scene.wait(30 * MINUTE)
    scene.told()
    scene.sees(failed(1, occurrence="another"))
    assert scene.only().id == one.id
    assert scene.only().occurrences == 2
    assert scene.only().people_told == ("on-call",)
    assert scene.told() == ["03:00 alert on-call: pager, chat"]
    assert scene.envelopes()[-1].message.why == "it is back, 30m after it was resolved"
    assert scene.kinds()[-3:] == ["reopened", "fired", "told"]
    scene.wait(30 * MINUTE)
    assert scene.told() == ["03:30 escalation lead: lead-mail, chat"]


def test_what_comes_back_settles_again_as_if_it_were_new():
    scene = Scene()
    scene.sees(level("vital.x:main"))
    scene.wait(MINUTE)
    scene.sees()
    scene.wait(2 * MINUTE)
    scene.told()
    scene.sees(level("vital.x:main"))
    one = scene.only()
    assert one.state is State.PENDING
    assert (one.fired_at, one.cleared_at, one.resolved_at) == (None, None, None)
    scene.sees()
    assert scene.told() == []  # nobody heard that it was back
    assert scene.kinds(one)[-2:] == ["reopened", "resolved"]


def test_what_comes_back_later_is_another_incident():
    scene = Scene()
    scene.sees(failed(1))
    one = scene.only()
    scene.sees()
    scene.wait(31 * MINUTE)
    scene.sees(failed(1, occurrence="another"))
    assert scene.only().id != one.id


def test_the_end_of_a_reopened_one_is_told_to_those_who_heard_of_the_reopening():
    scene = Scene()
    scene.sees(failed())
    scene.wait(30 * MINUTE)
    scene.sees()
    scene.sees(failed(1, occurrence="another"))
    scene.told()
    scene.sees()
    assert scene.told() == ["02:30 resolved on-call: pager, chat"]


# --- by hand ---


def test_what_a_person_has_resolved_stays_so_until_it_happens_again():
    scene = Scene()
    scene.sees(failed(1))
    one = scene.resolve()
    assert (one.state, one.resolved_by) == (State.RESOLVED, "anna")
    assert scene.told()[-1] == "02:00 resolved on-call: pager, chat"
    scene.wait(20 * HOUR, step=HOUR)
    assert scene.catalog.open_incidents() == []
    scene.sees(failed(2))
    assert scene.only().state is State.FIRING


def test_a_state_that_a_person_has_resolved_and_that_still_holds_is_open_again():
    scene = Scene()
    scene.sees(level())
    one = scene.resolve()
    scene.wait(15 * SECOND)
    assert scene.only().id == one.id
    assert scene.only().resolved_by is None
    assert "alert" in scene.told()[-1]


@pytest.mark.parametrize("state", [down(), level("store.forged:s3", occurrence="mina at 2")])
def test_a_state_that_began_once_is_open_again_too_after_a_person_has_resolved_it(state):
    scene = Scene()
    scene.sees(state)
    one = scene.resolve()
    scene.wait(15 * SECOND)
    assert scene.only().id == one.id
    assert "alert" in scene.told()[-1]


def test_a_state_that_a_person_has_resolved_is_a_new_incident_a_month_later():
    its = rules()
    state = level("store.forged:s3", occurrence="mina at 2")
    done = life.resolved(firing(state), "anna", START, its).incident
    assert life.what_returns(done, state, START + 720 * HOUR, its) is Return.NEW


@pytest.mark.parametrize(
    "kind", ["backup.failed", "backup.shrunk", "verify.mismatch", "store.failing"]
)
def test_what_has_happened_stays_resolved(kind):
    its = rules()
    happened = level(f"{kind}:x", occurrence="once")
    done = life.resolved(firing(happened), "anna", START, its).incident
    assert life.what_returns(done, happened, START + MINUTE, its) is Return.SETTLED


def test_what_returns():
    its = rules()
    done = life.resolved(firing(failed()), "anna", START, its).incident
    assert life.what_returns(done, failed(), START + 99 * HOUR, its) is Return.SETTLED
    assert life.what_returns(done, failed(2), START + MINUTE, its) is Return.SAME
    assert life.what_returns(done, failed(2), START + HOUR, its) is Return.NEW
    gone = life.gone(firing(failed()), START, its).incident
    assert life.what_returns(gone, failed(), START + MINUTE, its) is Return.SAME


def test_an_acknowledgement_lapses_and_the_climb_goes_on_where_it_was():
    scene = Scene(rules(acknowledged_for={P1: 2 * HOUR}))
    scene.sees(level())
    scene.wait(20 * MINUTE)
    one = scene.acknowledge("bob")
    assert (one.acknowledged_by, one.acknowledged_until) == ("bob", START + 140 * MINUTE)
    assert scene.told()[-1] == "02:20 acknowledged on-call: pager, chat"
    scene.wait(2 * HOUR)
    assert scene.only().state is State.FIRING
    assert scene.told() == ["04:20 reminder on-call: pager, chat"]
    assert scene.envelopes()[-1].message.why == "the acknowledgement by bob has run out"
    scene.wait(10 * MINUTE)
    assert scene.told() == ["04:30 escalation lead: lead-mail, chat"]


@pytest.mark.parametrize(("severity", "lasts"), [(P0, HOUR), (P1, 4 * HOUR), (P2, 4 * HOUR)])
def test_how_long_an_acknowledgement_holds(severity, lasts):
    scene = Scene()
    scene.sees(level(severity=severity))
    assert scene.acknowledge().acknowledged_until == START + lasts


def test_the_second_acknowledgement_counts():
    scene = Scene()
    scene.sees(level())
    scene.acknowledge("anna")
    scene.wait(3 * HOUR)
    assert scene.acknowledge("bob").acknowledged_until == START + 7 * HOUR
    assert scene.only().acknowledged_by == "bob"


def test_an_acknowledgement_of_a_pending_one_keeps_it_from_alarming():
    scene = Scene()
    scene.sees(level("vital.x:main"))
    scene.acknowledge()
    scene.wait(HOUR)
    assert scene.only().state is State.ACKNOWLEDGED
    assert scene.told() == []


def test_an_acknowledgement_while_it_recovers():
    scene = Scene()
    scene.sees(level())
    scene.sees()
    scene.acknowledge()
    assert scene.only().state is State.RECOVERING
    scene.sees(level())
    assert scene.only().state is State.ACKNOWLEDGED


# --- severity ---


def test_the_users_severity_stands_before_the_sensors():
    its = rules(severities=(("backup.failed:main/*", P2), ("backup.*", P0), ("server.down", P2)))
    assert opened(failed(), its).severity is P2
    assert opened(failed(key="backup.failed:other/x"), its).severity is P0
    assert opened(down(P0), its).severity is P2
    assert opened(level(severity=P1), its).severity is P1


def test_less_bad_and_as_bad_again_is_no_new_climb():
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.told()
    scene.sees(level(severity=P2))
    assert scene.only().severity is P2
    scene.wait(MINUTE)
    scene.sees(level(severity=P1))
    assert scene.told() == []
    assert scene.kinds().count("severity") == 2
    scene.wait(29 * MINUTE)
    assert scene.told() == ["02:30 escalation lead: lead-mail, chat"]


def test_less_bad_stops_at_the_lower_ladder():
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.sees(level(severity=P2))
    scene.wait(2 * HOUR)
    assert scene.told() == ["02:00 alert on-call: pager, chat"]


def test_worse_while_it_is_pending_is_told_once():
    scene = Scene()
    scene.sees(level("vital.x:main", P2))
    scene.sees(level("vital.x:main", P1))
    scene.wait(MINUTE)
    assert scene.told() == ["02:01 alert on-call: pager, chat"]
    assert scene.only().severity is P1


def test_worse_while_it_recovers():
    scene = Scene()
    scene.sees(level(severity=P1))
    scene.sees()
    scene.told()
    scene.sees(level(severity=P0))
    assert scene.only().state is State.FIRING
    assert scene.told() == ["02:00 update on-call: pager, chat", "02:00 alert lead: lead-mail"]


# --- occurrences and evidence ---


def test_the_same_occurrence_counts_once():
    scene = Scene()
    for _ in range(5):
        scene.sees(failed(1))
    assert scene.only().occurrences == 1
    assert scene.kinds() == ["opened", "fired", "told"]


def test_each_failure_in_a_row_is_told_but_not_more_often_than_every_half_hour():
    scene = Scene(rules(page_after=99, people={"on-call": ("pager",)}))
    for count in range(1, 8):
        scene.sees(failed(count))
        scene.wait(10 * MINUTE)
    assert scene.told() == [
        "02:00 alert on-call: pager",
        "02:30 update on-call: pager",
        "03:00 update on-call: pager",
    ]
    assert scene.envelopes()[-1].message.why == "it happened again, 7 in a row"
    assert scene.only().occurrences == 7


def test_failures_that_nobody_looked_at_count():
    scene = Scene()
    scene.sees(failed(1))
    scene.sees(failed(3))
    assert scene.only().occurrences == 3
    other = Scene()
    other.sees(failed(2))
    assert other.only().occurrences == 2


def test_another_occurrence_that_is_no_worse_is_a_line_and_no_message():
    scene = Scene()
    scene.sees(failed(1, occurrence="a"))
    scene.wait(HOUR)
    scene.told()
    scene.sees(failed(1, occurrence="b"))
    assert scene.told() == []
    assert scene.only().occurrences == 2
    assert scene.kinds()[-1] == "occurred"


def test_newer_evidence_alone_is_written_once_a_minute():
    scene = Scene()
    scene.sees(level(impact="1"))
    version = scene.only().version
    scene.clock.advance(30 * SECOND)
    assert scene.sees(level(impact="2")).is_empty
    assert scene.only().condition.impact == "1"
    scene.clock.advance(30 * SECOND)
    scene.sees(level(impact="3"))
    assert scene.only().condition.impact == "3"
    assert scene.only().version == version + 1
    scene.clock.advance(5 * MINUTE)
    assert scene.sees(level(impact="3")).is_empty


def test_a_message_carries_the_newest_evidence_though_it_is_not_written_yet():
    scene = Scene()
    scene.sees(level(impact="old"))
    scene.clock.advance(30 * MINUTE - SECOND)
    scene.sees(level(impact="fresh"))
    scene.clock.advance(SECOND)
    scene.sees(level(impact="freshest"))
    assert scene.envelopes()[-1].message.impact == "freshest"


def test_a_step_without_change_says_so():
    one = firing(level())
    assert not life.passed(one, START + MINUTE, rules()).changed
    assert not life.seen(one, level(), "sensor", START + HOUR, rules()).changed
    assert life.seen(one, level(impact="x"), "sensor", START + HOUR, rules()).changed
    assert life.seen(one, level(), "other", START, rules()).changed


def test_the_clock_is_set_back():
    """What is measured goes on; what was, stays."""
    one = firing(level())
    moved = life.shifted(one, -HOUR)
    assert moved.entered_at == START - HOUR
    assert (moved.opened_at, moved.fired_at) == (START, START)
    assert moved.acknowledged_until is None
    assert life.shifted(moved, HOUR) == one


def test_news_of_an_ending_say_how():
    step = life.ended(firing(level()), "it is not watched any more", START, rules())
    assert step.news == {News.RESOLVED: "it is not watched any more"}
    assert step.incident.resolved_by is None
