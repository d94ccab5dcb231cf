"""The nights of a database: of each day, what came of its backup. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from guardian.backup.history import TryPoint
from guardian.backup.schedule import parse_schedule
from guardian.model import RunStatus
from guardian.web.views.wording import plural

DAY = timedelta(days=1)


class Night(StrEnum):
    """What came of a day's backups; of several, the best counts."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    RUNNING = "running"
    REFUTED = "refuted"
    """Made, and its drill found that it is not good."""
    FAILED = "failed"
    MISSING = "missing"
    """One was due, and nobody even tried."""
    NONE = "none"
    """None was due."""


_BEST_FIRST = (Night.PROVEN, Night.UNPROVEN, Night.RUNNING, Night.REFUTED, Night.FAILED)
WORDS: Mapping[Night, str] = {
    Night.PROVEN: "proven",
    Night.UNPROVEN: "unproven",
    Night.RUNNING: "running",
    Night.REFUTED: "not restorable",
    Night.FAILED: "failed",
    Night.MISSING: "missing",
    Night.NONE: "none due",
}


_LETTERS: Mapping[Night, str] = {
    Night.PROVEN: "p",
    Night.UNPROVEN: "u",
    Night.RUNNING: "r",
    Night.REFUTED: "x",
    Night.FAILED: "f",
    Night.MISSING: "m",
    Night.NONE: "n",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One day, and how often somebody tried."""

    day: date
    night: Night
    tries: int = 0

    @property
    def text(self) -> str:
        """``Mon 23 Nov: proven``."""
        return f"{self.day:%a %-d %b}: {WORDS[self.night]}"


@dataclass(frozen=True, slots=True)
class Plan:
    """When backups were due. ``since`` is the day from which on they were expected at all.

    ``overdue`` is of the last day: whether what was due on it should have been there by now.
    """

    schedule: str | None
    timezone: str
    since: date | None
    overdue: bool = False


def zone_of(name: str) -> tzinfo:
    """The timezone of that name; UTC for one that this host does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def nights(points: Iterable[TryPoint], plan: Plan, first: date, last: date) -> tuple[Cell, ...]:
    """A cell for each day from ``first`` to ``last``, in the plan's timezone."""
    zone = zone_of(plan.timezone)
    found: dict[date, list[Night]] = {}
    for one in points:
        found.setdefault(one.started_at.astimezone(zone).date(), []).append(_night(one))
    expected = expected_days(plan.schedule, plan.timezone, first, last)
    cells = []
    for number in range((last - first).days + 1):
        day = first + number * DAY
        tries = found.get(day, [])
        if tries:
            cells.append(Cell(day, min(tries, key=_BEST_FIRST.index), len(tries)))
        else:
            is_missing = (
                day in expected
                and plan.since is not None
                and day >= plan.since
                and (day < last or plan.overdue)
            )
            cells.append(Cell(day, Night.MISSING if is_missing else Night.NONE))
    return tuple(cells)


@lru_cache(maxsize=512)
def expected_days(schedule: str | None, timezone: str, first: date, last: date) -> frozenset[date]:
    """The days on which a backup is due."""
    if schedule is None:
        return frozenset()
    try:
        parsed = parse_schedule(schedule)
    except ValueError:
        return frozenset()
    if parsed.interval_hint() <= DAY:
        return frozenset(first + number * DAY for number in range((last - first).days + 1))
    zone = zone_of(timezone)
    end = datetime.combine(last + DAY, time(), zone)
    at = datetime.combine(first, time(), zone) - timedelta(microseconds=1)
    days = set()
    while (at := parsed.next_after(at, zone)) < end:
        days.add(at.astimezone(zone).date())
    return frozenset(days)


def summary(cells: Sequence[Cell]) -> str:
    """The nights in words, for who cannot see them: ``26 proven, 1 failed (Tue 3 Nov)``."""
    counts = Counter(one.night for one in cells)
    words = []
    for night in (*_BEST_FIRST, Night.MISSING):
        if not counts[night]:
            continue
        text = f"{counts[night]} {WORDS[night]}"
        bad = night in {Night.REFUTED, Night.FAILED, Night.MISSING}
        if bad and counts[night] <= 3:
            days = ", ".join(f"{one.day:%a %-d %b}" for one in cells if one.night is night)
            text += f" ({days})"
        words.append(text)
    return f"{plural(len(cells), 'night')}: {', '.join(words) or 'no backup'}"


def codes(cells: Sequence[Cell]) -> str:
    """A letter a night, for a script that says what lies under the pointer."""
    return "".join(_LETTERS[one.night] for one in cells)


def weeks(cells: Sequence[Cell]) -> list[list[Cell | None]]:
    """The cells as columns of a calendar: weeks from Monday to Sunday, filled up with None."""
    if not cells:
        return []
    padded: list[Cell | None] = [None] * cells[0].day.weekday()
    padded += cells
    padded += [None] * (-len(padded) % 7)
    return [padded[start : start + 7] for start in range(0, len(padded), 7)]


def _night(one: TryPoint) -> Night:
    if one.status is RunStatus.RUNNING:
        return Night.RUNNING
    if one.status is not RunStatus.SUCCEEDED:
        return Night.FAILED
    if one.proven is None:
        return Night.UNPROVEN
    return Night.PROVEN if one.proven else Night.REFUTED
