"""Between escalation's rows in the catalog and its records.

What cannot be read any more (damage, a word that only a newer guardian knows) comes out of the
columns as well as it can: an incident that nobody hears of is worse than one with gaps.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from guardian.adapters.catalog.documents import record_of, text_of
from guardian.adapters.catalog.rules import printable
from guardian.escalate.model import (
    ChannelHealth,
    Condition,
    Entry,
    EntryKind,
    Envelope,
    Incident,
    IncidentId,
    Message,
    MessageKind,
    Severity,
    Silence,
    Standing,
    State,
    Watcher,
)

Word = TypeVar("Word", bound=StrEnum)


def incident(row: Any) -> Incident:
    """An incident from its row."""
    found = record_of(Incident, row.body) or _remains(row)
    return replace(found, version=row.version)


def incident_values(kept: Incident) -> dict[str, Any]:
    """The columns of an incident, with the version that it has from now on."""
    return {
        "id": printable(kept.id),
        "key": printable(kept.key),
        "open_key": printable(kept.key) if kept.state.is_open else None,
        "version": kept.version + 1,
        "kind": printable(kept.kind),
        "scope": printable(kept.scope),
        "severity": kept.severity.value,
        "state": kept.state.value,
        "title": kept.title,
        "opened_at": kept.opened_at,
        "updated_at": kept.updated_at,
        "resolved_at": kept.resolved_at,
        "body": text_of(kept),
    }


def entry(row: Any) -> Entry:
    """A line of a timeline from its row."""
    kind = _word(EntryKind, row.kind, EntryKind.NOTE)
    return Entry(IncidentId(row.incident_id), row.at, kind, row.text, row.by)


def entry_values(line: Entry) -> dict[str, Any]:
    """The columns of a line of a timeline."""
    return {
        "incident_id": printable(line.incident),
        "at": line.at,
        "kind": line.kind.value,
        "text": line.text,
        "by": line.by,
    }


def envelope(row: Any) -> Envelope:
    """An envelope from its row."""
    return Envelope(
        message=record_of(Message, row.body) or _remains_of_message(row),
        channel=row.channel,
        rung=row.rung,
        created_at=row.created_at,
        next_at=row.next_at,
        id=row.number,
        others=tuple(json.loads(row.others)),
        tried=tuple(json.loads(row.tried)),
        refused=tuple(json.loads(row.refused)),
        attempts=row.attempts,
        standing=Standing(row.standing),
        delivered_at=row.delivered_at,
        error=row.error,
        group=row.told_in,
    )


def envelope_values(sent: Envelope) -> dict[str, Any]:
    """The columns of an envelope, but for its number."""
    message = sent.message
    return {
        "incident_id": None if message.incident is None else printable(message.incident),
        "dedup_key": printable(message.dedup_key),
        "channel": printable(sent.channel),
        "position": message.number,
        "rung": printable(sent.rung),
        "kind": message.kind.value,
        "severity": message.severity.value,
        "title": message.title,
        "created_at": sent.created_at,
        "body": text_of(message),
        **outcome_values(sent),
    }


def outcome_values(sent: Envelope) -> dict[str, Any]:
    """The columns of an envelope that change as it goes its way."""
    return {
        "standing": sent.standing.value,
        "next_at": sent.next_at,
        "delivered_at": sent.delivered_at,
        "attempts": sent.attempts,
        "error": sent.error,
        "told_in": None if sent.group is None else printable(sent.group),
        "others": text_of(sent.others),
        "tried": text_of(sent.tried),
        "refused": text_of(sent.refused),
    }


def health(row: Any) -> ChannelHealth:
    """How a channel does, from its row."""
    return ChannelHealth(
        row.channel, row.failing_since, row.failures, row.last_success_at, row.last_error
    )


def health_values(kept: ChannelHealth) -> dict[str, Any]:
    """The columns of a channel's health, but for the channel."""
    return {
        "failing_since": kept.failing_since,
        "failures": kept.failures,
        "last_success_at": kept.last_success_at,
        "last_error": kept.last_error,
    }


def silence(row: Any) -> Silence:
    """A silence from its row."""
    match = json.loads(row.match)
    return Silence(row.id, row.starts_at, row.ends_at, row.reason, row.made_by, match)


def silence_values(kept: Silence) -> dict[str, Any]:
    """The columns of a silence."""
    return {
        "id": printable(kept.id),
        "starts_at": kept.starts_at,
        "ends_at": kept.ends_at,
        "reason": kept.reason,
        "made_by": kept.by,
        "match": text_of(kept.match),
    }


def watcher(row: Any) -> Watcher:
    """A watcher from its row; one that cannot be read observes nothing."""
    return Watcher(row.name, row.seen_at, record_of(tuple[str, ...], row.scopes) or ())


def watcher_values(kept: Watcher) -> dict[str, Any]:
    """The columns of a watcher beside its name."""
    return {"seen_at": kept.seen_at, "scopes": text_of(kept.scopes)}


def _word(kind: type[Word], text: str, otherwise: Word) -> Word:
    return kind(text) if text in list(kind) else otherwise


def _remains(row: Any) -> Incident:
    severity = _word(Severity, row.severity, Severity.P1)
    return Incident(
        id=IncidentId(row.id),
        key=row.key,
        kind=row.kind,
        scope=row.scope,
        severity=severity,
        state=_word(State, row.state, State.FIRING),
        condition=Condition(row.key, row.kind, severity, row.title),
        opened_at=row.opened_at,
        updated_at=row.updated_at,
        fired_at=row.opened_at,
        resolved_at=row.resolved_at,
    )


def _remains_of_message(row: Any) -> Message:
    return Message(
        kind=_word(MessageKind, row.kind, MessageKind.ALERT),
        severity=_word(Severity, row.severity, Severity.P1),
        title=row.title,
        at=row.created_at,
        dedup_key=row.dedup_key,
        number=row.number,
        incident=None if row.incident_id is None else IncidentId(row.incident_id),
    )
