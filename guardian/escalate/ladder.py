"""Who hears of an incident now, who is next, and when. Pure.

The ladder's time is a stopwatch that runs while the incident is firing and nothing holds it back.
So an acknowledgement, a silence, a larger incident or the night stops the climb where it is, and
afterwards it goes on from there: nobody is skipped, and nobody hears twice.

Invariants: in one climb every rung is told at most once, and each that is due is told in the step
that finds it due; nobody is told while it is pending, acknowledged, recovering or held back, but of
an acknowledgement and of its end, which everybody hears who was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from guardian.escalate.holding import Hold
from guardian.escalate.incident import News, Step
from guardian.escalate.model import Entry, EntryKind, Incident, MessageKind, State
from guardian.escalate.rules import EscalationRules, Ladder, Rung, rung_id
from guardian.units import format_duration

_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Telling:
    """One person hears of it, and why in words."""

    kind: MessageKind
    person: str
    why: str


@dataclass(frozen=True, slots=True)
class Due:
    """Who hears next unless somebody answers, and when."""

    at: datetime
    people: tuple[str, ...]


def climb(
    step: Step, hold: Hold | None, now: datetime, rules: EscalationRules
) -> tuple[Step, tuple[Telling, ...]]:
    """Take a step's incident up the ladder as far as it is time, and say who hears of it."""
    ladder = rules.ladder_of(step.incident.severity)
    if News.URGENT in step.news:
        urged = _urged(step.incident, ladder, now)
        step = replace(step, incident=urged, changed=True)
    if hold is not None and not _wants(step.incident, ladder, rules):
        hold = None
    step = _held(step, hold, now)
    news = _to_those_told(step)
    if news or step.incident.state is not State.FIRING or hold is not None:
        return step, news
    return _told(step, ladder, now, rules)


def climbed(incident: Incident, now: datetime) -> timedelta:
    """What the ladder's stopwatch shows."""
    kept = timedelta(seconds=incident.climbed_seconds)
    if incident.climbing_since is None:
        return kept
    return kept + max(now - incident.climbing_since, _NONE)


def next_due(incident: Incident, now: datetime, rules: EscalationRules) -> Due | None:
    """The next rung to hear of it; None when all have, and while its stopwatch stands still."""
    if incident.state is not State.FIRING or incident.climbing_since is None:
        return None
    for rung in rules.ladder_of(incident.severity).rungs:
        people = tuple(one for one in rung.people if not _is_told(incident, rung, one))
        if people:
            left = max(rung.after - climbed(incident, now), _NONE)
            return Due(now + left, people)
    return None


def _held(step: Step, hold: Hold | None, now: datetime) -> Step:
    """Let the stopwatch run or stand still, and note once what holds it back."""
    incident = step.incident
    firing = incident.state is State.FIRING
    by = hold.by if hold is not None and firing else None
    entries = step.entries
    if by != incident.held_by and firing:
        if hold is not None:
            entries += (Entry(incident.id, now, EntryKind.HELD_BACK, hold.text),)
        else:
            text = f"held back no longer by {incident.held_by}"
            entries += (Entry(incident.id, now, EntryKind.NOTE, text),)
    runs = firing and hold is None
    if runs and incident.climbing_since is None:
        incident = replace(incident, climbing_since=now)
    elif not runs and incident.climbing_since is not None:
        seconds = climbed(incident, now).total_seconds()
        incident = replace(incident, climbed_seconds=seconds, climbing_since=None)
    if by != incident.held_by:
        incident = replace(incident, held_by=by)
    if incident == step.incident:
        return step
    return replace(step, incident=replace(incident, updated_at=now), entries=entries, changed=True)


def _to_those_told(step: Step) -> tuple[Telling, ...]:
    """An acknowledgement and the end are told to everybody who was told, whatever holds it back."""
    people = step.incident.people_told
    for news, kind in (
        (News.RESOLVED, MessageKind.RESOLVED),
        (News.ACKNOWLEDGED, MessageKind.ACKNOWLEDGED),
    ):
        if news in step.news:
            return tuple(Telling(kind, person, step.news[news]) for person in people)
    return ()


