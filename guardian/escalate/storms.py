"""What becomes of more messages than a person can read: the worst alone, the rest in one. Pure.

Alerts are put together with alerts, ends with ends: a message that calls somebody and one that
calls them off are never the same. An end goes alone wherever its alert went alone, since a pager
closes by that key; together, where the incident was only ever one of many there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from guardian.escalate.model import (
    TITLE_LIMIT,
    Entry,
    EntryKind,
    Envelope,
    Message,
    MessageKind,
    Severity,
    Standing,
    State,
)

GATHERED: dict[MessageKind, MessageKind] = {
    MessageKind.ALERT: MessageKind.STORM,
    MessageKind.ESCALATION: MessageKind.STORM,
    MessageKind.REMINDER: MessageKind.STORM,
    MessageKind.UPDATE: MessageKind.STORM,
    MessageKind.ACKNOWLEDGED: MessageKind.ACKNOWLEDGED,
    MessageKind.RESOLVED: MessageKind.RESOLVED,
}
"""Which messages of incidents may be put together, and what that makes. Others always go alone."""

_STATES = {
    MessageKind.STORM: State.FIRING,
    MessageKind.ACKNOWLEDGED: State.ACKNOWLEDGED,
    MessageKind.RESOLVED: State.RESOLVED,
}


@dataclass(frozen=True, slots=True)
class Gathering:
    """Messages of one channel and rung that go as one message of that kind; never none."""

    kind: MessageKind
    members: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a channel gets now: one by one, in this order, and put together. The rest waits."""

    singles: tuple[Envelope, ...]
    gatherings: tuple[Gathering, ...] = ()


def plan(
    due: Sequence[Envelope],
    *,
    left: int,
    size: int,
    is_calm: Callable[[MessageKind], bool],
    may_gather: Callable[[MessageKind], bool],
    goes_alone: Callable[[Envelope], bool],
) -> Plan:
    """Share out what is due: ``left`` single messages, the worst ones, and the rest together.

    Where it is not calm, since many of that kind were put together lately, only P0 goes alone.
    ``may_gather`` says whether it is time for another message of that kind; where it is not, what
    is beyond waits for more. ``goes_alone`` names messages that are never put together.
    """
    singles: list[Envelope] = []
    beyond: dict[MessageKind, list[Envelope]] = {}
    for one in sorted(due, key=worst_first):
        if not is_one_of_many(one) or goes_alone(one):
            singles.append(one)
            continue
        kind = GATHERED[one.message.kind]
        if left > 0 and (one.message.severity is Severity.P0 or is_calm(kind)):
            left -= 1
            singles.append(one)
        else:
            beyond.setdefault(kind, []).append(one)
    gatherings = (
        Gathering(kind, tuple(_of_one_rung(waiting)[:size]))
        for kind, waiting in beyond.items()
        if may_gather(kind)
    )
    return Plan(tuple(singles), tuple(gatherings))


def is_one_of_many(one: Envelope) -> bool:
    """Whether it may be put together with others, as far as it is concerned."""
    return one.message.kind in GATHERED and one.message.incident is not None


def _of_one_rung(waiting: Sequence[Envelope]) -> list[Envelope]:
    return [one for one in waiting if one.rung == waiting[0].rung]


def worst_first(one: Envelope) -> tuple[int, int, int, int]:
    """Sorts by severity, then what was tried less, then age (ids below 0 are the newest)."""
    return one.message.severity.rank, one.attempts, one.id < 0, abs(one.id)


def gathered(
    gathering: Gathering, key: str, at: datetime
) -> tuple[Envelope, tuple[Envelope, ...], tuple[Entry, ...]]:
    """The envelope of many, its members as they are told in it, and the lines of their timelines.

    ``key`` is its own dedup key. If its channel fails, it goes where any member would have gone.
    """
    members = gathering.members
    first = members[0]
    message = _message(gathering, key, at)
    whole = Envelope(
        message=message,
        channel=first.channel,
        rung=first.rung,
        created_at=at,
        next_at=at,
        others=tuple(dict.fromkeys(stop for one in members for stop in one.others)),
        tried=tuple(dict.fromkeys(name for one in members for name in one.tried)),
    )
    told = tuple(replace(one, standing=Standing.GROUPED, group=key) for one in members)
    text = (
        f"put into one message with {len(members) - 1} others, "
        f"for {first.rung} through {first.channel}"
    )
    entries = tuple(
        Entry(one.message.incident, at, EntryKind.TOLD, text)
        for one in members
        if one.message.incident is not None
    )
    return whole, told, entries


def _message(gathering: Gathering, key: str, at: datetime) -> Message:
    messages = [one.message for one in gathering.members]
    worst = messages[0]
    kind, count = gathering.kind, len(messages)
    many = f"{count} incidents at once" if kind is MessageKind.STORM else f"{count} incidents"
    first = "worst" if kind is MessageKind.STORM else "first"
    since = [one.since for one in messages if one.since is not None]
    return Message(
        kind=kind,
        severity=worst.severity,
        title=_cut(f"{many}, {first}: {worst.title}"),
        at=at,
        dedup_key=key,
        state=_STATES[kind],
        since=min(since, default=None),
        ended_at=at if kind is MessageKind.RESOLVED else None,
        why="more came at once than can be read one by one",
        items=tuple(f"{one.severity} {one.title}" for one in messages),
        links=_shared(messages),
    )


def storm_ended(storm: Envelope, at: datetime) -> Envelope:
    """The word that all incidents of a storm's message have ended, through the same channel."""
    told = storm.message
    message = replace(
        told,
        kind=MessageKind.RESOLVED,
        title=f"All {len(told.items)} incidents of a storm are over",
        at=at,
        number=told.number + 1,
        state=State.RESOLVED,
        ended_at=at,
        why="each of them has been resolved",
    )
    return Envelope(
        message=message, channel=storm.channel, rung=storm.rung, created_at=at, next_at=at
    )


def _shared(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Links that all of them have: the runbook, the dashboard's front page."""
    return tuple(
        link for link in messages[0].links if all(link in one.links for one in messages[1:])
    )


def _cut(text: str) -> str:
    return text if len(text) <= TITLE_LIMIT else text[: TITLE_LIMIT - 1] + "…"
