"""The incident report in the runbook's template: the timeline filled in, the rest left to people.

What guardian knows is written down, and nothing else: causes, lessons and what people did are
blanks that cannot be overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from guardian.escalate.markdown import blank, bullets, document, facts, numbered, text
from guardian.escalate.model import Entry, EntryKind, Incident, Severity, State
from guardian.units import format_duration

FOLDER = "docs/incidents"
_SLUG_LENGTH = 60
_POSTMORTEM_DAYS = 3
_ABOUT_DATA = ("backup.", "verify.", "proof.", "store.", "vital.checksum_failures")
"""Kinds whose impact is about data, and not about users."""


def report_name(incident: Incident) -> str:
    """The file's name in FOLDER: ``2026-11-23-backup-failed-main-mina.md``."""
    words = re.sub(r"[^a-z0-9]+", "-", incident.key.lower()).strip("-")
    slug = words[:_SLUG_LENGTH].rstrip("-") or "incident"
    return f"{incident.opened_at.astimezone(UTC):%Y-%m-%d}-{slug}.md"


def incident_report(incident: Incident, timeline: Sequence[Entry], now: datetime) -> str:
    """The report as Markdown; ``timeline`` in the order in which it was written."""
    return document(
        [f"# Incident Report: {text(incident.title)}"],
        [
            f"guardian wrote this on {_moment(now)} from its records of incident {incident.id}.",
            "All times are UTC. What stands in **[brackets]** is for people to fill in.",
        ],
        _summary(incident, now),
        ["## Timeline", *_timeline(incident, timeline)],
        _impact(incident),
        ["## Root Cause", blank("what made it happen, and why it could")],
        _resolution(incident, timeline),
        ["## Lessons Learned", *bullets([blank("what went well, and what did not")])],
        [
            "## Action Items",
            f"- [ ] {blank('what')} (owner: {blank('who')}, due: {blank('when')})",
        ],
        ["## Prevention", *bullets([blank("what keeps it from happening again")])],
        _postmortem(incident),
        _seen(incident),
    )


def _began(incident: Incident) -> datetime:
    """When it began, which may be before anybody saw it."""
    since = incident.condition.since
    return incident.opened_at if since is None else min(since, incident.opened_at)


def _ended(incident: Incident) -> datetime | None:
    """When it was last seen gone; that this lasts was believed a little later."""
    if incident.state is not State.RESOLVED:
        return None
    return incident.cleared_at or incident.resolved_at or incident.updated_at


def _summary(incident: Incident, now: datetime) -> list[str]:
    began, ended = _began(incident), _ended(incident)
    lasted = format_duration(round(((ended or now) - began).total_seconds()))
    span = f"from {_moment(began)} to {_moment(ended)}" if ended else f"since {_moment(began)}"
    duration = f"{lasted} ({span})" if ended else f"{lasted} so far, not over ({span})"
    where = "/".join(part for part in (incident.server, incident.database) if part)
    lines = [
        f"**Date**: {began.astimezone(UTC):%Y-%m-%d}",
        f"**Duration**: {duration}",
        f"**Severity**: {incident.severity}",
        f"**Impact**: {text(incident.condition.impact) or blank('what it meant for people')}",
        f"**Root Cause**: {blank('in one line')}",
        f"**Kind**: {text(incident.kind)}" + (f", of {text(where)}" if where else ""),
    ]
    if incident.occurrences > 1:
        lines.append(f"**Occurrences**: {incident.occurrences:,}")
    return ["## Summary", *bullets(lines)]


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _timeline(incident: Incident, timeline: Sequence[Entry]) -> list[str]:
    """Each entry at its minute; days are told apart where there are several."""
    began = _began(incident)
    lines: list[tuple[datetime, str]] = []
    if began < incident.opened_at:
        lines.append((began, "It began, as was seen later"))
    lines += [(entry.at, _sentence(entry)) for entry in timeline]
    days = {at.astimezone(UTC).date() for at, _ in lines}
    shown: list[str] = []
    day: date | None = None
    for at, words in lines:
        local = at.astimezone(UTC)
        if len(days) > 1 and local.date() != day:
            day = local.date()
            shown += ["", f"**{day}**", ""]
        shown.append(f"- {local:%H:%M} - {words}")
    return shown or [blank("the timeline; guardian has no record of it")]


