"""One database over a year: its calendar, its size, how long a recovery takes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from guardian.backup.history import DrillPoint, Standing, TryPoint
from guardian.model import DatabaseRef, ProofResult, RunStatus
from guardian.units import format_size
from guardian.web.ports import DatabasePlan
from guardian.web.views import calendar
from guardian.web.views.calendar import Cell, Night
from guardian.web.views.charts import (
    SQUARE_PITCH,
    Chart,
    SeriesOf,
    Shape,
    Tick,
    line_chart,
    night_squares,
)
from guardian.web.views.overview import judge, night_cells
from guardian.web.views.wording import Level, short_duration

DAYS = 365
_POINTS = 500


@dataclass(frozen=True, slots=True)
class YearCalendar:
    """A year of nights: shapes, where months begin, and the same in words."""

    shapes: Sequence[Shape]
    months: Sequence[Tick]
    width: int
    height: int
    counts: Sequence[tuple[Night, str, int]]
    words: str
    codes: str
    first: date
    notable: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Curve:
    """A chart, and the same as numbers for a script that draws it better."""

    label: str
    unit: str
    chart: Chart | None
    series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]
    words: str


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """One database."""

    ref: DatabaseRef
    level: Level
    word: str
    said: str
    standing: Standing | None
    plan: DatabasePlan | None
    calendar: YearCalendar
    size: Curve
    recovery: Curve


def database_view(
    ref: DatabaseRef,
    standing: Standing | None,
    plan: DatabasePlan | None,
    tries: Sequence[TryPoint],
    drills: Sequence[DrillPoint],
    now: datetime,
) -> DatabaseView:
    """All that the page says beside the list of tries."""
    level, word, said = judge(standing, plan, now)
    span = (now - timedelta(days=DAYS), now)
    return DatabaseView(
        ref=ref,
        level=level,
        word=word,
        said=said,
        standing=standing,
        plan=plan,
        calendar=_calendar(night_cells(ref, standing, plan, tries, now, DAYS)),
        size=_sizes(tries, span),
        recovery=_recoveries(drills, span),
    )


def _calendar(cells: Sequence[Cell]) -> YearCalendar:
    weeks = calendar.weeks(cells)
    counts = Counter(one.night for one in cells)
    bad = {Night.FAILED, Night.REFUTED, Night.MISSING}
    notable = [one for one in reversed(cells) if one.night in bad]
    return YearCalendar(
        shapes=night_squares(weeks),
        months=_months(weeks),
        width=len(weeks) * SQUARE_PITCH,
        height=7 * SQUARE_PITCH,
        counts=[(night, calendar.WORDS[night], counts[night]) for night in Night if counts[night]],
        words=calendar.summary(cells),
        codes=calendar.codes(cells),
        first=cells[0].day,
        notable=notable[:12],
    )


def _months(weeks: Sequence[Sequence[Cell | None]]) -> list[Tick]:
    found: list[Tick] = []
    known: date | None = None
    for column, week in enumerate(weeks):
        first = next((cell.day for cell in week if cell is not None), None)
        if first is not None and (known is None or first.month != known.month):
            if column < len(weeks) - 2:
                found.append(Tick(column * SQUARE_PITCH, f"{first:%b}"))
            known = first
    # A first month of a week or two has no room for its name.
    if len(found) > 1 and found[1].place - found[0].place < 2.5 * SQUARE_PITCH:
        found.pop(0)
    return found


def _sizes(tries: Sequence[TryPoint], span: tuple[datetime, datetime]) -> Curve:
    good = [one for one in _thinned(tries) if one.status is RunStatus.SUCCEEDED]
    stored = [(one.started_at, float(one.stored_bytes)) for one in good]
    dumped = [(one.started_at, float(one.dumped_bytes)) for one in good]
    return _curve(
        "Size",
        "bytes",
        [SeriesOf("accent", "stored", stored), SeriesOf("second", "dumped", dumped)],
        span,
    )


def _recoveries(drills: Sequence[DrillPoint], span: tuple[datetime, datetime]) -> Curve:
    good = [one for one in _thinned(drills) if one.result is not ProofResult.INCONCLUSIVE]
    points = [(one.at, one.recovery_seconds) for one in good]
    return _curve(
        "Recovery time", "seconds", [SeriesOf("accent", "fetch and restore", points)], span
    )


def _curve(
    label: str, unit: str, series: Sequence[SeriesOf], span: tuple[datetime, datetime]
) -> Curve:
    form = format_size if unit == "bytes" else short_duration
    return Curve(
        label,
        unit,
        line_chart(series, span, form, base=1024 if unit == "bytes" else 60),
        [
            (one.kind, one.label, [(at.timestamp(), value) for at, value in one.points])
            for one in series
        ],
        _words(series, unit),
    )


def _words(series: Sequence[SeriesOf], unit: str) -> str:
    form = format_size if unit == "bytes" else short_duration
    words = [
        f"{one.label} from {form(one.points[0][1])} to {form(one.points[-1][1])}"
        for one in series
        if one.points
    ]
    return "; ".join(words) or "nothing is known yet"


def _thinned(points: Sequence[TryPoint] | Sequence[DrillPoint]) -> list:  # type: ignore[type-arg]
    """At most so many points, evenly chosen, the last one among them."""
    step = max(1, -(-len(points) // _POINTS))
    return list(points[::-1][::step][::-1])
