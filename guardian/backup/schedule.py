"""When a backup is due, when it is overdue, and how old the recovery point is: pure functions.

A schedule is either a cron expression or an interval:

- Cron follows Debian's cron in its timezone, also where summer time begins and ends: a job at a
  fixed time that does not exist that night (02:30 in the gap) runs at the first minute after the
  gap; one whose time comes twice runs the first time only. Jobs that run every so many minutes or
  hours (their minute or hour begins with ``*``) simply go on in real time.
- ``every 6h`` is anchored to the epoch, 1970-01-01 00:00 UTC: 00:00, 06:00, 12:00 and 18:00 UTC. So
  it neither drifts with slow runs nor starts anew when the daemon does, and every process agrees
  on what was due. It knows no timezone and no summer time.

All instants must be timezone-aware; those returned are UTC.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, takewhile

from cronsim import CronSim, CronSimError

from guardian.units import parse_duration

AFTER_BACKUP = "after-backup"
"""A drill's schedule that follows each backup. No time, so :func:`parse_schedule` refuses it."""

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far the clocks of two machines may differ unsuspected; farther ahead is a wrong clock."""

SHORTCUTS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HINT_START = datetime(2026, 1, 7, tzinfo=UTC)  # a Wednesday: the first thousands see a weekend
_HINT_SPAN = timedelta(days=400)
_HINT_STEPS = 3000
_HOW = (
    'write five fields (minute hour day-of-month month day-of-week) such as "0 2 * * *", '
    '@daily, or "every 6h"'
)


class Schedule(ABC):
    """Instants at which something is to be started. Made by :func:`parse_schedule`."""

    text: str
    """As the config has it."""

    @abstractmethod
    def next_after(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:
        """The first one that is later than ``instant``."""

    @abstractmethod
    def previous_before(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:
        """The last one that is earlier than ``instant``."""

    @abstractmethod
    def interval_hint(self) -> timedelta:
        """The longest regular wait between two runs: what an age is to be measured against.

        For "0 2 * * mon-fri" that is the weekend's three days, so that no Monday is a false alarm.
        """

    def is_due(self, last_started: datetime | None, now: datetime, timezone: tzinfo = UTC) -> bool:
        """Whether an instant has come since the last start; several missed ones are one.

        Before the first start of all, an interval is due at once and a cron job is not: its hour
        was chosen by a person, so it is waited for. A start in the future says that the clock went
        backwards, and nothing else: pass the newest one that is not.
        """
        if last_started is None or last_started > now + CLOCK_TOLERANCE:
            return self._due_at_first()
        return self.next_after(last_started, timezone) <= now

    def overdue(
        self,
        last_success: datetime | None,
        now: datetime,
        grace: timedelta,
        timezone: tzinfo = UTC,
    ) -> bool:
        """Whether the run that should have followed the last success is more than ``grace`` late.

        ``last_success`` is the *start* of the last run that succeeded. Nothing to recover from
        (None) is overdue; for a database that is new, pass the instant since when it is known.
        A success in the future is none: a wrong clock must not silence an alarm.
        """
        if last_success is None or last_success > now + CLOCK_TOLERANCE:
            return True
        return self.next_after(last_success, timezone) + grace < now

    @abstractmethod
    def _due_at_first(self) -> bool:
        """Whether it is due when it never ran."""


@dataclass(frozen=True, slots=True)
class IntervalSchedule(Schedule):
    """``every 6h``."""

    interval: timedelta
    text: str

    def next_after(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:  # noqa: ARG002
        """The next multiple of the interval since the epoch."""
        return _EPOCH + ((instant - _EPOCH) // self.interval + 1) * self.interval

    def previous_before(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:  # noqa: ARG002
        """The previous multiple of the interval since the epoch."""
        return _EPOCH - ((_EPOCH - instant) // self.interval + 1) * self.interval

    def interval_hint(self) -> timedelta:
        """The interval."""
        return self.interval

    def _due_at_first(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class CronSchedule(Schedule):
    """Five fields of cron; ``expression`` is what ``text`` means, shortcuts written out."""

    expression: str
    text: str

    def next_after(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:
        """The first one that is later than ``instant``."""
        found = next(self._later_than(instant, timezone), None)
        if found is None:  # parse_schedule has refused dates that never come
            raise ValueError(f"{self.text!r} never comes again after {instant:%Y-%m-%d}")
        return found

    def previous_before(self, instant: datetime, timezone: tzinfo = UTC) -> datetime:
        """The last one that is earlier than ``instant``."""
        # By looking forward from ever farther back, and not by cronsim's way in reverse: so both
        # directions agree about summer time by construction.
        back = timedelta(hours=1)
        while True:
            last = None
            for found in takewhile(instant.__gt__, self._later_than(instant - back, timezone)):
                last = found
            if last is not None:
                return last
            back *= 2

    def interval_hint(self) -> timedelta:
        """The longest wait in a year or so of runs."""
        return _longest_wait(self.expression)

    def _due_at_first(self) -> bool:
        return False

    def _later_than(self, instant: datetime, timezone: tzinfo) -> Iterator[datetime]:
        """All instants after that one, ascending."""
        last = instant.astimezone(UTC)
        for local in CronSim(self.expression, instant.astimezone(timezone)):
            found = local.astimezone(UTC)
            # In the repeated hour cronsim starts by the wall clock, which may lie behind us; and
            # two times in the same gap both move to its end.
            if found > last:
                yield found
                last = found


def parse_schedule(text: str) -> Schedule:
    """Read a schedule as the config has it.

    Raises:
        ValueError: when it is none, or its date never comes; the message says how one is written.
    """
    compact = " ".join(text.split()).lower()
    if compact == AFTER_BACKUP:
        raise ValueError(f'"{AFTER_BACKUP}" is for drills only: {_HOW}')
    if compact == "every" or compact.startswith("every "):
        return _parse_interval(text, compact.removeprefix("every").strip())
    if compact.startswith("@") and compact not in SHORTCUTS:
        raise ValueError(f"{text!r} is not a schedule: known are {', '.join(SHORTCUTS)}")
    return _parse_cron(text, SHORTCUTS.get(compact, compact))


def recovery_point_age(last_snapshot: datetime | None, now: datetime) -> timedelta | None:
    """How much would be lost if the database were lost now; None when there is no backup at all.

    Where the server's clock is a little ahead of ours, a new snapshot is 0 seconds old. One that is
    farther in the future counts as none, rather than as young for as long as the clock was wrong.
    """
    if last_snapshot is None or last_snapshot > now + CLOCK_TOLERANCE:
        return None
    return max(now - last_snapshot, timedelta(0))


def _parse_interval(text: str, duration: str) -> IntervalSchedule:
    try:
        interval = parse_duration(duration)
    except ValueError as error:
        raise ValueError(f'{text!r} is not a schedule: write "every 6h" or "every 7d"') from error
    if interval < timedelta(seconds=1):
        raise ValueError(f"{text!r} is too often: a second is the shortest interval")
    if interval > timedelta(days=3660):
        raise ValueError(f"{text!r} is too rare: ten years are the longest interval")
    return IntervalSchedule(interval, text)


def _parse_cron(text: str, expression: str) -> CronSchedule:
    fields = len(expression.split())
    if fields != 5:
        raise ValueError(f"{text!r} has {fields} fields: {_HOW}")
    try:
        simulation = CronSim(expression, _HINT_START)
    except CronSimError as error:
        raise ValueError(f"{text!r} is not a schedule ({str(error).lower()}): {_HOW}") from error
    if next(simulation, None) is None:
        raise ValueError(f"{text!r} never comes: no month has such a day")
    return CronSchedule(expression, text)


@lru_cache(maxsize=256)
def _longest_wait(expression: str) -> timedelta:
    longest = timedelta(0)
    previous = first = next(simulation := CronSim(expression, _HINT_START))
    for found in islice(simulation, _HINT_STEPS):
        longest = max(longest, found - previous)
        previous = found
        if found - first >= _HINT_SPAN:
            break
    return longest
