"""The digest: what waited for a calm hour, and how the time since the last one was. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guardian.escalate.handoff import worst_first
from guardian.escalate.markdown import bullets, document, text
from guardian.escalate.model import Incident, Severity
from guardian.units import format_duration

_OFTEN_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Protection:
    """How one database is protected now; ``made`` and ``failed`` count backups of the period."""

    name: str
    made: int
    failed: int
    drills_passed: int
    last_good_at: datetime | None
    last_proven_at: datetime | None


@dataclass(frozen=True, slots=True)
class Digest:
    """``items`` are single lines, for a message; ``markdown`` is the whole."""

    title: str
    items: tuple[str, ...]
    markdown: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that anybody need look at."""
        return not self.items


def make_digest(
    since: datetime,
    now: datetime,
    incidents: Iterable[Incident],
    databases: Sequence[Protection] = (),
) -> Digest:
    """Tell of the time from ``since`` to ``now``.

    ``incidents`` are those that were open in it. What is of severity P3 has waited for this and
    comes as items of its own, whether or not it still is open.
    """
    everything = worst_first(incidents)
    waited = [one for one in everything if one.severity is Severity.P3]
    on = [one for one in everything if one.state.is_open and one.severity is not Severity.P3]
    over = [one for one in everything if not one.state.is_open and one.severity is not Severity.P3]
    items = [
        *(f"{one.severity} open for {_lasted(one, now)}: {one.title}" for one in on),
        *(f"P3 {_stands(one, now)}: {one.title}" for one in waited),
        *(f"{one.name}: {one.failed:,} failed backups" for one in databases if one.failed),
        *(f"{one.name}: no proven backup" for one in databases if one.last_proven_at is None),
    ]
    title = (
        f"guardian, {_day(since)} to {_day(now)}: {len(on)} open, {len(waited)} to look at, "
        f"{len(over)} over"
    )
    markdown = document(
        [f"# {title}"],
        ["## Open", *_or_none(_line(one, now) for one in on)],
        ["## To look at when there is time (P3)", *_or_none(_line(one, now) for one in waited)],
        ["## Over", *_or_none(_line(one, now) for one in over)],
        ["## What came most often", *_or_none(_often(everything))],
        ["## Backups", *_or_none(_protection(one, now) for one in databases)],
    )
    return Digest(title, tuple(items), markdown)


def _or_none(lines: Iterable[str]) -> list[str]:
    return bullets(lines) or ["none"]


def _line(one: Incident, now: datetime) -> str:
    return f"{one.severity} {one.id} {text(one.title)} ({_stands(one, now)})"


def _stands(one: Incident, now: datetime) -> str:
    if one.state.is_open:
        return f"open for {_lasted(one, now)}"
    return f"lasted {_lasted(one, now)}"


def _lasted(one: Incident, now: datetime) -> str:
    ended = now if one.state.is_open else (one.cleared_at or one.resolved_at or one.updated_at)
    began = one.condition.since or one.opened_at
    return format_duration(max(timedelta(0), ended - began))


def _often(incidents: Sequence[Incident]) -> Iterable[str]:
    """By kind, what alarmed more than once."""
    counts: Counter[str] = Counter()
    for one in incidents:
        counts[one.kind] += max(1, one.occurrences)
    for kind, count in counts.most_common(_OFTEN_SHOWN):
        if count > 1:
            yield f"{text(kind)}: {count:,} times"


def _protection(one: Protection, now: datetime) -> str:
    failed = f", {one.failed:,} failed" if one.failed else ""
    return (
        f"{text(one.name)}: {one.made:,} made{failed}, {one.drills_passed:,} drills passed; "
        f"newest good {_ago(one.last_good_at, now)}, newest proven {_ago(one.last_proven_at, now)}"
    )


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else f"{format_duration(max(timedelta(0), now - at))} ago"


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"
