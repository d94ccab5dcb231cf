"""Incidents, messages and envelopes for tests of escalation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.escalate.model import (
    Condition,
    Envelope,
    Fact,
    Incident,
    IncidentId,
    Message,
    MessageKind,
    Severity,
    Standing,
    State,
)

START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

HOSTILE = "naïve 🦖 it's; DROP TABLE x; -- \x00 \udc80 %s :x {}"
KEPT = "naïve 🦖 it's; DROP TABLE x; -- \\x00 \\udc80 %s :x {}"
"""How the catalog gives that back."""


def condition(key: str = "backup.failed:main/mina", **changes: Any) -> Condition:
    """Something wrong, with something in every field."""
    made = Condition(
        key=key,
        kind=key.partition(":")[0],
        severity=Severity.P1,
        title=f"{key}: the backup failed twice in a row",
        server="main",
        database="mina",
        since=START - MINUTE,
        occurrence="20261123T020000Z-7f3a9c",
        count=2,
        impact="the last proven backup is 26 hours old",
        evidence=(Fact("error", "disk full"), Fact("free", "0 bytes")),
        tried=("again after 5m",),
        checks=(Fact("disk of /var/backups", "100% full"),),
        mend=("make room", "guardian backup now main/mina"),
    )
    return replace(made, **changes)


def incident(
    number: int = 1,
    key: str = "backup.failed:main/mina",
    state: State = State.FIRING,
    at: datetime = START,
    **changes: Any,
) -> Incident:
    """A new incident (version 0), as its first observation makes it."""
    found = condition(key)
    made = Incident(
        id=incident_id(number),
        key=key,
        kind=found.kind,
        scope="backups:main",
        severity=found.severity,
        state=state,
        condition=found,
        opened_at=at,
        updated_at=at,
        server="main",
        database="mina",
        fired_at=at,
        resolved_at=None if state.is_open else at,
    )
    return replace(made, **changes)


def full_incident() -> Incident:
    """One that has something in every field."""
    return incident(
        state=State.ACKNOWLEDGED,
        cleared_at=START + MINUTE,
        resolved_at=START + 2 * MINUTE,
        acknowledged_at=START + 3 * MINUTE,
        acknowledged_by="Robin",
        acknowledged_until=START + 4 * MINUTE,
        occurrences=3,
        rungs_told=("P1/0m/on-call", "P1/30m/lead"),
        people_told=("on-call", "lead"),
        escalated_to="lead",
        reminded_at=START + 5 * MINUTE,
        flaps=(START, START + MINUTE),
        entered_at=START + 6 * MINUTE,
        resolved_by="Robin",
        peak=Severity.P0,
        climbed_seconds=90.5,
        climbing_since=START + 7 * MINUTE,
        held_by="silence s1",
        messages=3,
    )


def incident_id(number: int) -> IncidentId:
    """An id as incidents have them."""
    return IncidentId(f"inc{number:05d}")


def message(
    number: int = 0, of: int | None = 1, kind: MessageKind = MessageKind.ALERT, **changes: Any
) -> Message:
    """What somebody is told of the incident of that number (``of``), or of none."""
    made = Message(
        kind=kind,
        severity=Severity.P1,
        title=f"message {number} of {of}",
        at=START,
        dedup_key=f"guardian/{incident_id(of)}" if of is not None else f"other/{number}",
        number=number,
        incident=incident_id(of) if of is not None else None,
    )
    return replace(made, **changes)


def full_message() -> Message:
    """One that has something in every field."""
    return message(
        7,
        incident_kind="backup.failed",
        state=State.RESOLVED,
        server="main",
        database="mina",
        since=START - MINUTE,
        ended_at=START + MINUTE,
        occurrences=2,
        why="nobody acknowledged for 30m",
        impact="the last proven backup is 26 hours old",
        evidence=(Fact("error", "disk full"),),
        tried=("again",),
        checks=(Fact("disk", "100%"),),
        mend=("make room",),
        links=(("runbook", "https://runbook.example/backups"), ("dashboard", "https://g.example")),
        items=("one", "two"),
        told=("lead",),
    )


def envelope(
    number: int = 0,
    of: int | None = 1,
    channel: str = "pager",
    kind: MessageKind = MessageKind.ALERT,
    at: datetime = START,
    **changes: Any,
) -> Envelope:
    """That message, on its way."""
    made = Envelope(
        message=message(number, of, kind),
        channel=channel,
        rung="on-call",
        created_at=at,
        next_at=at,
    )
    return replace(made, **changes)


def full_envelope() -> Envelope:
    """One that has something in every field, but for its id."""
    return Envelope(
        message=full_message(),
        channel="pager",
        rung="on-call",
        created_at=START,
        next_at=START + MINUTE,
        others=("incidents", "rung:lead"),
        tried=("hook",),
        refused=("hook",),
        attempts=3,
        standing=Standing.GROUPED,
        delivered_at=START + 2 * MINUTE,
        error="429: slow down",
        group="storm/pager/1",
    )