def _told(
    step: Step, ladder: Ladder, now: datetime, rules: EscalationRules
) -> tuple[Step, tuple[Telling, ...]]:
    """Tell the rungs that are due, and those told before again where they are owed a word."""
    incident = step.incident
    due = list(_due(incident, ladder, now))
    called = [person for _, person in due]
    others = [one for one in _people_of_climb(incident) if one not in called]
    if not _is_word_due(incident, now, rules):
        others = []
    if not due and not others:
        return step, ()
    tellings = [_first_word(step, ladder, rung, person) for rung, person in due]
    tellings += [_another_word(step, person, now) for person in others]
    rungs = tuple(rung_id(incident.severity, rung.after, person) for rung, person in due)
    after = replace(
        incident,
        rungs_told=incident.rungs_told + rungs,
        people_told=tuple(dict.fromkeys((*incident.people_told, *called))),
        escalated_to=called[-1] if called else incident.escalated_to,
        reminded_at=now if others or incident.reminded_at is None else incident.reminded_at,
        updated_at=now,
    )
    return replace(step, incident=after, changed=True), tuple(tellings)


def _due(incident: Incident, ladder: Ladder, now: datetime) -> Iterator[tuple[Rung, str]]:
    shown = climbed(incident, now)
    for rung in ladder.rungs:
        for person in dict.fromkeys(rung.people) if rung.after <= shown else ():
            if not _is_told(incident, rung, person):
                yield rung, person


def _is_told(incident: Incident, rung: Rung, person: str) -> bool:
    """Whether this rung was told in this climb, or the person when it was of another severity."""
    if rung_id(incident.severity, rung.after, person) in incident.rungs_told:
        return True
    parts = (told.split("/", 2) for told in incident.rungs_told)
    return any(who == person and of != incident.severity for of, _, who in parts)


def _people_of_climb(incident: Incident) -> list[str]:
    return list(dict.fromkeys(told.split("/", 2)[2] for told in incident.rungs_told))


def _is_word_due(incident: Incident, now: datetime, rules: EscalationRules) -> bool:
    """Whether those who were told are to hear again."""
    if incident.reminded_at is None:
        return True
    every = rules.remind_every.get(incident.severity)
    return every is not None and now - incident.reminded_at >= every


def _wants(incident: Incident, ladder: Ladder, rules: EscalationRules) -> bool:
    """Whether anybody is still to be told, now or later, so that holding back means something."""
    if incident.rungs_told:
        repeats = rules.remind_every.get(incident.severity) is not None
        if repeats or incident.reminded_at is None:
            return True
    return any(
        not _is_told(incident, rung, person) for rung in ladder.rungs for person in rung.people
    )


def _urged(incident: Incident, ladder: Ladder, now: datetime) -> Incident:
    """With the stopwatch put forward to the next rung."""
    shown = climbed(incident, now)
    ahead = next((rung.after for rung in ladder.rungs if rung.after > shown), None)
    if ahead is None:
        return incident
    since = None if incident.climbing_since is None else now
    return replace(incident, climbed_seconds=ahead.total_seconds(), climbing_since=since)


def _first_word(step: Step, ladder: Ladder, rung: Rung, person: str) -> Telling:
    news = step.news
    is_first = rung is ladder.rungs[0]
    if News.WORSE in news:
        kind = MessageKind.ALERT if is_first else MessageKind.ESCALATION
        heard = person in step.incident.people_told
        return Telling(MessageKind.UPDATE if heard else kind, person, news[News.WORSE])
    if is_first:
        why = news.get(News.REOPENED, f"first to be called for {step.incident.severity}")
        return Telling(MessageKind.ALERT, person, why)
    why = f"nobody has acknowledged it for {format_duration(rung.after)}"
    return Telling(MessageKind.ESCALATION, person, news.get(News.URGENT, why))


def _another_word(step: Step, person: str, now: datetime) -> Telling:
    news = step.news
    if News.AGAIN in news:
        return Telling(MessageKind.UPDATE, person, news[News.AGAIN])
    if News.LAPSED in news:
        return Telling(MessageKind.REMINDER, person, news[News.LAPSED])
    held = format_duration(max(now - (step.incident.fired_at or now), _NONE))
    why = f"it has been open for {held}, and nobody has acknowledged it"
    return Telling(MessageKind.REMINDER, person, why)
