"""Shapes for charts, as SVG's path data. Pure; the templates put them into their frames.

Every chart is drawn on the server, so that it is there without JavaScript. Numbers in path data
are plain decimals made here: nothing from outside ever gets into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.web.views.calendar import Cell, Night

CELL_WIDTH, CELL_HEIGHT, CELL_PITCH = 6, 16, 8
SQUARE, SQUARE_PITCH = 10, 13


@dataclass(frozen=True, slots=True)
class Shape:
    """One path: ``kind`` becomes its class, ``path`` is SVG path data."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Spark:
    """A small line without axes. ``dot`` is the last point."""

    width: int
    height: int
    path: str
    dot: tuple[float, float]


def night_strip(cells: Sequence[Cell]) -> tuple[Shape, ...]:
    """Nights side by side; each kind has a form of its own, so that no colour is needed."""
    return _shapes(
        (cell.night, number * CELL_PITCH, 0, CELL_WIDTH, CELL_HEIGHT)
        for number, cell in enumerate(cells)
    )


def night_squares(weeks: Sequence[Sequence[Cell | None]]) -> tuple[Shape, ...]:
    """Nights as a calendar: a column a week, Monday on top."""
    return _shapes(
        (cell.night, column * SQUARE_PITCH, row * SQUARE_PITCH, SQUARE, SQUARE)
        for column, week in enumerate(weeks)
        for row, cell in enumerate(week)
        if cell is not None
    )


def spark(values: Sequence[float | None], width: int = 88, height: int = 22) -> Spark | None:
    """A line through the values; gaps where there are none. None without two values.

    It begins at 0 where the values come near it, else somewhat below the lowest: a change of a
    tenth is to be seen, one of a hundredth is not to look like one.
    """
    known = [(place, one) for place, one in enumerate(values) if one is not None]
    if len(known) < 2:
        return None
    top = max(0.0, *(one for _, one in known)) or 1.0
    low = max(0.0, min(one for _, one in known))
    base = 0.0 if low < top / 2 else min(low, 0.85 * top) - 0.05 * top
    step = (width - 6) / max(1, len(values) - 1)

    def place_of(place: int, value: float) -> tuple[float, float]:
        return 3 + place * step, 2 + (height - 4) * (1 - (max(value, base) - base) / (top - base))

    points = [place_of(*one) for one in known]
    breaks = [0] + [
        number for number in range(1, len(known)) if known[number][0] - known[number - 1][0] > 7
    ]
    path = "".join(
        f"{'M' if number in breaks else 'L'}{_number(x)} {_number(y)}"
        for number, (x, y) in enumerate(points)
    )
    x, y = points[-1]
    return Spark(width, height, path, (round(x, 1), round(y, 1)))


