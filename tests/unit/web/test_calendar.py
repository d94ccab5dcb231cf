"""Nights: what came of each day, in the timezone of its schedule."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from guardian.backup.history import TryPoint
from guardian.model import BackupId, DatabaseRef, RunStatus
from guardian.web.views.calendar import (
    Cell,
    Night,
    Plan,
    codes,
    expected_days,
    nights,
    summary,
    weeks,
)
from guardian.web.views.charts import night_squares, night_strip

MAIN = DatabaseRef("main", "mina")
DAY = timedelta(days=1)
FIRST, LAST = date(2026, 11, 16), date(2026, 11, 22)
DAILY = Plan("0 2 * * *", "UTC", FIRST)


def point(day: int, status=RunStatus.SUCCEEDED, *, proven: bool | None = None, hour=2) -> TryPoint:
    at = datetime(2026, 11, day, hour, tzinfo=UTC)
    return TryPoint(BackupId(f"b{day}"), MAIN, status, at, proven, 10, 50)


def kinds(points, plan=DAILY) -> dict[int, Night]:
    return {one.day.day: one.night for one in nights(points, plan, FIRST, LAST)}


def test_each_night_is_told_by_what_came_of_it():
    points = [
        point(16, proven=True),
        point(17),
        point(18, proven=False),
        point(19, RunStatus.FAILED),
        point(20, RunStatus.INTERRUPTED),
        point(22, RunStatus.RUNNING),
    ]
    assert kinds(points) == {
        16: Night.PROVEN,
        17: Night.UNPROVEN,
        18: Night.REFUTED,
        19: Night.FAILED,
        20: Night.FAILED,
        21: Night.MISSING,
        22: Night.RUNNING,
    }


def test_the_best_of_several_tries_counts():
    points = [point(16, RunStatus.FAILED), point(16, hour=3), point(16, proven=True, hour=4)]
    (cell, *_) = nights(points, DAILY, FIRST, LAST)
    assert (cell.night, cell.tries) == (Night.PROVEN, 3)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(None, "UTC", FIRST), Night.NONE),
        (Plan("0 2 * * *", "UTC", None), Night.NONE),
        (Plan("0 2 * * *", "UTC", date(2026, 11, 19)), Night.NONE),
        (Plan("0 2 * * *", "UTC", date(2026, 11, 18)), Night.MISSING),
        (Plan("0 2 * * mon", "UTC", FIRST), Night.NONE),  # the 18th is a Wednesday
        (Plan("0 2 * * wed", "UTC", FIRST), Night.MISSING),
        (Plan("every 6h", "UTC", FIRST), Night.MISSING),
        (Plan("nonsense", "UTC", FIRST), Night.NONE),
    ],
)
def test_a_night_is_missing_only_where_one_was_due(plan, expected):
    assert kinds([], plan)[18] is expected


def test_today_is_missing_only_once_it_is_overdue():
    assert kinds([])[22] is Night.NONE
    assert kinds([], Plan("0 2 * * *", "UTC", FIRST, overdue=True))[22] is Night.MISSING


def test_a_night_belongs_to_the_day_of_its_own_timezone():
    late = point(18, proven=True, hour=23)  # the 19th, 08:00 in Tokyo
    assert kinds([late], Plan("0 8 * * *", "Asia/Tokyo", FIRST))[19] is Night.PROVEN
    assert kinds([late], Plan("0 8 * * *", "No/Such", FIRST))[18] is Night.PROVEN


def test_days_are_expected_as_the_schedule_says():
    found = expected_days("30 2 1,15 * *", "Europe/Berlin", date(2026, 10, 1), date(2026, 11, 30))
    assert found == {date(2026, m, d) for m in (10, 11) for d in (1, 15)}


def test_the_nights_in_words_name_the_days_that_are_few():
    cells = nights([point(16, proven=True), point(17, RunStatus.FAILED)], DAILY, FIRST, LAST)
    assert summary(cells) == "7 nights: 1 proven, 1 failed (Tue 17 Nov), 4 missing"
    assert summary(cells[:1]) == "1 night: 1 proven"
    assert summary([Cell(FIRST, Night.NONE)]) == "1 night: no backup"


def test_weeks_begin_on_monday():
    cells = [Cell(date(2026, 11, 18) + n * DAY, Night.PROVEN) for n in range(6)]
    first, second = weeks(cells)
    assert [one and one.day.day for one in first] == [None, None, 18, 19, 20, 21, 22]
    assert [one and one.day.day for one in second] == [23, None, None, None, None, None, None]
    assert weeks([]) == []


def test_each_kind_of_night_has_a_form_and_a_letter_of_its_own():
    """So that nobody needs to tell colours apart; what failed in either way looks the same."""
    forms = {one: night_strip([Cell(FIRST, one)])[0].path for one in Night}
    alike = {Night.FAILED, Night.REFUTED}, {Night.UNPROVEN, Night.RUNNING}
    assert len(set(forms.values())) == len(Night) - len(alike)
    assert forms[Night.FAILED] == forms[Night.REFUTED]
    assert len(set(codes([Cell(FIRST, one) for one in Night]))) == len(Night)


def test_one_path_draws_all_nights_of_a_kind():
    cells = [Cell(FIRST + n * DAY, Night.PROVEN) for n in range(100)]
    (strip,) = night_strip(cells)
    assert strip.kind == "proven"
    assert strip.path.count("M") == 100
    (squares,) = night_squares(weeks(cells))
    assert squares.path.count("M") == 100
