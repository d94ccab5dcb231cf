"""Samples: what is kept of many rounds, and what is put together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import CatalogError
from guardian.testing import FakeClock, MemoryCatalog
from guardian.watch.readings import VITALS, Reading, Severity, Unit, Unknown
from guardian.watch.trend import (
    UNITS,
    Sample,
    Series,
    TrendLog,
    coarsen,
    floor,
    join,
    sample_all,
)
from guardian.watch.vitals import Bounds, assess

NOW = datetime(2026, 11, 23, 2, 7, 31, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BOUNDS: Bounds = {"query_age": (60.0, 600.0), "disk": (85.0, 95.0), "archiver": (300.0, 900.0)}


def findings(*readings):
    return assess(readings, BOUNDS)


def query(seconds: float, pid: int = 1) -> Reading:
    return Reading("query_age", seconds, Unit.SECONDS, f"pid {pid} (web in mina)", "", str(pid))


def test_every_vital_has_a_unit():
    assert set(UNITS) == set(VITALS)


def test_sessions_that_come_and_go_are_one_series_and_the_worst_counts():
    found = sample_all(findings(query(30.0, 1), query(700.0, 2)), NOW)
    (one,) = found
    assert (one.series, one.last) == (Series("query_age"), 700.0)
    assert one.severity is Severity.CRITICAL


def test_lasting_subjects_are_series_of_their_own_and_the_unknown_is_none():
    found = sample_all(
        findings(
            Reading("disk", 10.0, Unit.PERCENT, "/a"),
            Reading("disk", 20.0, Unit.PERCENT, "/b"),
            Unknown("archiver", "off"),
        ),
        NOW,
    )
    assert {one.series: one.last for one in found} == {
        Series("disk", "/a"): 10.0,
        Series("disk", "/b"): 20.0,
    }
    assert {one.at for one in found} == {datetime(2026, 11, 23, 2, 5, tzinfo=UTC)}


def test_a_log_writes_each_span_once_with_what_was_lowest_and_highest():
    catalog = MemoryCatalog(FakeClock())
    log = TrendLog(catalog, "main")
    for minutes, value in ((0, 5.0), (1, 65.0), (2, 1.0)):
        log.add(findings(query(value)), NOW + minutes * MINUTE)
    assert list(catalog.samples("main", NOW - MINUTE)) == []
    log.add(findings(query(9.0)), NOW + 3 * MINUTE)
    (one,) = catalog.samples("main", NOW - timedelta(hours=1))
    assert (one.low, one.high, one.last, one.severity) == (1.0, 65.0, 1.0, Severity.WARNING)
    log.flush()
    log.flush()
    assert [each.last for each in catalog.samples("main", NOW - timedelta(hours=1))] == [1.0, 9.0]


def test_what_was_gathered_outlives_a_catalog_that_is_away():
    catalog = MemoryCatalog(FakeClock())
    log = TrendLog(catalog, "main")
    log.add(findings(query(5.0)), NOW)
    catalog.fail(CatalogError("away"))
    with pytest.raises(CatalogError):
        log.add(findings(query(6.0)), NOW + 5 * MINUTE)
    catalog.fail(None)
    log.add(findings(query(7.0)), NOW + 10 * MINUTE)
    assert [one.last for one in catalog.samples("main", NOW - timedelta(hours=1))] == [5.0]


values = st.floats(0, 1e9)
samples = st.lists(st.tuples(st.integers(0, 400), values), min_size=1, max_size=60)


@given(samples)
def test_putting_together_loses_neither_peak_nor_valley(points):
    fine = [
        Sample(Series("disk"), floor(NOW, 5 * MINUTE) + n * 5 * MINUTE, 300, v, v, v, Severity.OK)
        for n, v in sorted(dict(points).items())
    ]
    hours = coarsen(fine, timedelta(hours=1))
    assert max(one.high for one in hours) == max(one.high for one in fine)
    assert min(one.low for one in hours) == min(one.low for one in fine)
    assert hours[-1].last == fine[-1].last
    assert all(one.seconds == 3600 and one.at.minute == 0 for one in hours)
    assert coarsen(hours, timedelta(hours=1)) == hours
    days = coarsen(hours, timedelta(days=1))
    assert coarsen(fine, timedelta(days=1)) == days


def test_the_worst_severity_stays():
    calm = Sample(Series("disk"), NOW, 300, 1.0, 1.0, 1.0, Severity.OK)
    assert join(calm, replace(calm, severity=Severity.WARNING)).severity is Severity.WARNING
    assert join(replace(calm, severity=Severity.CRITICAL), calm).severity is Severity.CRITICAL
