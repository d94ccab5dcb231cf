from __future__ import annotations

import os
import random
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.retention import (
    Candidate,
    ClockDoubt,
    RetentionPolicy,
    decide,
    doubt_clock,
)
from guardian.model import BackupId

GOLDEN = Path(__file__).parent / "golden"
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATE = NOW + timedelta(hours=1)  # no future up to here
NOTHING: dict[str, Any] = {
    **{field.name: 0 for field in fields(RetentionPolicy)},
    "keep_within": timedelta(0),
}


def policy(**rules) -> RetentionPolicy:
    merged: dict[str, Any] = {**NOTHING, **rules}
    return RetentionPolicy(**merged)


def backup(name: str, at: datetime | str, **facts) -> Candidate:
    when = datetime.fromisoformat(at).replace(tzinfo=UTC) if isinstance(at, str) else at
    return Candidate(BackupId(name), when, **facts)


def kept(candidates, rules: RetentionPolicy, *, now=NOW, timezone=UTC) -> dict[str, list[str]]:
    decisions = decide(candidates, rules, now, timezone)
    return {one.id: list(one.reasons) for one in decisions if one.keep}


def nights(count: int, last: str = "2026-11-23T02:00") -> list[Candidate]:
    """Newest first: n0, n1 …"""
    newest = datetime.fromisoformat(last).replace(tzinfo=UTC)
    return [backup(f"n{ago}", newest - timedelta(days=ago)) for ago in range(count)]


# --- the policy ---


def test_a_policy_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="keeps nothing: set keep_last"):
        policy()


@pytest.mark.parametrize("rule", [field.name for field in fields(RetentionPolicy)])
def test_a_negative_number_is_refused(rule):
    value = timedelta(seconds=-1) if rule == "keep_within" else -1
    with pytest.raises(ValueError, match=f"{rule} is negative"):
        policy(**{rule: value})


def test_the_defaults_are_those_of_the_contract():
    assert RetentionPolicy() == RetentionPolicy(
        keep_last=3,
        keep_hourly=0,
        keep_daily=7,
        keep_weekly=4,
        keep_monthly=12,
        keep_yearly=0,
        keep_within=timedelta(days=30),
        keep_proven=1,
    )


# --- each rule ---


def test_no_backups_no_decisions():
    assert decide([], RetentionPolicy(), NOW, UTC) == []


def test_two_backups_with_one_id_are_refused():
    with pytest.raises(ValueError, match="same id"):
        decide([backup("a", NOW), backup("a", NOW)], RetentionPolicy(), NOW, UTC)


def test_last_keeps_the_newest_n_by_time_and_not_by_name():
    candidates = [
        backup("20300101T000000Z-000000", "2026-11-01"),
        backup("20200101T000000Z-000000", "2026-11-03"),
        backup("20250101T000000Z-000000", "2026-11-02"),
    ]
    assert kept(candidates, policy(keep_last=2)) == {
        "20200101T000000Z-000000": ["newest good one", "last 1 of 2"],
        "20250101T000000Z-000000": ["last 2 of 2"],
    }


def test_what_no_rule_keeps_goes_and_says_so():
    *_, oldest = decide(nights(3), policy(keep_last=1), NOW, UTC)
    assert (oldest.keep, oldest.reasons) == (False, ("no rule keeps it",))


def test_the_newest_of_a_day_stands_for_it():
    candidates = [
        backup("late", "2026-11-22T23:00"),
        backup("early", "2026-11-22T01:00"),
        backup("before", "2026-11-21T01:00"),
        backup("oldest", "2026-11-20T01:00"),
    ]
    assert kept(candidates, policy(keep_daily=2)) == {
        "late": ["newest good one", "daily 2026-11-22"],
        "before": ["daily 2026-11-21"],
    }


def test_days_without_a_backup_use_up_nothing():
    candidates = [
        backup("new", "2026-11-22"),
        backup("old", "2026-03-01"),
        backup("x", "2026-02-01"),
    ]
    assert list(kept(candidates, policy(keep_daily=2))) == ["new", "old"]


