from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.sizes import (
    Bounds,
    Change,
    Figures,
    compare_sizes,
    figures_of,
    percent_text,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef, Measured, RunStatus
from guardian.watch.readings import Severity

BOUNDS = (30.0, 60.0)
BEFORE = BackupRecord(
    BackupId("20261122T020000Z-7f3a9c"),
    DatabaseRef("main", "mina"),
    RunStatus.SUCCEEDED,
    datetime(2026, 11, 22, 2, tzinfo=UTC),
    dumped_bytes=1000,
    tables=20,
    rows=1000,
    proven=True,
)
counts = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("now", "severity"),
    [
        (Figures(1000, 20, 1000), Severity.OK),
        (Figures(701, 20, 1000), Severity.OK),
        (Figures(700, 20, 1000), Severity.WARNING),
        (Figures(401, 20, 1000), Severity.WARNING),
        (Figures(400, 20, 1000), Severity.CRITICAL),
        (Figures(1000, 15, 1000), Severity.OK),
        (Figures(1000, 14, 1000), Severity.WARNING),
        (Figures(1000, 8, 1000), Severity.CRITICAL),
        (Figures(1000, 20, 701), Severity.OK),
        (Figures(1000, 20, 700), Severity.WARNING),
        (Figures(1000, 20, 0), Severity.CRITICAL),
        (Figures(700, 20, 400), Severity.CRITICAL),
        (Figures(10**9, 500, 10**9), Severity.OK),
        (Figures(1000), Severity.OK),
    ],
)
def test_a_sharp_drop_of_anything_is_told(now: Figures, severity: Severity) -> None:
    found = compare_sizes(now, BEFORE, BOUNDS)
    assert found.severity is severity
    assert (found.warning is None) == (severity is Severity.OK)


def test_the_warning_names_what_shrank_and_no_more() -> None:
    found = compare_sizes(Figures(900, 20, 3), BEFORE, BOUNDS)
    assert found.warning == (
        "far smaller than 20261122T020000Z-7f3a9c, the last proven backup before it: "
        "3 rows after 1,000 (-100 %); find out what was deleted, and keep that one: "
        "guardian backup keep 20261122T020000Z-7f3a9c"
    )
    found = compare_sizes(Figures(600, 14, 990), BEFORE, BOUNDS)
    assert found.warning is not None
    assert ": 600 B dumped after 0.98 KiB (-40 %), 14 tables after 20 (-30 %);" in found.warning


@pytest.mark.parametrize("bounds", [None, (None, None), (None, 100.1)])
def test_without_a_bound_nothing_is_too_small(bounds: Bounds | None) -> None:
    found = compare_sizes(Figures(1, 0, 0), BEFORE, bounds)
    assert (found.severity, found.warning) == (Severity.OK, None)


def test_a_critical_bound_alone() -> None:
    assert compare_sizes(Figures(500), BEFORE, (None, 60.0)).severity is Severity.OK
    assert compare_sizes(Figures(400), BEFORE, (None, 60.0)).severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("before", "now", "severity"),
    [
        ((9, 99), (1, 1), Severity.OK),  # a few come and go
        ((9, 99), (0, 99), Severity.CRITICAL),
        ((9, 99), (9, 0), Severity.CRITICAL),
        ((10, 100), (5, 100), Severity.WARNING),
        ((10, 100), (10, 50), Severity.WARNING),
        ((0, 0), (0, 0), Severity.OK),
        ((0, 0), (5, 5), Severity.OK),
    ],
)
def test_of_a_few_some_may_go_but_not_all(
    before: tuple[int, int], now: tuple[int, int], severity: Severity
) -> None:
    proven = replace(BEFORE, tables=before[0], rows=before[1])
    assert compare_sizes(Figures(1000, *now), proven, BOUNDS).severity is severity


def test_what_one_of_them_did_not_count_is_not_compared() -> None:
    found = compare_sizes(Figures(1000, None, None), BEFORE, BOUNDS)
    assert [one.what for one in found.changes] == ["dumped"]
    assert found.change("rows") is None
    old = replace(BEFORE, tables=None, rows=None)
    assert compare_sizes(Figures(1000, 0, 0), old, BOUNDS).severity is Severity.OK


def test_figures_are_the_fingerprints_else_the_drills() -> None:
    measured = Measured(1.0, 2.0, 3.0, 6.0, tables=7, rows=70)
    assert figures_of(replace(BEFORE, measured=measured)) == Figures(1000, 20, 1000)
    old = replace(BEFORE, tables=None, rows=None)
    assert figures_of(old) == Figures(1000, None, None)
    assert figures_of(replace(old, measured=measured)) == Figures(1000, 7, 70)
    found = compare_sizes(Figures(1000, 7, 7), replace(old, measured=measured), BOUNDS)
    assert found.warning is None


@pytest.mark.parametrize(
    ("percent", "text"),
    [(None, "new"), (0.0, "±0 %"), (0.04, "±0 %"), (-0.4, "-0.4 %"), (12.4, "+12 %"),
     (-99.7, "-100 %"), (250.0, "+250 %")],
)  # fmt: skip
def test_percent(percent: float | None, text: str) -> None:
    assert percent_text(percent) == text


@given(before=counts, now=counts)
def test_a_change_is_never_a_growth_and_a_drop(before: int, now: int) -> None:
    change = Change("rows", before, now)
    assert (change.drop > 0) == (now < before)
    assert 0 <= change.drop <= 100
    assert str(change)
