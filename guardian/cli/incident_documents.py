"""Incidents as JSON documents; the names are fixed by the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from guardian.cli.console import time_text

if TYPE_CHECKING:
    from guardian.escalate.ladder import Due
    from guardian.escalate.model import Entry, Envelope, Fact, Incident, Silence


def incident_document(one: Incident, due: Due | None = None) -> dict[str, Any]:
    """One incident as ``incidents list`` has it. ``due``: who hears next unless somebody acts."""
    return {
        "id": one.id,
        "key": one.key,
        "kind": one.kind,
        "server": one.server,
        "database": one.database,
        "severity": one.severity.value,
        "state": one.state.value,
        "title": one.title,
        "since": time_text(one.condition.since),
        "opened_at": time_text(one.opened_at),
        "updated_at": time_text(one.updated_at),
        "resolved_at": time_text(one.resolved_at),
        "escalated_to": one.escalated_to,
        "occurrences": one.occurrences,
        "people_told": list(one.people_told),
        "acknowledged_by": one.acknowledged_by,
        "acknowledged_until": time_text(one.acknowledged_until),
        "next": None if due is None else {"at": time_text(due.at), "people": list(due.people)},
    }


def story_document(
    one: Incident, due: Due | None, timeline: Iterable[Entry], envelopes: Iterable[Envelope]
) -> dict[str, Any]:
    """All about one incident."""
    condition = one.condition
    return incident_document(one, due) | {
        "impact": condition.impact,
        "evidence": _facts(condition.evidence),
        "tried": list(condition.tried),
        "checks": _facts(condition.checks),
        "mend": list(condition.mend),
        "timeline": [
            {"at": time_text(each.at), "kind": each.kind.value, "text": each.text, "by": each.by}
            for each in timeline
        ],
        "messages": [_envelope(each) for each in envelopes],
    }


def silence_document(one: Silence, *, active: bool) -> dict[str, Any]:
    """One silence."""
    return {
        "id": one.id,
        "starts_at": time_text(one.starts_at),
        "ends_at": time_text(one.ends_at),
        "active": active,
        "match": dict(one.match),
        "reason": one.reason,
        "by": one.by,
    }


def _facts(facts: Sequence[Fact]) -> list[dict[str, str]]:
    return [{"name": one.name, "value": one.value} for one in facts]


def _envelope(one: Envelope) -> dict[str, Any]:
    return {
        "kind": one.message.kind.value,
        "why": one.message.why,
        "channel": one.channel,
        "person": one.rung,
        "standing": one.standing.value,
        "attempts": one.attempts,
        "created_at": time_text(one.created_at),
        "delivered_at": time_text(one.delivered_at),
        "next_at": time_text(one.next_at) if one.standing.value == "waiting" else None,
        "error": one.error,
    }