def test_weeks_are_iso_weeks_also_at_new_year():
    candidates = [
        backup("sunday", "2027-01-03T12:00"),  # still week 53 of 2026
        backup("thursday", "2026-12-31T12:00"),
        backup("before", "2026-12-27T12:00"),
        backup("x", "2026-12-20T12:00"),
    ]
    found = kept(candidates, policy(keep_weekly=2), now=NOW + timedelta(days=60))
    assert found == {
        "sunday": ["newest good one", "weekly 2026-W53"],
        "before": ["weekly 2026-W52"],
    }


def test_months_and_years():
    candidates = [
        backup(f"{year}-{month:02}", datetime(year, month, 9, tzinfo=UTC))
        for year in (2024, 2025, 2026)
        for month in range(1, 12)
    ]
    found = kept(candidates, policy(keep_monthly=2, keep_yearly=2))
    assert found == {
        "2026-11": ["newest good one", "monthly 2026-11", "yearly 2026"],
        "2026-10": ["monthly 2026-10"],
        "2025-11": ["yearly 2025"],
    }


def test_the_calendar_is_that_of_the_timezone():
    candidates = [backup("b", "2026-11-22T23:30"), backup("a", "2026-11-22T22:30")]
    rules = policy(keep_daily=1)
    assert list(kept(candidates, rules, timezone=UTC)) == ["b"]
    assert kept(candidates, policy(keep_daily=2), timezone=BERLIN) == {
        "b": ["newest good one", "daily 2026-11-23"],
        "a": ["daily 2026-11-22"],
    }


def test_the_hour_that_comes_twice_is_two_hours():
    candidates = [
        backup("second", "2026-10-25T01:30"),
        backup("first", "2026-10-25T00:30"),
        backup("x", "2026-10-24T00:30"),
    ]
    assert kept(candidates, policy(keep_hourly=2), timezone=BERLIN) == {
        "second": ["newest good one", "hourly 2026-10-25 02:00+0100"],
        "first": ["hourly 2026-10-25 02:00+0200"],
    }


def test_a_day_of_23_or_25_hours_is_one_day():
    for day in ("2026-03-29", "2026-10-25"):
        start = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
        end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=BERLIN)
        inside = [
            backup("first", start),
            backup("last", end.astimezone(UTC) - timedelta(minutes=1)),
        ]
        outside = [backup("before", start - timedelta(minutes=1))]
        assert list(kept(inside + outside, policy(keep_daily=1), timezone=BERLIN)) == ["last"]
        found = kept(inside + outside, policy(keep_daily=2), timezone=BERLIN)
        assert list(found) == ["last", "before"]


def test_the_oldest_stays_while_a_history_is_still_growing():
    candidates = [
        backup("today", "2026-11-22"),
        backup("march", "2026-03-02"),
        backup("first", "2026-03-01"),
    ]
    assert kept(candidates, policy(keep_yearly=2)) == {
        "today": ["newest good one", "yearly 2026"],
        "first": ["oldest, until there are 2 yearly"],
    }
    grown = [*candidates, backup("2025", "2025-05-05"), backup("earlier", "2025-01-01")]
    assert list(kept(grown, policy(keep_yearly=2))) == ["today", "2025"]


def test_within_counts_from_the_newest_good_backup_and_not_from_now():
    rules = policy(keep_within=timedelta(days=2))
    in_a_year = NOW + timedelta(days=365)
    expected = {"n0": ["newest good one", "within 2d"], "n1": ["within 2d"], "n2": ["within 2d"]}
    assert kept(nights(5), rules) == expected
    assert kept(nights(5), rules, now=in_a_year) == expected


def test_the_newest_proven_ones_stay():
    candidates = [
        replace(one, proven=True) if one.id in {"n3", "n5", "n8"} else one for one in nights(9)
    ]
    assert kept(candidates, policy(keep_proven=2)) == {
        "n0": ["newest good one"],
        "n3": ["proven 1 of 2"],
        "n5": ["proven 2 of 2"],
    }


def test_pinned_ones_and_those_being_read_stay():
    candidates = nights(4)
    candidates[2] = replace(candidates[2], pinned=True, in_use=True)
    assert kept(candidates, policy(keep_last=1))["n2"] == ["pinned", "being read"]


# --- bad ones ---