# --- charts with axes ---


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the chart and its label; ``place`` is along the axis."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its class and label, and its path."""

    kind: str
    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with axes; all places are in its own units (the view box)."""

    width: int
    height: int
    left: int
    bottom: int
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bounds: tuple[Tick, ...] = ()

    @property
    def plot_width(self) -> int:
        """Of the area within the axes."""
        return self.width - self.left

    @property
    def plot_height(self) -> int:
        """Of the area within the axes."""
        return self.height - self.bottom


@dataclass(frozen=True, slots=True)
class SeriesOf:
    """What a chart is made of: a class, a label, and points in order of time."""

    kind: str
    label: str
    points: Sequence[tuple[datetime, float]]


def line_chart(
    series: Sequence[SeriesOf],
    span: tuple[datetime, datetime],
    label: Callable[[float], str],
    *,
    base: int = 10,
    ceiling: float | None = None,
    bounds: Sequence[tuple[str, float]] = (),
    size: tuple[int, int] = (720, 200),
) -> Chart | None:
    """Lines over time from 0 up; None when there is nothing to draw.

    ``base`` is 1024 for sizes, so that ticks fall on round numbers. ``bounds`` are drawn across
    where they lie within reach: at most twice as high as the highest value.
    """
    values = [value for one in series for _, value in one.points]
    if not values:
        return None
    width, height = size
    left, bottom = 64, 24
    highest = max(values)
    reach = [value for _, value in bounds if value <= 2 * highest]
    ticks = nice_ticks(max([highest, *reach]), base, ceiling)
    top = ticks[-1]
    start, end = (one.timestamp() for one in span)
    across, up = width - left - 8, height - bottom - 10

    def place_x(at: datetime) -> float:
        return across * (at.timestamp() - start) / max(1.0, end - start)

    def place_y(value: float) -> float:
        return 10 + up * (1 - min(value, top) / top)

    lines = tuple(
        Line(
            one.kind,
            one.label,
            _path([(place_x(at), place_y(value)) for at, value in one.points]),
        )
        for one in series
        if one.points
    )
    return Chart(
        width,
        height,
        left,
        bottom,
        lines,
        tuple(Tick(round(place_x(at), 1), text) for at, text in time_ticks(*span)),
        tuple(Tick(round(place_y(value), 1), label(value)) for value in ticks),
        tuple(Tick(round(place_y(value), 1), name) for name, value in bounds if value <= top),
    )


def nice_ticks(highest: float, base: int = 10, ceiling: float | None = None) -> list[float]:
    """Three to six round numbers from 0 up, the last of them at least ``highest``."""
    if highest <= 0:
        return [0.0, 1.0]
    if ceiling is not None and highest > 0.6 * ceiling:
        return [0.0, ceiling / 4, ceiling / 2, 3 * ceiling / 4, max(ceiling, highest)]
    if highest < 1:
        base = 10
    power = base ** math.floor(math.log(highest, base))
    rough = highest / power / 4
    if base == 10:
        factors = [one * 10.0**n for n in range(-3, 3) for one in (1.0, 2.0, 2.5, 5.0)]
    elif base == 60:
        factors = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0]
    else:
        factors = [2.0**n for n in range(-8, 12)]
    step = next(one for one in factors if one >= rough * 0.999999) * power
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)]


def time_ticks(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Five or so round instants between the two, with a label each."""
    seconds = (end - start).total_seconds()
    steps = [300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 2 * 86400, 7 * 86400, 14 * 86400]
    steps += [30 * 86400, 61 * 86400, 122 * 86400, 366 * 86400]
    step = next((one for one in steps if seconds / one <= 7), steps[-1])
    form = "%H:%M" if step < 86400 else "%-d %b"
    first = math.ceil(start.timestamp() / step) * step
    count = int((end.timestamp() - first) // step) + 1
    offset = first - start.timestamp()
    instants = [start + timedelta(seconds=offset + number * step) for number in range(count)]
    return [(at, at.strftime(form)) for at in instants]


# --- paths ---


def _shapes(cells: Iterable[tuple[Night, int, int, int, int]]) -> tuple[Shape, ...]:
    paths: dict[Night, list[str]] = {}
    for night, x, y, width, height in cells:
        paths.setdefault(night, []).append(_FORMS[night](x, y, width, height))
    return tuple(Shape(night.value, "".join(parts)) for night, parts in paths.items())


def _full(x: int, y: int, width: int, height: int) -> str:
    return f"M{x} {y}h{width}v{height}h-{width}z"


def _lower_half(x: int, y: int, width: int, height: int) -> str:
    return _full(x, y + height // 2, width, height - height // 2)


def _cross(x: int, y: int, width: int, height: int) -> str:
    """Two strokes across the middle square."""
    top = y + (height - width) // 2
    return f"M{x} {top}l{width} {width}M{x + width} {top}l-{width} {width}"


def _frame(x: int, y: int, width: int, height: int) -> str:
    """The cell's border alone."""
    return f"M{x + 0.5} {y + 0.5}h{width - 1}v{height - 1}h-{width - 1}z"


def _dot(x: int, y: int, width: int, height: int) -> str:
    """A short line in the middle."""
    return f"M{x + width // 2 - 1} {y + height // 2 - 1}h2v2h-2z"


_FORMS: dict[Night, Callable[[int, int, int, int], str]] = {
    Night.PROVEN: _full,
    Night.UNPROVEN: _lower_half,
    Night.RUNNING: _lower_half,
    Night.REFUTED: _cross,
    Night.FAILED: _cross,
    Night.MISSING: _frame,
    Night.NONE: _dot,
}


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(
        f"{'L' if number else 'M'}{_number(x)} {_number(y)}" for number, (x, y) in enumerate(points)
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
