"""What a person configures of escalation: who hears of what, after how long, and how calmly. Pure.

The names are those of the configuration's keys, which ``guardian.config.escalating`` converts here.
Tables by kind are looked up from the top: the first pattern that fits decides. A pattern is a glob
for the kind (``vital.*``) or for the whole key (``backup.failed:dev/*``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar
from zoneinfo import ZoneInfo

from guardian.escalate.model import Condition, Severity
from guardian.units import format_duration, parse_duration

Value = TypeVar("Value")
ByKind = tuple[tuple[str, Value], ...]
"""Patterns and what holds for them, the first that fits decides."""

BACKUP_FAILED = "backup.failed"
SERVER_DOWN = "server.down"
CHANNEL_FAILING = "channel.failing"
"""Kinds that escalation itself treats in a way of their own."""

_NONE = timedelta(0)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)

SETTLE: ByKind[timedelta] = (
    ("vital.*", _MINUTE),
    ("locks.*", _MINUTE),
    ("disk.low", _MINUTE),
    ("guardian.degraded", _MINUTE),
    ("*", _NONE),
)
"""How long a condition must hold before it fires. What is damped by its sensor fires at once."""

RECOVERY: ByKind[timedelta] = (
    ("backup.*", _NONE),
    ("proof.*", _NONE),
    ("verify.*", _NONE),
    ("store.*", _NONE),
    ("*", 2 * _MINUTE),
)
"""How long it must be gone before that is believed. One good backup ends a failed one."""

INHIBITED: Mapping[str, tuple[str, ...]] = {
    SERVER_DOWN: (
        BACKUP_FAILED,
        "vital.*",
        "sessions.*",
        "locks.*",
        "kill.limit",
        "guardian.privileges",
    )
}
"""What an open incident hides of the same server. Never the age of backups and of their proofs:
those are what an outage may need next."""


SETTLED_BY_HAND = (BACKUP_FAILED, "backup.shrunk", "verify.*", "store.failing")
"""What has happened and is over: once a person has ended it, only its next time counts. All else
is a state, and comes back as long as it holds."""


@dataclass(frozen=True, slots=True)
class Rung:
    """People who hear of it once the climb has taken ``after``."""

    after: timedelta
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs in the order of their time; ``digest``: nobody is called, the digest tells of it.

    Raises:
        ValueError: for a negative time, the same time twice, or rungs beside a digest.
    """

    rungs: tuple[Rung, ...] = ()
    digest: bool = False

    def __post_init__(self) -> None:
        times = [rung.after for rung in self.rungs]
        if self.digest and times:
            raise ValueError("a ladder is rungs or a digest")
        if any(after < _NONE for after in times):
            raise ValueError("a rung's time is not negative")
        if len(set(times)) < len(times):
            raise ValueError("two rungs have the same time")
        rungs = tuple(sorted(self.rungs, key=lambda rung: rung.after))
        object.__setattr__(self, "rungs", rungs)


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When incidents of these severities may disturb people, by the clock on their wall.

    ``days`` are weekdays, Monday is 0. From ``start`` on, until before ``end``; an end that is not
    later than the start lies on the next day, and the night belongs to the day on which it began.
    """

    severities: frozenset[Severity] = frozenset({Severity.P2})
    days: frozenset[int] = frozenset(range(5))
    start: time = time(9)
    end: time = time(18)
    timezone: str = "UTC"

    def is_open(self, now: datetime) -> bool:
        """Whether people may be disturbed now."""
        local = now.astimezone(ZoneInfo(self.timezone))
        at, today = local.time(), local.date()
        if self.start < self.end:
            return self.start <= at < self.end and today.weekday() in self.days
        began = today if at >= self.start else today - timedelta(days=1)
        return (at >= self.start or at < self.end) and began.weekday() in self.days

    def opens_after(self, now: datetime) -> datetime | None:
        """When they begin next, now when they have; None when no day is theirs. For people."""
        if self.is_open(now):
            return now
        today = now.astimezone(ZoneInfo(self.timezone)).date()
        starts = (self._start_of(today + timedelta(days=ahead)) for ahead in range(9))
        return next((at for at in starts if at > now and self.is_open(at)), None)

    def _start_of(self, day: date) -> datetime:
        """When that day's hours begin; a start that the clock skips is as much later."""
        return datetime.combine(day, self.start, ZoneInfo(self.timezone)).astimezone(UTC)


