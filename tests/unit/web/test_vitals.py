"""Gauges: where a value stands between its bounds, and what was in the last day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from guardian.watch.readings import Reading, Severity, Unit, Unknown
from guardian.watch.trend import Sample, Series
from guardian.watch.vitals import Bounds, assess
from guardian.web.ports import VitalsNow
from guardian.web.views.vitals import Span, gauges, history, number_of
from guardian.web.views.wording import Level

NOW = datetime(2026, 11, 23, 3, 12, tzinfo=UTC)
BOUNDS: Bounds = {
    "connections": (80.0, 95.0),
    "lock_wait": (timedelta(minutes=1), timedelta(minutes=5)),
    "invalid_indexes": (1.0, None),
    "checksum_failures": (None, 1.0),
    "disk": (85.0, 95.0),
}


def shown(*readings, samples=()):
    bounds = {one.name: BOUNDS[one.name] for one in readings}
    return gauges(VitalsNow(NOW, assess(readings, bounds), bounds), samples, NOW)


def test_a_gauge_stands_between_its_bounds():
    (one,) = shown(Reading("lock_wait", 150.0, Unit.SECONDS, "pid 7", "", "7"))
    assert (one.level, one.word, one.value) == (Level.WARNING, "warning", "2m 30s")
    assert (one.fill, one.warning_at, one.critical_at) == (40.0, 16.0, 80.0)
    assert one.bounds == "warning at 1m, critical at 5m"
    assert "guardian locks" in one.mend


@pytest.mark.parametrize(("value", "fill"), [(0.0, 0.0), (50.0, 50.0), (130.0, 100.0)])
def test_percents_are_of_a_hundred(value, fill):
    (one,) = shown(Reading("connections", value, Unit.PERCENT))
    assert (one.fill, one.warning_at, one.critical_at) == (fill, 80.0, 95.0)


def test_what_is_unknown_has_no_value_and_is_never_fine():
    (one,) = shown(Unknown("connections", "hidden", "GRANT pg_monitor TO x;"))
    assert (one.level, one.value, one.fill) == (Level.UNKNOWN, "unknown", None)
    assert one.mend == "GRANT pg_monitor TO x;"


def test_one_bound_is_enough():
    index, checksum = shown(
        Reading("invalid_indexes", 1.0, Unit.COUNT, "mina"),
        Reading("checksum_failures", 0.0, Unit.COUNT),
    )
    assert (index.critical_at, checksum.warning_at) == (None, None)
    assert (index.level, checksum.level) == (Level.WARNING, Level.OK)


def test_what_is_wrong_comes_first_then_the_usual_order():
    found = shown(
        Reading("connections", 10.0, Unit.PERCENT),
        Reading("lock_wait", 400.0, Unit.SECONDS, "pid 7"),
        Reading("disk", 90.0, Unit.PERCENT, "/a"),
        Reading("disk", 10.0, Unit.PERCENT, "/b"),
    )
    assert [(one.vital, one.level) for one in found] == [
        ("lock_wait", Level.BAD),
        ("disk", Level.WARNING),
        ("connections", Level.OK),
        ("disk", Level.OK),
    ]


def sample(series: Series, ago: timedelta, value: float) -> Sample:
    return Sample(series, NOW - ago, 300, value / 2, value, value, Severity.OK)


def test_each_series_has_a_line_of_its_own():
    mine, other = Series("disk", "/a"), Series("disk", "/b")
    samples = [sample(mine, timedelta(hours=n), 50.0 + n) for n in (9, 5, 1)]
    first, second = shown(
        Reading("disk", 51.0, Unit.PERCENT, "/a"),
        Reading("disk", 10.0, Unit.PERCENT, "/b"),
        samples=[*samples, sample(other, timedelta(hours=2), 9.0)],
    )
    assert first.line is not None
    assert second.line is None  # one point is no line


def test_a_history_keeps_its_peaks_however_long_it_is():
    series = Series("lock_wait")
    samples = [sample(series, timedelta(minutes=5 * n), 1.0) for n in range(2000, 0, -1)]
    samples[777] = sample(series, timedelta(minutes=5 * 1223), 999.0)
    found = history(series, samples, BOUNDS, Span.WEEK, NOW)
    assert len(found.points) <= 400
    assert max(value for _, value in found.points) == 999.0
    assert found.bounds == [("warning", 60.0), ("critical", 300.0)]
    assert found.words == "between 1s and 16m 39s, last 1s"


def test_a_history_of_nothing_says_so():
    found = history(Series("disk", "/x"), [], {}, Span.DAY, NOW)
    assert (found.chart, found.words) == (None, "nothing was recorded in this time")


def test_bounds_are_numbers_of_their_unit():
    assert number_of(timedelta(minutes=5)) == 300.0
    assert number_of(None) is None