def test_a_bad_one_is_neither_newest_nor_last_nor_its_day():
    candidates = nights(4)
    candidates[0] = replace(candidates[0], proven=False)
    assert kept(candidates, policy(keep_last=1, keep_daily=1)) == {
        "n1": ["newest good one", "last 1 of 1", "daily 2026-11-22"]
    }
    gone = decide(candidates, policy(keep_last=1), NOW, UTC)[0]
    assert gone.reasons == ("failed its drill, and no rule keeps it",)


def test_a_bad_one_does_not_push_a_good_one_out_of_its_day():
    candidates = [
        backup("bad", "2026-11-22T03:00", proven=False),
        backup("good", "2026-11-22T02:00"),
    ]
    assert list(kept(candidates, policy(keep_daily=1))) == ["good"]


def test_a_bad_one_stays_within_or_pinned():
    candidates = [backup("n", "2026-11-22"), backup("bad", "2026-11-21", proven=False)]
    assert kept(candidates, policy(keep_within=timedelta(days=3)))["bad"] == ["within 3d"]
    pinned = [candidates[0], replace(candidates[1], pinned=True)]
    assert kept(pinned, policy(keep_last=1))["bad"] == ["pinned"]


def test_without_a_good_one_nothing_goes():
    candidates = [replace(one, proven=False) for one in nights(3)]
    found = kept(candidates, policy(keep_last=1, keep_within=timedelta(days=1)))
    assert found == {f"n{ago}": ["no good backup is known, so nothing goes"] for ago in range(3)}


# --- clocks ---


def test_one_from_the_future_stays_and_pushes_nothing_out():
    candidates = [backup("future", "2027-11-22"), *nights(3)]
    assert kept(candidates, policy(keep_last=2, keep_within=timedelta(days=1))) == {
        "future": ["dated in the future"],
        "n0": ["newest good one", "last 1 of 2", "within 1d"],
        "n1": ["last 2 of 2", "within 1d"],
    }


def test_one_whose_store_contradicts_it_stays_and_pushes_nothing_out():
    candidates = [backup("odd", NOW - timedelta(hours=2), doubtful_time=True), *nights(3)]
    assert kept(candidates, policy(keep_last=1)) == {
        "odd": ["dated later than its store says"],
        "n0": ["newest good one", "last 1 of 1"],
    }


def test_one_whose_run_contradicts_it_stays_and_pushes_nothing_out():
    candidates = [backup("odd", NOW - timedelta(hours=2), backdated=True), *nights(3)]
    assert kept(candidates, policy(keep_last=1)) == {
        "odd": ["dated long before its run began"],
        "n0": ["newest good one", "last 1 of 1"],
    }


def test_when_our_clock_is_far_behind_everything_stays():
    assert len(kept(nights(9), policy(keep_last=1), now=NOW - timedelta(days=400))) == 9


def test_a_server_whose_clock_is_a_little_ahead_is_no_future():
    candidates = [backup("ahead", NOW + timedelta(minutes=5)), *nights(2)]
    assert list(kept(candidates, policy(keep_last=1))) == ["ahead"]


def test_a_hole_in_the_history_casts_doubt_on_the_clock():
    before = [NOW - timedelta(days=365 + ago) for ago in range(20)]
    hole = ClockDoubt(before=NOW - timedelta(days=365), after=NOW)
    assert doubt_clock([NOW, *before], NOW) == hole
    assert str(hole) == "no try for 365d before 2026-11-23: a pause, or the clock has jumped"


def test_the_doubt_ends_after_a_week_of_tries():
    before = [NOW - timedelta(days=365 + ago) for ago in range(20)]
    since = [NOW + timedelta(days=day) for day in range(8)]
    assert doubt_clock([*before, *since[:7]], since[6]) is not None
    assert doubt_clock([*before, *since], since[7]) is None
    hourly = [NOW + timedelta(hours=hour) for hour in range(150)]
    assert doubt_clock([*before, *hourly], hourly[-1]) is not None
    assert doubt_clock([*before, NOW, since[7]], since[7]) is not None, "two tries are not enough"


@pytest.mark.parametrize("every", [timedelta(hours=1), timedelta(days=7), timedelta(days=31)])
def test_regular_histories_cast_no_doubt(every):
    assert doubt_clock([NOW - every * count for count in range(40)], NOW) is None


