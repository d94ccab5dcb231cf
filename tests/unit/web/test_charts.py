"""Shapes of charts: ticks on round numbers, lines within their frames."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.web.views.charts import SeriesOf, line_chart, nice_ticks, spark, time_ticks

END = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
START = END - timedelta(days=1)


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@given(st.floats(1e-6, 1e15), st.sampled_from([10, 60, 1024]))
def test_ticks_reach_the_highest_value_in_a_few_even_steps(highest, base):
    ticks = nice_ticks(highest, base)
    steps = [b - a for a, b in pairwise(ticks)]
    assert ticks[0] == 0
    assert ticks[-1] >= highest * 0.999999
    assert 2 <= len(ticks) <= 10
    assert max(steps) == pytest.approx(min(steps))


def test_ticks_fall_on_numbers_that_people_count_by():
    assert nice_ticks(83) == [0, 25, 50, 75, 100]
    assert nice_ticks(83, ceiling=100.0) == [0, 25, 50, 75, 100]
    assert nice_ticks(100 << 30, 1024) == [0, 32 << 30, 64 << 30, 96 << 30, 128 << 30]
    assert nice_ticks(400, 60) == [0, 120, 240, 360, 480]
    assert nice_ticks(0) == [0, 1]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e15)), max_size=60))
def test_a_spark_stays_in_its_frame(values):
    line = spark(values)
    known = [one for one in values if one is not None]
    if len(known) < 2:
        assert line is None
        return
    assert line is not None
    points = numbers(line.path)
    assert len(points) == len(known)
    assert all(0 <= x <= line.width and 0 <= y <= line.height for x, y in points)


def test_a_small_change_does_not_look_like_a_large_one():
    line = spark([100.0, 101.0])
    assert line is not None
    (_, first), (_, last) = numbers(line.path)
    assert 0 < first - last < line.height / 6
    fall = spark([100.0, 10.0])
    assert fall is not None
    (_, first), (_, last) = numbers(fall.path)
    assert last - first > line.height / 2


def test_a_long_gap_is_one():
    line = spark([1.0, 1.0, *[None] * 10, 1.0, 1.0])
    assert line is not None
    assert line.path.count("M") == 2


def test_a_chart_without_points_is_none():
    assert line_chart([SeriesOf("accent", "x", [])], (START, END), str) is None


def test_lines_lie_within_the_axes_and_bounds_only_where_they_are_near():
    points = [(START + timedelta(hours=n), float(n)) for n in range(25)]
    chart = line_chart(
        [SeriesOf("accent", "x", points)],
        (START, END),
        lambda value: f"{value:.0f}s",
        bounds=[("warning", 30.0), ("critical", 500.0)],
    )
    assert chart is not None
    found = numbers(chart.lines[0].path)
    assert len(found) == 25
    assert all(0 <= x <= chart.plot_width and 0 <= y <= chart.plot_height for x, y in found)
    assert [one.label for one in chart.bounds] == ["warning"]
    assert chart.y_ticks[0].label == "0s"


@pytest.mark.parametrize("days", [1 / 24, 1, 7, 31, 365])
def test_times_are_marked_a_few_times(days):
    ticks = time_ticks(END - timedelta(days=days), END)
    assert 2 <= len(ticks) <= 8
    assert all(END - timedelta(days=days) <= at <= END for at, _ in ticks)
