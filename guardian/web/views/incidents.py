"""Incidents: lists, and one with its timeline and who was told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from guardian.escalate.model import (
    ChannelHealth,
    Entry,
    EntryKind,
    Envelope,
    Incident,
    Silence,
    Standing,
    State,
)
from guardian.web.views.wording import Level, one_line, short_duration

_STANDING = {
    Standing.WAITING: (Level.BUSY, "waiting"),
    Standing.DELIVERED: (Level.OK, "delivered"),
    Standing.GROUPED: (Level.OK, "within a storm's message"),
    Standing.HANDED_OVER: (Level.WARNING, "handed over"),
    Standing.SUPERSEDED: (Level.UNKNOWN, "not needed any more"),
    Standing.UNDELIVERABLE: (Level.BAD, "nobody could be reached"),
}
_ENTRY_LEVELS = {
    EntryKind.OPENED: Level.WARNING,
    EntryKind.FIRED: Level.BAD,
    EntryKind.OCCURRED: Level.BAD,
    EntryKind.SEVERITY: Level.BAD,
    EntryKind.TOLD: Level.BUSY,
    EntryKind.DELIVERED: Level.OK,
    EntryKind.UNDELIVERED: Level.BAD,
    EntryKind.HELD_BACK: Level.UNKNOWN,
    EntryKind.ACKNOWLEDGED: Level.OK,
    EntryKind.LAPSED: Level.WARNING,
    EntryKind.RECOVERING: Level.BUSY,
    EntryKind.RELAPSED: Level.BAD,
    EntryKind.RESOLVED: Level.OK,
    EntryKind.REOPENED: Level.BAD,
    EntryKind.NOTE: Level.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line of a timeline; ``gap`` is how long after the line before it."""

    entry: Entry
    level: Level
    word: str
    text: str
    by: str
    gap: str


@dataclass(frozen=True, slots=True)
class ToldRow:
    """One message to one person through one channel."""

    rung: str
    channel: str
    kind: str
    at: datetime
    level: Level
    word: str
    delivered_at: datetime | None
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident."""

    incident: Incident
    level: Level
    lasted: str
    timeline: Sequence[TimelineRow]
    told: Sequence[ToldRow]
    may_acknowledge: bool
    may_resolve: bool


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """How a channel does."""

    name: str
    level: Level
    word: str
    health: ChannelHealth


def incident_view(
    incident: Incident, timeline: Sequence[Entry], envelopes: Sequence[Envelope], now: datetime
) -> IncidentView:
    """One incident, its story and its messages."""
    end = incident.resolved_at or now
    return IncidentView(
        incident=incident,
        level=level_of(incident),
        lasted=short_duration(end - incident.opened_at),
        timeline=timeline_rows(timeline),
        told=[told_row(one) for one in envelopes],
        may_acknowledge=incident.state in {State.PENDING, State.FIRING},
        may_resolve=incident.state.is_open,
    )


def level_of(incident: Incident) -> Level:
    """How urgent it is now."""
    if incident.state is State.RESOLVED:
        return Level.OK
    if incident.state in {State.ACKNOWLEDGED, State.RECOVERING, State.PENDING}:
        return Level.BUSY
    return Level.BAD if incident.severity.rank <= 1 else Level.WARNING


def timeline_rows(entries: Sequence[Entry]) -> list[TimelineRow]:
    """The story, oldest first."""
    rows = []
    before: datetime | None = None
    for one in entries:
        gap = "" if before is None else f"+{short_duration(one.at - before)}"
        rows.append(
            TimelineRow(
                entry=one,
                level=_ENTRY_LEVELS.get(one.kind, Level.UNKNOWN),
                word=one.kind.value.replace("_", " "),
                text=one_line(one.text),
                by=one_line(one.by),
                gap="" if gap in {"", "+0s"} else gap,
            )
        )
        before = one.at
    return rows


def told_row(one: Envelope) -> ToldRow:
    """One message on its way."""
    level, word = _STANDING[one.standing]
    return ToldRow(
        rung=one_line(one.rung),
        channel=one_line(one.channel),
        kind=one.message.kind.value,
        at=one.created_at,
        level=level,
        word=word,
        delivered_at=one.delivered_at,
        attempts=one.attempts,
        error=one_line(one.error),
    )


def channel_rows(found: Sequence[ChannelHealth], now: datetime) -> list[ChannelRow]:
    """Channels, the failing ones first."""
    rows = []
    for one in found:
        if one.failing_since is None:
            rows.append(ChannelRow(one.channel, Level.OK, "works", one))
        else:
            since = short_duration(now - one.failing_since)
            rows.append(ChannelRow(one.channel, Level.BAD, f"fails for {since}", one))
    return sorted(rows, key=lambda row: (-row.level.rank, row.name))


def silence_words(silence: Silence) -> str:
    """What a silence covers."""
    if not silence.match:
        return "everything"
    return ", ".join(f"{name} {one_line(glob)}" for name, glob in sorted(silence.match.items()))
