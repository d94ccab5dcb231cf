from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.backup.schedule import (
    AFTER_BACKUP,
    CronSchedule,
    IntervalSchedule,
    parse_schedule,
    recovery_point_age,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def runs(text: str, begin: datetime, end: datetime, timezone=UTC) -> list[str]:
    """Local times of all runs in between."""
    schedule = parse_schedule(text)
    found = []
    at = begin
    while (at := schedule.next_after(at, timezone)) < end:
        found.append(f"{at.astimezone(timezone):%m-%d %H:%M%z}")
    return found


# --- reading ---


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  0   2 * * MON-FRI ", "0 2 * * mon-fri"),
        ("*/15 8-18 * jan,jul *", "*/15 8-18 * jan,jul *"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_cron_is_read(text, expression):
    schedule = parse_schedule(text)
    assert isinstance(schedule, CronSchedule)
    assert (schedule.expression, schedule.text) == (expression, text)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("every 6h", 6 * HOUR),
        ("every 7d", 7 * DAY),
        ("Every  1h30m", 1.5 * HOUR),
        ("every 5s", timedelta(seconds=5)),
    ],
)
def test_intervals_are_read(text, interval):
    schedule = parse_schedule(text)
    assert schedule == IntervalSchedule(interval, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 fields: write five fields"),
        ("0 2 * *", "has 4 fields"),
        ("0 0 2 * * *", "has 6 fields"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * frei", "bad day-of-week"),
        ("* * * * fri-mon", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("@reboot", "known are @hourly, @daily"),
        ("every", 'write "every 6h"'),
        ("every day", 'write "every 6h"'),
        ("every 0s", "too often"),
        ("every 100ms", "too often"),
        ("every 6000d", "too rare"),
        (AFTER_BACKUP, "for drills only"),
        ("nightly", "has 1 fields: write five fields"),
    ],
)
def test_what_is_no_schedule_is_refused_with_help(text, message):
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


@pytest.mark.parametrize(
    "text", ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *", "0 0 LW * */7"]
)
def test_a_date_that_never_comes_is_refused(text):
    with pytest.raises(ValueError, match=r"bad day-of-month|never comes"):
        parse_schedule(text)


@given(st.text(alphabet="0123456789*/,-#LlWw abmondjfeuryv@", max_size=30))
def test_nothing_but_a_value_error_comes_out_of_nonsense(text):
    try:
        schedule = parse_schedule(text)
    except ValueError:
        return
    assert schedule.next_after(NOW) > NOW


def test_a_schedule_that_ends_with_the_calendar_says_so():
    with pytest.raises(ValueError, match="never comes again"):
        CronSchedule("0 0 LW * */7", "0 0 LW * */7").next_after(NOW)


# --- summer time ---


def test_a_nightly_run_in_the_gap_comes_once_after_it():
    assert runs("30 2 * * *", utc("2026-03-27T12:00"), utc("2026-03-31T12:00"), BERLIN) == [
        "03-28 02:30+0100",
        "03-29 03:00+0200",
        "03-30 02:30+0200",
        "03-31 02:30+0200",
    ]


def test_a_nightly_run_in_the_repeated_hour_comes_once():
    assert runs("30 2 * * *", utc("2026-10-23T12:00"), utc("2026-10-27T12:00"), BERLIN) == [
        "10-24 02:30+0200",
        "10-25 02:30+0200",
        "10-26 02:30+0100",
        "10-27 02:30+0100",
    ]


@pytest.mark.parametrize("minute", range(0, 240, 7))
def test_asked_at_any_minute_around_the_change_the_answer_is_the_same(minute):
    schedule = parse_schedule("30 2 * * *")
    for start, run, following in (
        ("2026-03-28T23:00", "2026-03-29T01:00", "2026-03-30T00:30"),
        ("2026-10-24T23:00", "2026-10-25T00:30", "2026-10-26T01:30"),
    ):
        at = utc(start) + timedelta(minutes=minute)
        expected = utc(run) if at < utc(run) else utc(following)
        assert schedule.next_after(at, BERLIN) == expected


def test_two_times_in_the_gap_are_one_run():
    assert runs("0,30 2 * * *", utc("2026-03-28T12:00"), utc("2026-03-29T12:00"), BERLIN) == [
        "03-29 03:00+0200"
    ]


def test_runs_every_quarter_of_an_hour_go_on_in_real_time():
    for begin in (utc("2026-03-28T20:00"), utc("2026-10-24T20:00")):
        end = begin + 10 * HOUR
        found = runs("*/15 * * * *", begin, end, BERLIN)
        assert len(set(found)) == len(found) == 39


@pytest.mark.parametrize("zone", ["Africa/Cairo", "Asia/Beirut"])
def test_midnight_that_does_not_exist_is_made_up_for(zone):
    timezone = ZoneInfo(zone)
    found = runs("5 0 * * *", utc("2026-03-25T12:00"), utc("2026-04-26T12:00"), timezone)
    assert len(found) == 32
    assert sum("01:00+0300" in one for one in found) == 1


def test_an_interval_knows_no_summer_time():
    schedule = parse_schedule("every 6h")
    at = utc("2026-03-28T12:00")
    for _ in range(8):
        following = schedule.next_after(at, BERLIN)
        assert following - at == 6 * HOUR
        at = following


# --- there and back ---

EXPRESSIONS = st.sampled_from(
    [
        "0 2 * * *",
        "30 2 * * *",
        "*/7 * * * *",
        "0 0 29 2 *",
        "0 0 1 * *",
        "15 3 * * sun",
        "* 1 1 1 *",
        "@yearly",
        "every 6h",
        "every 1h30m",
        "every 5s",
        "every 7d",
    ]
)
INSTANTS = st.timedeltas(timedelta(0), timedelta(days=5500)).map(utc("2020-01-01").__add__)
ZONES = st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Africa/Cairo")])


@settings(deadline=None)
@given(EXPRESSIONS, INSTANTS, ZONES)
def test_next_and_previous_are_strictly_apart_and_meet(text, instant, timezone):
    schedule = parse_schedule(text)
    after = schedule.next_after(instant, timezone)
    before = schedule.previous_before(instant, timezone)
    assert before < instant < after
    assert schedule.next_after(before, timezone) in {instant, after}
    assert schedule.previous_before(after, timezone) in {instant, before}
    assert after.utcoffset() == timedelta(0)


@given(INSTANTS)
def test_an_interval_is_anchored_to_the_epoch(instant):
    after = parse_schedule("every 6h").next_after(instant)
    assert after.hour % 6 == after.minute == after.second == after.microsecond == 0
    assert after - instant <= 6 * HOUR


def test_an_instant_of_the_schedule_itself_is_neither_next_nor_previous():
    for text in ("0 12 * * *", "every 12h"):
        schedule = parse_schedule(text)
        assert schedule.next_after(NOW) > NOW > schedule.previous_before(NOW)
        assert schedule.next_after(NOW - timedelta(microseconds=1)) == NOW
        assert schedule.previous_before(NOW + timedelta(microseconds=1)) == NOW


# --- what follows from it ---


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0 2 * * *", DAY),
        ("0 2 * * mon-fri", 3 * DAY),
        ("0 9-17 * * *", 16 * HOUR),
        ("* 9-17 * * mon-fri", timedelta(days=2, hours=15, minutes=1)),
        ("* * * * *", timedelta(minutes=1)),
        ("0 2 1 * *", 31 * DAY),
        ("0 0 29 2 *", 1461 * DAY),
        ("@yearly", 366 * DAY),
        ("every 6h", 6 * HOUR),
    ],
)
def test_the_hint_is_the_longest_regular_wait(text, hint):
    if text == "@yearly":
        assert parse_schedule(text).interval_hint() in {365 * DAY, hint}
    else:
        assert parse_schedule(text).interval_hint() == hint


