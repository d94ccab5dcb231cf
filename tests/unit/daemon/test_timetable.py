from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.schedule import parse_schedule
from guardian.daemon.timetable import MOST_RESUMED, History, Timetable, backup_history
from guardian.model import BackupId, BackupRecord, DatabaseRef, RunStatus

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Timetable(parse_schedule("0 2 * * *"))
MINA = DatabaseRef("main", "mina")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def tried(at: str, status: RunStatus = RunStatus.SUCCEEDED) -> BackupRecord:
    return BackupRecord(BackupId(at), MINA, status, utc(at))


def test_the_usual_night() -> None:
    history = History(utc("2026-11-23T02:00:01"))
    assert NIGHTLY.next_start(history, utc("2026-11-23T09:00")) == utc("2026-11-24T02:00")


def test_a_night_that_was_missed_is_made_up_for_once() -> None:
    history = History(utc("2026-11-23T02:00:01"))
    now = utc("2026-11-26T09:00")  # three nights later
    assert NIGHTLY.next_start(history, now) <= now
    assert NIGHTLY.following(now) == utc("2026-11-27T02:00")


def test_a_backup_by_hand_in_the_evening_does_not_replace_the_night() -> None:
    history = History(utc("2026-11-23T23:00"))
    assert NIGHTLY.next_start(history, utc("2026-11-23T23:30")) == utc("2026-11-24T02:00")


def test_first_of_all_a_cron_hour_is_waited_for_and_an_interval_is_not() -> None:
    now = utc("2026-11-23T09:00")
    assert NIGHTLY.next_start(History(), now) == utc("2026-11-24T02:00")
    assert Timetable(parse_schedule("every 6h")).next_start(History(), now) == now


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        # 02:30 does not exist on 28 March 2027: the first minute after the gap is 03:00 CEST.
        ("2027-03-27T01:30", "2027-03-27T12:00", "2027-03-28T01:00"),
        # 02:30 comes twice on 25 October 2026: the first of them, CEST, is 00:30 UTC.
        ("2026-10-24T00:30", "2026-10-24T12:00", "2026-10-25T00:30"),
        # After the first of them, the second one is not another night.
        ("2026-10-25T00:30:05", "2026-10-25T01:30", "2026-10-26T01:30"),
        # The daemon was down over the gap.
        ("2027-03-27T01:30", "2027-03-28T09:00", "2027-03-28T01:00"),
    ],
)
def test_summer_time_begins_and_ends(last: str, now: str, expected: str) -> None:
    table = Timetable(parse_schedule("30 2 * * *"), BERLIN)
    assert table.next_start(History(utc(last)), utc(now)) == utc(expected)


def test_a_start_in_the_future_is_a_wrong_clock_and_stops_nothing() -> None:
    now = utc("2026-11-23T01:00")
    history = History(utc("2030-01-01T00:00"))
    assert NIGHTLY.next_start(history, now) == utc("2026-11-23T02:00")
    table = Timetable(parse_schedule("every 6h"))
    assert table.next_start(history, now) == now


def test_jitter_is_the_same_each_time_it_is_asked_for_and_another_for_others() -> None:
    jitter = timedelta(minutes=30)
    history, now = History(utc("2026-11-23T02:10")), utc("2026-11-23T12:00")

    def start(seed: str) -> datetime:
        return Timetable(parse_schedule("0 2 * * *"), UTC, jitter, seed).next_start(history, now)

    starts = [start(f"backup:main/{number}") for number in range(50)]
    assert starts == [start(f"backup:main/{number}") for number in range(50)]
    assert len(set(starts)) == 50
    for one in starts:
        assert utc("2026-11-24T02:00") <= one < utc("2026-11-24T02:30")
    assert max(starts) - min(starts) > timedelta(minutes=20), "they are spread"


def test_a_restart_within_the_jitter_waits_for_the_same_moment() -> None:
    table = Timetable(parse_schedule("0 2 * * *"), UTC, timedelta(hours=1), "x")
    history = History(utc("2026-11-23T02:30"))
    before = table.next_start(history, utc("2026-11-23T12:00"))
    within = table.next_start(history, utc("2026-11-24T02:00:01"))
    assert before == within > utc("2026-11-24T02:00:01")


@given(
    st.sampled_from(["*/5 * * * *", "0 2 * * *", "every 90s", "@hourly", "30 2 * * sun"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
    st.timedeltas(timedelta(0), timedelta(days=3)),
    st.integers(0, 2 * 366 * 86400).map(lambda n: utc("2026-01-01T00:00") + timedelta(seconds=n)),
)
def test_starts_go_forward_and_no_instant_is_left_out(
    text: str, zone: str, jitter: timedelta, at: datetime
) -> None:
    schedule, timezone = parse_schedule(text), ZoneInfo(zone)
    table = Timetable(schedule, timezone, jitter, "backup:a/b")
    instant = schedule.next_after(at, timezone)
    for _ in range(4):
        start = table.following(at)
        assert instant <= start
        following = schedule.next_after(instant, timezone)
        assert start < following or start == following, "it stays within its own interval"
        at, instant = max(start, instant), following


def test_the_history_is_when_the_last_try_began_whatever_became_of_it() -> None:
    now = utc("2026-11-24T09:00")
    failed = tried("2026-11-24T02:00", RunStatus.FAILED)
    good = tried("2026-11-23T02:00")
    assert backup_history([failed, good], now) == History(failed.started_at)
    assert backup_history([], now) == History()


def test_a_try_that_was_cut_off_is_made_up_for() -> None:
    now = utc("2026-11-24T09:00")
    cut = tried("2026-11-24T02:00", RunStatus.INTERRUPTED)
    history = backup_history([cut, tried("2026-11-23T02:00")], now)
    assert NIGHTLY.next_start(history, now) <= now
    assert NIGHTLY.next_start(backup_history([cut], now), now) == now, "the first of all too"


def test_tries_that_are_cut_off_again_and_again_wait_for_the_schedule() -> None:
    now = utc("2026-11-24T09:00")
    cut = [
        tried(f"2026-11-24T0{8 - number}:00", RunStatus.INTERRUPTED)
        for number in range(MOST_RESUMED)
    ]
    history = backup_history([*cut, tried("2026-11-22T02:00")], now)
    assert NIGHTLY.next_start(history, now) == utc("2026-11-25T02:00")


def test_a_try_from_the_future_is_passed_over() -> None:
    now = utc("2026-11-24T09:00")
    tries = [tried("2031-01-01T02:00"), tried("2026-11-24T02:00")]
    assert backup_history(tries, now) == History(utc("2026-11-24T02:00"))