def test_short_histories_and_short_holes_cast_no_doubt():
    assert doubt_clock([], NOW) is None
    assert doubt_clock([NOW], NOW) is None
    assert doubt_clock([NOW, NOW - timedelta(days=400)], NOW) is None
    week = [NOW - timedelta(days=8 + ago) for ago in range(9)]
    assert doubt_clock([NOW, *week], NOW) is None


def test_tries_from_the_future_say_nothing_about_the_clock():
    history = [NOW - timedelta(days=ago) for ago in range(20)]
    assert doubt_clock([NOW + timedelta(days=365), *history], NOW) is None


def test_a_manual_try_right_after_another_does_not_turn_a_month_into_a_hole():
    history = [NOW - timedelta(days=31 * month) for month in range(12)]
    again = [at + timedelta(minutes=5) for at in history]
    assert doubt_clock([*history, *again], NOW + timedelta(hours=1)) is None


# --- properties ---

TIMEZONES = st.sampled_from(
    [
        UTC,
        BERLIN,
        ZoneInfo("America/New_York"),
        ZoneInfo("Australia/Lord_Howe"),
        ZoneInfo("Asia/Kathmandu"),
    ]
)
RULES = [field.name for field in fields(RetentionPolicy) if field.name != "keep_within"]


@st.composite
def policies(draw):
    rules = {rule: draw(st.integers(0, 5)) for rule in RULES}
    within = timedelta(hours=draw(st.sampled_from([0, 1, 30, 24 * 7, 24 * 45])))
    if not any(rules.values()) and not within:
        rules["keep_last"] = 1
    return RetentionPolicy(**rules, keep_within=within)


@st.composite
def histories(draw):
    unit = draw(st.sampled_from([timedelta(minutes=20), timedelta(hours=7), timedelta(days=3)]))
    steps = draw(st.lists(st.integers(-30, 300), max_size=25))
    return [
        Candidate(
            BackupId(f"b{number}"),
            NOW - unit * step,
            proven=draw(st.sampled_from([None, None, True, False])),
            pinned=draw(st.sampled_from([False, False, False, True])),
            in_use=draw(st.sampled_from([False, False, False, True])),
            doubtful_time=draw(st.sampled_from([False, False, False, False, True])),
            backdated=draw(st.sampled_from([False, False, False, False, True])),
        )
        for number, step in enumerate(steps)
    ]


def survivors(candidates, rules, timezone):
    stay = {one.id for one in decide(candidates, rules, NOW, timezone) if one.keep}
    return [one for one in candidates if one.id in stay]


@given(histories(), policies(), TIMEZONES, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    candidates, rules, timezone, shuffler: random.Random
):
    first = decide(candidates, rules, NOW, timezone)
    shuffler.shuffle(candidates)
    assert decide(candidates, rules, NOW, timezone) == first


@given(histories(), policies(), TIMEZONES)
def test_every_candidate_is_judged_once_with_a_reason(candidates, rules, timezone):
    decisions = decide(candidates, rules, NOW, timezone)
    assert sorted(one.id for one in decisions) == sorted(one.id for one in candidates)
    assert all(one.reasons and all(one.reasons) for one in decisions)


@given(histories(), policies(), TIMEZONES)
def test_deciding_over_the_survivors_deletes_nothing_more(candidates, rules, timezone):
    stay = survivors(candidates, rules, timezone)
    assert survivors(stay, rules, timezone) == stay


@given(
    histories(), policies(), TIMEZONES, st.sampled_from([*RULES, "keep_within"]), st.integers(1, 40)
)
def test_raising_a_number_never_deletes_more(candidates, rules, timezone, rule, by):
    step = timedelta(hours=11 * by) if rule == "keep_within" else by
    raised = replace(rules, **{rule: getattr(rules, rule) + step})
    less = {one.id for one in survivors(candidates, rules, timezone)}
    more = {one.id for one in survivors(candidates, raised, timezone)}
    assert less <= more


@given(histories(), policies(), TIMEZONES)
def test_the_newest_good_one_and_the_newest_proven_ones_always_stay(candidates, rules, timezone):
    stay = {one.id for one in survivors(candidates, rules, timezone)}
    past = [
        one for one in candidates if one.at <= LATE and not one.doubtful_time and not one.backdated
    ]
    past.sort(key=lambda one: (one.at, one.id), reverse=True)
    good = [one.id for one in past if one.good]
    assert set(good[:1]) <= stay
    proven = [one.id for one in past if one.proven]
    assert set(proven[: rules.keep_proven]) <= stay
    assert not candidates or stay