_LEADS = {
    EntryKind.OPENED: "Seen: ",
    EntryKind.FIRED: "Alert triggered: ",
    EntryKind.DELIVERED: "Delivered: ",
    EntryKind.UNDELIVERED: "Not delivered: ",
    EntryKind.HELD_BACK: "Held back: ",
    EntryKind.ACKNOWLEDGED: "Acknowledged: ",
    EntryKind.RECOVERING: "Recovering: ",
    EntryKind.RESOLVED: "Resolved: ",
    EntryKind.NOTE: "Note: ",
}
"""Before texts that are not sentences of their own, unless they begin so themselves."""


def _sentence(entry: Entry) -> str:
    """What happened, and by whom where the text does not say so."""
    said = text(entry.text) or text(entry.kind.value.replace("_", " "))
    lead = _LEADS.get(entry.kind, "")
    words = said if said.lower().startswith(lead[:-2].lower()) else lead + said
    if entry.by and text(entry.by) not in said:
        words += f" (by {text(entry.by)})"
    return words[:1].upper() + words[1:]


def _impact(incident: Incident) -> list[str]:
    said = text(incident.condition.impact)
    about_data = incident.kind.startswith(_ABOUT_DATA)
    unknown = blank("was any lost or damaged?")
    return [
        "## Impact",
        f"- Users: {blank('who noticed, how many')}",
        f"- Revenue: {blank('what it cost')}",
        f"- Data: {said + ' ' if about_data and said else ''}{unknown}",
        *([f"- Service: {said}"] if said and not about_data else []),
    ]


def _resolution(incident: Incident, timeline: Sequence[Entry]) -> list[str]:
    steps = [f"guardian {text(one)}" for one in incident.condition.tried]
    for entry in timeline:
        if entry.kind in {EntryKind.ACKNOWLEDGED, EntryKind.NOTE} and entry.by:
            words = f": {text(entry.text)}" if entry.kind is EntryKind.NOTE else ""
            steps.append(f"{text(entry.by)} {_DID[entry.kind]}{words}")
    steps.append(blank("what people did, step by step"))
    if _ended(incident) is None:
        steps.append("It is not over yet.")
    else:
        last = [one for one in timeline if one.kind is EntryKind.RESOLVED]
        steps.append(_sentence(last[-1]) if last else "It is over.")
    return ["## Resolution", *numbered(steps)]


_DID = {EntryKind.ACKNOWLEDGED: "took it over", EntryKind.NOTE: "noted"}


def _postmortem(incident: Incident) -> list[str]:
    """The runbook wants one of P0 and P1, within three business days."""
    if incident.severity not in {Severity.P0, Severity.P1}:
        return []
    ended = _ended(incident)
    when = (
        f"by {_business_day(ended.astimezone(UTC).date(), _POSTMORTEM_DAYS)}"
        if ended
        else f"within {_POSTMORTEM_DAYS} business days of its end"
    )
    return ["## Postmortem", f"- [ ] Blameless, 30 to 60 minutes, {when}: {blank('date, and who')}"]


def _business_day(day: date, later: int) -> date:
    while later:
        day += timedelta(days=1)
        later -= day.weekday() < 5
    return day


def _seen(incident: Incident) -> list[str]:
    """What the alert carried: the evidence, the quick checks, the advice."""
    condition = incident.condition
    lines = ["## What guardian saw"]
    if condition.evidence:
        lines += ["", "Evidence:", "", *facts(condition.evidence)]
    if condition.checks:
        lines += ["", "Quick checks, made when it opened:", "", *facts(condition.checks)]
    if condition.mend:
        lines += ["", "What it advised:", "", *bullets(text(one) for one in condition.mend)]
    return lines if len(lines) > 1 else []