def test_due_once_an_instant_has_come_since_the_last_start():
    nightly = parse_schedule("0 2 * * *")
    assert not nightly.is_due(utc("2026-11-23T02:00"), NOW)
    assert nightly.is_due(utc("2026-11-23T01:59"), NOW)
    assert nightly.is_due(utc("2026-11-01T02:00"), NOW), "missed nights are caught up"
    assert nightly.is_due(utc("2026-11-22T02:00"), utc("2026-11-23T02:00"))
    assert not nightly.is_due(utc("2026-11-23T00:30"), utc("2026-11-23T00:59"), BERLIN)
    assert nightly.is_due(utc("2026-11-23T00:30"), utc("2026-11-23T01:00"), BERLIN)


def test_before_the_first_start_an_interval_is_due_and_a_cron_job_is_not():
    assert parse_schedule("every 6h").is_due(None, NOW)
    assert not parse_schedule("0 2 * * *").is_due(None, NOW)


def test_a_start_in_the_future_does_not_stop_the_schedule():
    future = NOW + 365 * DAY
    assert parse_schedule("every 6h").is_due(future, NOW)
    assert not parse_schedule("0 2 * * *").is_due(future, NOW)
    assert not parse_schedule("every 6h").is_due(NOW + timedelta(minutes=5), NOW)


def test_overdue_when_the_run_after_the_last_success_is_late():
    nightly = parse_schedule("0 2 * * *")
    last = utc("2026-11-22T02:00")
    assert not nightly.overdue(last, utc("2026-11-23T05:00"), 3 * HOUR)
    assert nightly.overdue(last, utc("2026-11-23T05:01"), 3 * HOUR)
    assert not nightly.overdue(utc("2026-11-23T02:00"), utc("2026-11-23T23:00"), 3 * HOUR)
    assert not nightly.overdue(last, utc("2026-11-23T03:30"), 3 * HOUR, BERLIN)
    assert nightly.overdue(last, utc("2026-11-23T04:30"), 3 * HOUR, BERLIN)


def test_no_success_and_one_from_the_future_are_overdue():
    nightly = parse_schedule("0 2 * * *")
    assert nightly.overdue(None, NOW, HOUR)
    assert nightly.overdue(NOW + 30 * DAY, NOW, HOUR)
    assert not nightly.overdue(NOW + timedelta(minutes=5), NOW, HOUR)


def test_a_weekend_is_not_overdue():
    weekdays = parse_schedule("0 2 * * mon-fri")
    assert not weekdays.overdue(utc("2026-11-20T02:00"), utc("2026-11-23T01:00"), HOUR)


def test_the_recovery_point_is_as_old_as_the_newest_snapshot():
    assert recovery_point_age(None, NOW) is None
    assert recovery_point_age(NOW - 5 * HOUR, NOW) == 5 * HOUR
    assert recovery_point_age(NOW + timedelta(seconds=3), NOW) == timedelta(0)
    assert recovery_point_age(NOW + 30 * DAY, NOW) is None
