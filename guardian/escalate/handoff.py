"""The shift handoff, in the runbook's five parts.

What is on, what to watch, what has changed, what is known, what is planned. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guardian.escalate.markdown import bullets, document, text
from guardian.escalate.model import ChannelHealth, Incident, Silence, State
from guardian.model import Event
from guardian.units import format_duration

_FLAPS = 3
"""An incident that fired so often lately is named as restless."""
_ROUTINE = frozenset({"backup.succeeded", "verify.proven"})
"""Events that are as they should be: counted, not listed."""
_CHANGES_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Planned:
    """Something that is going to happen by itself."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Handoff:
    """What the incoming shift has to know.

    ``since`` is how far back it looks. ``active`` are open incidents, the worst first; ``ended``
    those that were resolved since. ``watch`` are lines of what may become one. ``changes`` are
    events since, newest first, without the routine, which ``routine`` counts in words. ``silences``
    hold now or later. ``planned`` is in the order of its time.
    """

    at: datetime
    since: datetime
    active: tuple[Incident, ...] = ()
    ended: tuple[Incident, ...] = ()
    watch: tuple[str, ...] = ()
    changes: tuple[Event, ...] = ()
    routine: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()
    planned: tuple[Planned, ...] = ()


def make_handoff(
    at: datetime,
    since: datetime,
    *,
    incidents: Iterable[Incident],
    events: Iterable[Event] = (),
    silences: Iterable[Silence] = (),
    channels: Iterable[ChannelHealth] = (),
    outstanding: int = 0,
    planned: Iterable[Planned] = (),
    more_to_watch: Iterable[str] = (),
) -> Handoff:
    """Sort what is known into the five parts."""
    everything = list(incidents)
    lately = [one for one in events if one.at >= since]
    held = [one for one in silences if one.ends_at > at]
    return Handoff(
        at=at,
        since=since,
        active=tuple(worst_first(one for one in everything if one.state.is_open)),
        ended=tuple(
            sorted(
                (one for one in everything if one.resolved_at and one.resolved_at >= since),
                key=lambda one: one.resolved_at or one.updated_at,
                reverse=True,
            )
        ),
        watch=(
            *_restless(everything, since),
            *_lapsing(everything, at),
            *_ailing(channels),
            *_unsent(outstanding),
            *more_to_watch,
        ),
        changes=tuple(one for one in lately if one.kind not in _ROUTINE),
        routine=tuple(_routine(lately)),
        silences=tuple(sorted(held, key=lambda one: (one.starts_at, one.ends_at))),
        planned=tuple(sorted(planned, key=lambda one: one.at)),
    )


def worst_first(incidents: Iterable[Incident]) -> list[Incident]:
    """By severity, and of one severity the oldest first."""
    return sorted(incidents, key=lambda one: (one.severity.rank, one.opened_at, one.id))


def _restless(incidents: Iterable[Incident], since: datetime) -> Iterable[str]:
    for one in incidents:
        lately = [at for at in one.flaps if at >= since]
        if len(lately) >= _FLAPS:
            yield f"{one.id} came and went {len(lately)} times: {one.title}"


def _lapsing(incidents: Iterable[Incident], at: datetime) -> Iterable[str]:
    """Acknowledgements do not last: whoever takes over takes them over, too."""
    for one in incidents:
        until = one.acknowledged_until
        if one.state is State.ACKNOWLEDGED and until is not None:
            left = format_duration(max(0, round((until - at).total_seconds())))
            yield (
                f"{one.id} is {one.acknowledged_by or 'somebody'}'s for another {left} only: "
                f"guardian incidents ack {one.id}"
            )


def _ailing(channels: Iterable[ChannelHealth]) -> Iterable[str]:
    for one in channels:
        if one.failing_since is not None:
            yield (
                f"channel {one.channel} has failed {one.failures:,} times since "
                f"{_moment(one.failing_since)}: {one.last_error or 'no reason is known'}"
            )


def _unsent(outstanding: int) -> Iterable[str]:
    if outstanding:
        wait = "message waits" if outstanding == 1 else "messages wait"
        yield f"{outstanding:,} {wait} to be sent"


def _routine(events: Sequence[Event]) -> Iterable[str]:
    words = {"backup.succeeded": ("backup", "made"), "verify.proven": ("drill", "passed")}
    for kind, (what, did) in words.items():
        if count := sum(one.kind == kind for one in events):
            yield f"{count:,} {what}{'' if count == 1 else 's'} {did}"


# --- as Markdown ---


def handoff_markdown(handoff: Handoff) -> str:
    """The handoff for a chat, a wiki, or the terminal."""
    at, back = handoff.at, format_duration(handoff.at - handoff.since)
    return document(
        [f"# Shift handoff, {_moment(at)} UTC"],
        ["## Active incidents", *_or_none(_incident_line(one, at) for one in handoff.active)],
        ["## Watch items", *_or_none(text(one) for one in handoff.watch)],
        [f"## Recent changes (the last {back})", *_changes(handoff)],
        ["## Known issues", *_or_none(_silence_line(one, at) for one in handoff.silences)],
        [
            "## Planned work",
            *_or_none(f"{_moment(one.at)} {text(one.what)}" for one in handoff.planned),
        ],
    )


def _or_none(lines: Iterable[str]) -> list[str]:
    return bullets(lines) or ["none"]


def _incident_line(one: Incident, at: datetime) -> str:
    who = f", {text(one.acknowledged_by)} has it" if one.state is State.ACKNOWLEDGED else ""
    told = f", told up to {text(one.escalated_to)}" if one.escalated_to else ""
    lasts = format_duration(max(timedelta(0), at - (one.condition.since or one.opened_at)))
    return f"**{one.severity}** {one.id} {text(one.title)} ({one.state}, for {lasts}{who}{told})"


def _changes(handoff: Handoff) -> list[str]:
    lines = [
        f"{_moment(one.resolved_at)} resolved: {one.severity} {one.id} {text(one.title)}"
        for one in handoff.ended
        if one.resolved_at is not None
    ]
    shown = handoff.changes[:_CHANGES_SHOWN]
    lines += [f"{_moment(one.at)} {text(one.kind)}: {text(one.message)}" for one in shown]
    if more := len(handoff.changes) - len(shown):
        lines.append(f"and {more:,} more")
    return _or_none([*handoff.routine, *lines])


def _silence_line(one: Silence, at: datetime) -> str:
    match = " ".join(f"{key}={value}" for key, value in sorted(one.match.items())) or "everything"
    begins = f"from {_moment(one.starts_at)} " if one.starts_at > at else ""
    return (
        f"silenced {begins}until {_moment(one.ends_at)}: {text(match)} "
        f"({text(one.reason)}; {text(one.by)}, {one.id})"
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
