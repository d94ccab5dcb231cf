"""Vital signs as gauges with their bounds, and over time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from guardian.watch.advice import format_value
from guardian.watch.readings import VITALS, Severity, Unit
from guardian.watch.trend import UNITS, Sample, Series, series_of
from guardian.watch.vitals import Bound, Bounds, Finding
from guardian.web.ports import VitalsNow
from guardian.web.views.charts import Chart, SeriesOf, Spark, line_chart, spark
from guardian.web.views.wording import LEVEL_OF_SEVERITY, Level, one_line

LABELS: Mapping[str, str] = {
    "connections": "Connections",
    "idle_in_transaction": "Idle in transaction",
    "query_age": "Longest query",
    "lock_wait": "Longest lock wait",
    "transaction_id_age": "Transaction id age",
    "multixact_age": "Multixact age",
    "prepared_transactions": "Oldest prepared transaction",
    "slot_retained_wal": "WAL held back by a slot",
    "replica_lag": "Replica lag",
    "checksum_failures": "Checksum failures",
    "archiver": "Archiver",
    "sequences": "Fullest sequence",
    "invalid_indexes": "Invalid indexes",
    "backup_age": "Backup age",
    "size_drop": "Backup smaller than proven",
    "disk": "Disk",
}
_SPARK_POINTS = 48
_CHART_POINTS = 400


class Span(StrEnum):
    """How far back a chart goes."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def duration(self) -> timedelta:
        """As a duration."""
        return timedelta(days={"day": 1, "week": 7, "month": 31, "year": 365}[self.value])


@dataclass(frozen=True, slots=True)
class Gauge:
    """One vital of one subject.

    ``fill``, ``warning_at`` and ``critical_at`` are percent of the bar; None where there is no
    value, or no such bound.
    """

    vital: str
    label: str
    subject: str
    level: Level
    word: str
    value: str
    text: str
    mend: str
    fill: float | None
    warning_at: float | None
    critical_at: float | None
    bounds: str
    line: Spark | None
    series: Series


@dataclass(frozen=True, slots=True)
class History:
    """One series over time: a chart, and the same as numbers for a script that draws it better."""

    label: str
    subject: str
    chart: Chart | None
    points: Sequence[tuple[float, float]]
    bounds: Sequence[tuple[str, float]]
    unit: str
    words: str


def gauges(vitals: VitalsNow, samples: Iterable[Sample], now: datetime) -> list[Gauge]:
    """A gauge for each finding: what is not fine first, then in the usual order."""
    lines = _by_series(samples)
    made = [
        _gauge(one, vitals.bounds, lines.get(series_of(one), ()), now) for one in vitals.findings
    ]
    return sorted(
        made,
        key=lambda one: (
            -one.level.rank if one.level.rank >= Level.WARNING.rank else 0,
            _place(one),
        ),
    )


def history(
    series: Series,
    samples: Sequence[Sample],
    bounds: Bounds,
    span: Span,
    now: datetime,
) -> History:
    """One series over a span: of each moment the worst value, so that no peak is lost."""
    unit = UNITS.get(series.vital, Unit.COUNT)
    points = _thinned(samples, _CHART_POINTS)
    drawn = [
        (name, number) for name, number in _both(bounds.get(series.vital)) if number is not None
    ]
    chart = line_chart(
        [SeriesOf("accent", LABELS.get(series.vital, series.vital), points)],
        (now - span.duration, now),
        lambda value: format_value(value, unit),
        base=1024 if unit is Unit.BYTES else 60 if unit is Unit.SECONDS else 10,
        ceiling=100.0 if unit is Unit.PERCENT else None,
        bounds=drawn,
    )
    return History(
        label=LABELS.get(series.vital, series.vital),
        subject=series.subject,
        chart=chart,
        points=[(at.timestamp(), value) for at, value in points],
        bounds=drawn,
        unit=unit.value,
        words=_words(points, unit),
    )


def number_of(bound: Bound) -> float | None:
    """A bound as a reading's number: durations in seconds."""
    if bound is None:
        return None
    return bound.total_seconds() if isinstance(bound, timedelta) else float(bound)


def _gauge(finding: Finding, bounds: Bounds, samples: Sequence[Sample], now: datetime) -> Gauge:
    warning, critical = (number for _, number in _both(bounds.get(finding.vital)))
    unit = finding.unit or UNITS.get(finding.vital, Unit.COUNT)
    top = _top(unit, warning, critical)
    severity = finding.severity
    return Gauge(
        vital=finding.vital,
        label=LABELS.get(finding.vital, finding.vital),
        subject=one_line(finding.subject),
        level=LEVEL_OF_SEVERITY[severity],
        word="fine" if severity is Severity.OK else severity.value,
        value="unknown" if finding.value is None else format_value(finding.value, unit),
        text=one_line(finding.text),
        mend=finding.mend or "",
        fill=_share(finding.value, top),
        warning_at=_share(warning, top),
        critical_at=_share(critical, top),
        bounds=_bounds_words(warning, critical, unit),
        line=_line(samples, now),
        series=series_of(finding),
    )


def _both(pair: tuple[Bound, Bound] | None) -> tuple[tuple[str, float | None], ...]:
    warning, critical = pair if pair is not None else (None, None)
    return ("warning", number_of(warning)), ("critical", number_of(critical))


def _top(unit: Unit, warning: float | None, critical: float | None) -> float:
    """The bar's right end: the critical bound is well within it, and percents are of a hundred."""
    if unit is Unit.PERCENT:
        return 100.0
    if critical is not None:
        return 1.25 * critical
    return 2 * warning if warning else 1.0


def _share(value: float | None, top: float) -> float | None:
    return None if value is None else round(min(100.0, max(0.0, 100 * value / top)), 1)


def _bounds_words(warning: float | None, critical: float | None, unit: Unit) -> str:
    words = []
    if warning is not None:
        words.append(f"warning at {format_value(warning, unit)}")
    if critical is not None:
        words.append(f"critical at {format_value(critical, unit)}")
    return ", ".join(words)


def _line(samples: Sequence[Sample], now: datetime) -> Spark | None:
    """The last day in equal steps, so that a gap is one."""
    if not samples:
        return None
    start = now - timedelta(days=1)
    step = timedelta(days=1) / _SPARK_POINTS
    values: list[float | None] = [None] * _SPARK_POINTS
    for one in samples:
        place = min(max(int((one.at - start) / step), 0), _SPARK_POINTS - 1)
        values[place] = max(values[place] or 0.0, one.high)
    return spark(values, width=120, height=24)


def _thinned(samples: Sequence[Sample], most: int) -> list[tuple[datetime, float]]:
    """At most so many points: of neighbours the highest."""
    step = max(1, -(-len(samples) // most))
    return [
        (samples[start].at, max(one.high for one in samples[start : start + step]))
        for start in range(0, len(samples), step)
    ]


def _words(points: Sequence[tuple[datetime, float]], unit: Unit) -> str:
    if not points:
        return "nothing was recorded in this time"
    values = [value for _, value in points]
    return (
        f"between {format_value(min(values), unit)} and {format_value(max(values), unit)}, "
        f"last {format_value(values[-1], unit)}"
    )


def _by_series(samples: Iterable[Sample]) -> dict[Series, list[Sample]]:
    found: dict[Series, list[Sample]] = {}
    for one in samples:
        found.setdefault(one.series, []).append(one)
    return found


def _place(one: Gauge) -> tuple[int, str]:
    return VITALS.index(one.vital) if one.vital in VITALS else len(VITALS), one.subject