@given(histories(), policies(), TIMEZONES)
def test_what_is_pinned_read_or_oddly_dated_always_stays(candidates, rules, timezone):
    stay = {one.id for one in survivors(candidates, rules, timezone)}
    for one in candidates:
        assert one.id in stay or not (
            one.pinned or one.in_use or one.doubtful_time or one.backdated or one.at > LATE
        )


@given(histories(), policies(), TIMEZONES, st.integers(-30, 300))
def test_adding_a_failed_one_changes_nothing(candidates, rules, timezone, step):
    failed = Candidate(BackupId("failed"), NOW - timedelta(hours=7) * step, proven=False)
    before = decide(candidates, rules, NOW, timezone)
    after = decide([*candidates, failed], rules, NOW, timezone)
    assert [one for one in after if one.id != "failed"] == before


# --- golden files ---

POLICIES = {
    "default": (RetentionPolicy(), UTC),
    "last-5": (policy(keep_last=5), UTC),
    "hourly-24": (policy(keep_hourly=24), UTC),
    "hourly-48-berlin": (policy(keep_hourly=48), BERLIN),
    "daily-14": (policy(keep_daily=14), UTC),
    "weekly-8-berlin": (policy(keep_weekly=8), BERLIN),
    "monthly-24": (policy(keep_monthly=24), UTC),
    "yearly-3": (policy(keep_yearly=3), UTC),
    "within-10d": (policy(keep_within=timedelta(days=10)), UTC),
    "proven-4": (policy(keep_proven=4), UTC),
    "classic": (
        policy(
            keep_last=1, keep_daily=7, keep_weekly=5, keep_monthly=12, keep_yearly=2, keep_proven=2
        ),
        BERLIN,
    ),
}


def a_year() -> list[Candidate]:
    """Nightly at 02:00 UTC for 400 nights, and what a year brings.

    Hourly in the last two days and over the end of summer time; no backups in the first half of
    August; weekly drills on Sundays, of which three in October fail; three backups by hand; a pin.
    """
    found: list[Candidate] = []
    last = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    times = [last - timedelta(days=ago) for ago in range(400)]
    times += [last - timedelta(hours=ago) for ago in range(1, 48) if ago % 24]
    times += [datetime(2026, 10, 24, 20, 30, tzinfo=UTC) + timedelta(hours=one) for one in range(8)]
    times += [datetime(2026, month, 15, 16, 45, 10, tzinfo=UTC) for month in (2, 5, 9)]
    pause = (datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 8, 16, tzinfo=UTC))
    for at in sorted(times):
        if pause[0] <= at < pause[1]:
            continue
        proven = True if at.hour == 2 and at.weekday() == 6 else None
        if proven and at.month == 10 and at.day < 20:
            proven = False
        pinned = at == datetime(2026, 1, 20, 2, tzinfo=UTC)
        found.append(Candidate(BackupId(f"{at:%Y%m%dT%H%M%SZ}"), at, proven=proven, pinned=pinned))
    return found


def table(candidates: list[Candidate], rules: RetentionPolicy, timezone) -> str:
    known = {one.id: one for one in candidates}
    decisions = decide(candidates, rules, NOW, timezone)
    keep = [one for one in decisions if one.keep]
    lines = [
        f"{rules}",
        f"calendar {timezone}, now {NOW:%Y-%m-%d %H:%M}Z",
        f"{len(decisions)} backups: {len(keep)} stay, {len(decisions) - len(keep)} go",
        "",
    ]
    words = {True: "proven", False: "bad", None: ""}
    for one in keep:
        at = known[one.id].at.astimezone(timezone)
        what = words[known[one.id].proven]
        lines.append(f"{at:%a %Y-%m-%d %H:%M%z}  {what:6}  {', '.join(one.reasons)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", POLICIES)
def test_a_year_of_backups(name):
    """Regenerate with GUARDIAN_GOLDEN=1, and read the difference before you commit it."""
    rules, timezone = POLICIES[name]
    found = table(a_year(), rules, timezone)
    path = GOLDEN / f"retention-{name}.txt"
    if os.environ.get("GUARDIAN_GOLDEN"):
        path.write_text(found)
    assert found == path.read_text()
