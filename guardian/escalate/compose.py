"""From an incident to what people read: messages, and the channels by which they go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from guardian.escalate.digest import Digest
from guardian.escalate.ladder import Telling
from guardian.escalate.model import (
    TITLE_LIMIT,
    Entry,
    EntryKind,
    Envelope,
    Incident,
    Message,
    MessageKind,
    Severity,
)
from guardian.escalate.rules import CHANNEL_FAILING, EscalationRules
from guardian.escalate.wording import cut, in_one_line

_ENDED = (MessageKind.RESOLVED, MessageKind.ACKNOWLEDGED)
"""News that leave nothing to do: they carry neither evidence nor what to do."""


@dataclass(frozen=True, slots=True)
class Mail:
    """What one step sends: envelopes for the outbox, and what the timeline says of them."""

    envelopes: tuple[Envelope, ...] = ()
    entries: tuple[Entry, ...] = ()


def address(
    incident: Incident,
    tellings: Sequence[Telling],
    now: datetime,
    rules: EscalationRules,
    *,
    failing: Collection[str] = (),
    heard: Iterable[tuple[str, str]] = (),
    waiting: Collection[str] = (),
) -> Mail:
    """Put each telling into one envelope a channel. No channel gets two of one step.

    ``failing`` are the channels of open ``channel.failing`` incidents: of such an incident nobody
    hears through them, where there is any other way. ``heard`` are (channel, rung) that had an
    alert handed over to them: they hear of an acknowledgement and of the end as well. ``waiting``
    are channels for which something of this incident still waits: they need no reminder behind it.
    """
    shunned = set(failing) if incident.kind == CHANNEL_FAILING else set()
    if incident.kind == CHANNEL_FAILING:
        shunned.add(incident.key.partition(":")[2])
    envelopes: dict[str, Envelope] = {}
    entries = []
    for telling in tellings:
        person, channels = _way(telling.person, incident.severity, shunned, rules)
        if not channels:
            text = f"{telling.person} cannot be told: no channel"
            entries.append(Entry(incident.id, now, EntryKind.UNDELIVERED, text))
            continue
        if telling.kind is MessageKind.REMINDER:
            channels = tuple(one for one in channels if one not in waiting)
            if not channels:
                continue
        instead = "" if person == telling.person else f" in place of {telling.person}"
        text = f"{person} by {', '.join(channels)}{instead}: {telling.why}"
        entries.append(Entry(incident.id, now, EntryKind.TOLD, text))
        message = compose(incident, telling, now, rules)
        for channel in channels:
            others = _others(person, channel, incident.severity, shunned, rules)
            made = Envelope(message, channel, person, now, now, others=others)
            envelopes.setdefault(channel, made)
    if tellings and tellings[0].kind in _ENDED:
        message = compose(incident, tellings[0], now, rules)
        known = {channel for channels in rules.people.values() for channel in channels}
        for channel, rung in heard:
            if channel in known:
                envelopes.setdefault(channel, Envelope(message, channel, rung, now, now))
    return Mail(tuple(envelopes.values()), tuple(entries))


def compose(incident: Incident, telling: Telling, now: datetime, rules: EscalationRules) -> Message:
    """What one person is told."""
    condition = incident.condition
    ended = telling.kind in _ENDED
    mend = () if ended else (*condition.mend, f"Take it: guardian incidents ack {incident.id}")
    return Message(
        kind=telling.kind,
        severity=incident.severity,
        title=cut(in_one_line(condition.title), TITLE_LIMIT),
        at=now,
        dedup_key=f"guardian-{incident.id}",
        number=incident.messages + 1,
        incident=incident.id,
        incident_kind=incident.kind,
        state=incident.state,
        server=incident.server,
        database=incident.database,
        since=began(incident),
        ended_at=incident.cleared_at if telling.kind is MessageKind.RESOLVED else None,
        occurrences=incident.occurrences,
        why=telling.why,
        impact="" if ended else condition.impact,
        evidence=() if ended else condition.evidence,
        tried=() if ended else condition.tried,
        checks=() if ended else condition.checks,
        mend=mend,
        links=incident_links(incident, rules),
        told=incident.people_told,
    )


def digest_mail(digest: Digest, since: datetime, now: datetime, rules: EscalationRules) -> Mail:
    """The digest, for everybody who gets it. ``since`` is when the last one was told."""
    message = Message(
        kind=MessageKind.DIGEST,
        severity=Severity.P3,
        title=cut(in_one_line(digest.title), TITLE_LIMIT),
        at=now,
        dedup_key=f"guardian-digest-{now:%Y%m%dT%H%M}",
        since=since,
        items=digest.items,
        links=_dashboard(rules),
    )
    people = rules.digest.people if rules.digest else ()
    channels = {one: person for person in people for one in rules.channels_of(person)}
    made = (Envelope(message, one, person, now, now) for one, person in channels.items())
    return Mail(tuple(made))


def test_message(now: datetime, by: str) -> Message:
    """What ``alerts test`` sends."""
    return Message(
        kind=MessageKind.TEST,
        severity=Severity.P3,
        title="A test of guardian's alerts: nothing is wrong",
        at=now,
        dedup_key=f"guardian-test-{now:%Y%m%dT%H%M%S}",
        why=f"{by} asked for it",
    )


def self_test_mail(channels: Iterable[str], now: datetime, rules: EscalationRules) -> Mail:
    """What the scheduled self-test sends: one message a channel, which nobody else gets."""
    message = Message(
        kind=MessageKind.TEST,
        severity=Severity.P3,
        title="The scheduled self-test of guardian's alerts: nothing is wrong",
        at=now,
        dedup_key=f"guardian-self-test-{now:%Y%m%dT%H%M%S}",
        why="it goes through each channel at set times (escalation.self_test)",
        links=_dashboard(rules),
    )
    made = (Envelope(message, one, _whose(one, rules), now, now) for one in channels)
    return Mail(tuple(made))


def began(incident: Incident) -> datetime:
    """Since when it holds: what its sensor says, else when it was first seen."""
    return incident.condition.since or incident.opened_at


def incident_links(incident: Incident, rules: EscalationRules) -> tuple[tuple[str, str], ...]:
    """Where to read more."""
    if rules.dashboard is None:
        return ()
    return (("Incident", f"{rules.dashboard}/incidents/{incident.id}"),)


def _dashboard(rules: EscalationRules) -> tuple[tuple[str, str], ...]:
    return () if rules.dashboard is None else (("Dashboard", rules.dashboard),)


def _whose(channel: str, rules: EscalationRules) -> str:
    """The first person whom it reaches; a channel that nobody has goes by its own name."""
    return next((one for one, ways in rules.people.items() if channel in ways), channel)


def _way(
    person: str, severity: Severity, shunned: Collection[str], rules: EscalationRules
) -> tuple[str, tuple[str, ...]]:
    """How a person is reached; when only by what is shunned, who can be in their place."""
    own = rules.channels_of(person)
    usable = tuple(one for one in own if one not in shunned)
    if usable or not own:
        return person, usable
    for other in _line_of(person, severity, rules):
        usable = tuple(one for one in rules.channels_of(other) if one not in shunned)
        if usable:
            return other, usable
    return person, own


def _others(
    person: str,
    channel: str,
    severity: Severity,
    shunned: Collection[str],
    rules: EscalationRules,
) -> tuple[str, ...]:
    """Where a message goes when a channel fails: the person's others, then the rungs behind."""
    own = (one for one in rules.channels_of(person) if one != channel and one not in shunned)
    return (*own, *(f"rung:{other}" for other in _line_of(person, severity, rules)))


def _line_of(person: str, severity: Severity, rules: EscalationRules) -> list[str]:
    """The others of a ladder: those behind a person, then those before, then everybody else."""
    rungs = rules.ladder_of(severity).rungs
    order = list(dict.fromkeys([one for rung in rungs for one in rung.people]))
    place = order.index(person) + 1 if person in order else 0
    line = [*order[place:], *order[:place], *rules.people]
    return [one for one in dict.fromkeys(line) if one != person]
