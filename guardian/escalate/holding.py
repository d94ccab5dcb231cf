"""What keeps people from being told for now: silences, larger incidents, the night. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from guardian.escalate.model import Incident, Silence, State
from guardian.escalate.rules import INHIBITED, EscalationRules

MATCH_KEYS = ("kind", "server", "database", "severity", "key")
"""What a silence can be matched by."""

_HOLDS = (State.FIRING, State.ACKNOWLEDGED, State.RECOVERING)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nobody is told. ``by`` is the same as long as the reason is; ``text`` is for people."""

    by: str
    text: str


def hold(
    incident: Incident,
    others: Iterable[Incident],
    silences: Iterable[Silence],
    now: datetime,
    rules: EscalationRules,
) -> Hold | None:
    """What holds an incident back now, the first of: a silence, another incident, the hour.

    ``others`` are the open incidents, itself may be among them.
    """
    return (
        _silenced(incident, silences, now)
        or _inhibited(incident, others)
        or _out_of_hours(incident, now, rules)
    )


def matches(match: Mapping[str, str], incident: Incident) -> bool:
    """Whether all globs hold; what an incident has not (a server) only fits ``*``."""
    values = {
        "kind": incident.kind,
        "server": incident.server or "",
        "database": incident.database or "",
        "severity": incident.severity.value,
        "key": incident.key,
    }
    return all(fnmatchcase(values.get(name, ""), glob) for name, glob in match.items())


def _silenced(incident: Incident, silences: Iterable[Silence], now: datetime) -> Hold | None:
    active = [
        one
        for one in silences
        if one.starts_at <= now < one.ends_at and matches(one.match, incident)
    ]
    if not active:
        return None
    last = max(active, key=lambda one: (one.ends_at, one.id))
    until = f"{last.ends_at:%Y-%m-%d %H:%M} UTC"
    return Hold(f"silence {last.id}", f"silenced until {until} by {last.by}: {last.reason}")


def _inhibited(incident: Incident, others: Iterable[Incident]) -> Hold | None:
    if incident.server is None:
        return None
    for other in others:
        hidden = INHIBITED.get(other.kind, ())
        if other.state not in _HOLDS or other.server != incident.server:
            continue
        if any(fnmatchcase(incident.kind, pattern) for pattern in hidden):
            return Hold(other.key, f"part of a larger one, {other.id}: {other.title}")
    return None


def _out_of_hours(incident: Incident, now: datetime, rules: EscalationRules) -> Hold | None:
    hours = rules.business_hours
    if hours is None or incident.severity not in hours.severities or hours.is_open(now):
        return None
    opens = hours.opens_after(now)
    until = "no day is theirs"
    if opens is not None:
        until = f"until {opens.astimezone(ZoneInfo(hours.timezone)):%a %Y-%m-%d %H:%M} there"
    return Hold("business hours", f"outside of business hours ({hours.timezone}), {until}")