def default_ladders(people: tuple[str, ...]) -> Mapping[Severity, Ladder]:
    """The runbook's ladder, for people in the order of their rungs.

    P0 calls the first two at once and the others after a quarter of an hour (the rest of the way
    after an hour). P1 calls one after the other: at once, after 30 minutes, after an hour.
    """
    return {
        Severity.P0: _ladder((_NONE, people[:2]), (15 * _MINUTE, people[2:3]), (_HOUR, people[3:])),
        Severity.P1: _ladder(
            (_NONE, people[:1]), (30 * _MINUTE, people[1:2]), (_HOUR, people[2:3])
        ),
        Severity.P2: _ladder((_NONE, people[:1])),
        Severity.P3: Ladder(digest=True),
    }


def _ladder(*rungs: tuple[timedelta, tuple[str, ...]]) -> Ladder:
    return Ladder(tuple(Rung(after, people) for after, people in rungs if people))


@dataclass(frozen=True, slots=True)
class Digest:
    """When what waits for the digest is told, and to whom; ``schedule`` is cron or ``every 7d``."""

    schedule: str = "0 9 * * mon"
    timezone: str = "UTC"
    people: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SelfTest:
    """When each way to people is tried out; ``channels`` are all that there are."""

    schedule: str
    timezone: str = "UTC"
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EscalationRules:
    """All of it.

    ``people`` maps a name to channels, in the order of the ladder. ``ladders`` lacks a severity
    where the runbook's ladder holds. ``remind_every`` lacks those that are not repeated.
    ``page_after`` is how many failed backups in a row make the next rung hear at once.
    ``severities``, ``settle`` and ``recovery`` stand before the defaults.
    ``acknowledged_for`` is how long an acknowledgement holds. ``reopen_within``: a condition that
    comes back so soon continues its incident. ``startup_settle``: so long after a start, what is
    merely observed alarms nobody. ``storm_limit`` is how many single messages a channel gets in a
    minute. ``hand_over_after``: a channel that fails for so long hands its messages over.
    ``dashboard`` is the address that links lead to, without a slash at its end.
    """

    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ladders: Mapping[Severity, Ladder] = field(default_factory=dict)
    remind_every: Mapping[Severity, timedelta] = field(default_factory=dict)
    business_hours: BusinessHours | None = None
    page_after: int = 2
    digest: Digest | None = None
    self_test: SelfTest | None = None
    severities: ByKind[Severity] = ()
    settle: ByKind[timedelta] = ()
    recovery: ByKind[timedelta] = ()
    acknowledged_for: Mapping[Severity, timedelta] = field(
        default_factory=lambda: {Severity.P0: _HOUR}
    )
    reopen_within: timedelta = 30 * _MINUTE
    startup_settle: timedelta = timedelta(seconds=30)
    storm_limit: int = 5
    hand_over_after: timedelta = 5 * _MINUTE
    query_text: bool = True
    dashboard: str | None = None

    def severity_of(self, condition: Condition) -> Severity:
        """The condition's own, unless the config says another."""
        found = _find(self.severities, condition.kind, condition.key)
        return condition.severity if found is None else found

    def settle_of(self, kind: str, key: str) -> timedelta:
        """How long it must hold before it fires."""
        return _find(self.settle + SETTLE, kind, key) or _NONE

    def recovery_of(self, kind: str, key: str) -> timedelta:
        """How long it must be gone, before damping."""
        return _find(self.recovery + RECOVERY, kind, key) or _NONE

    def ladder_of(self, severity: Severity) -> Ladder:
        """Who hears of incidents of that severity."""
        found = self.ladders.get(severity)
        return default_ladders(tuple(self.people))[severity] if found is None else found

    def acknowledgement_of(self, severity: Severity) -> timedelta:
        """How long an acknowledgement holds."""
        return self.acknowledged_for.get(severity, 4 * _HOUR)

    def channels_of(self, person: str) -> tuple[str, ...]:
        """How that person is reached; nothing for somebody who is not in the config any more."""
        return self.people.get(person, ())


def rung_id(severity: Severity, after: timedelta, person: str) -> str:
    """How an incident remembers that a rung was told: ``P1/30m/lead``. No two have the same."""
    text = format_duration(after).replace(" ", "") if after else "0m"
    if parse_duration(text) != after:  # it is written with its two largest units
        text = f"{after.total_seconds():f}".rstrip("0").rstrip(".") + "s"
    return f"{severity}/{text}/{person}"


def _find(table: ByKind[Value], kind: str, key: str) -> Value | None:
    fitting = (
        value for pattern, value in table if fnmatchcase(kind, pattern) or fnmatchcase(key, pattern)
    )
    return next(fitting, None)
