"""Incidents as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from guardian.cli.screen import Cell, Column, hanging, harmless, lay_out
from guardian.escalate.model import EntryKind, Severity, Standing, State
from guardian.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.escalate.ladder import Due
    from guardian.escalate.model import Entry, Envelope, Fact, Incident, IncidentId, Silence

SEVERITY_STYLES = {
    Severity.P0: "bold red",
    Severity.P1: "red",
    Severity.P2: "yellow",
    Severity.P3: "cyan",
}
_STATE_STYLES = {
    State.PENDING: "dim",
    State.FIRING: "red",
    State.ACKNOWLEDGED: "yellow",
    State.RECOVERING: "green",
    State.RESOLVED: "dim",
}
_STANDING_STYLES = {
    Standing.WAITING: "yellow",
    Standing.DELIVERED: "green",
    Standing.UNDELIVERABLE: "red",
}


def incident_lines(
    console: Console,
    incidents: Sequence[Incident],
    now: datetime,
    next_due: Mapping[IncidentId, Due | None] | None = None,
) -> Iterator[Text]:
    """A list: the open ones, the worst first, each with who knows and who is next; then the rest.

    Titles go over as many lines as they take: they are what is to be read.
    """
    from rich.text import Text

    if not incidents:
        yield Text("no incidents", "dim")
        return
    ordered = sorted(incidents, key=_order)
    columns = [Column("ID"), Column("SEV"), Column("STATE"), Column("FOR", right=True)]
    rows = [
        (
            one.id,
            Cell(one.severity.value, SEVERITY_STYLES[one.severity]),
            Cell(one.state.value, _STATE_STYLES[one.state]),
            lasted(one, now),
        )
        for one in ordered
    ]
    heading, *lines = lay_out(columns, rows, console.width)
    width = max(line.cell_len for line in (heading, *lines))
    heading.append(" " * (width - heading.cell_len + 2)).append("TITLE", "bold")
    yield heading
    for one, line in zip(ordered, lines, strict=True):
        lead = line.append(" " * (width - line.cell_len + 2))
        dim = "" if one.state.is_open else "dim"
        yield from hanging(console, one.title, console.width, first=lead, style=dim)
        words = _who_knows(one, now, (next_due or {}).get(one.id))
        if words:
            yield from hanging(console, words, console.width, first=" " * (width + 2), style="dim")


def _order(one: Incident) -> tuple[bool, float, float]:
    """Open ones by severity and age; those that are over by how lately they ended."""
    if one.state.is_open:
        return False, one.severity.rank, one.opened_at.timestamp()
    return True, -(one.resolved_at or one.updated_at).timestamp(), 0.0


def lasted(one: Incident, now: datetime) -> str:
    """How long it has been on, or was."""
    ended = now if one.state.is_open else (one.cleared_at or one.resolved_at or one.updated_at)
    began = one.condition.since or one.opened_at
    return format_duration(max(0, int((ended - began).total_seconds())))


def _who_knows(one: Incident, now: datetime, due: Due | None) -> str:
    if not one.state.is_open:
        return f"ended {_ago(one.resolved_at or one.updated_at, now)}"
    words = []
    if one.state is State.ACKNOWLEDGED and one.acknowledged_by:
        until = one.acknowledged_until
        left = "" if until is None else f" for another {_rest(until, now)}"
        words.append(f"{one.acknowledged_by} has it{left}")
    if one.people_told:
        words.append(f"told {', '.join(one.people_told)}")
    elif one.state is not State.PENDING:
        words.append("nobody was told")
    if due is not None:
        words.append(f"{', '.join(due.people)} next, in {_rest(due.at, now)}")
    return "; ".join(words)


def story_lines(
    console: Console,
    one: Incident,
    due: Due | None,
    timeline: Sequence[Entry],
    envelopes: Sequence[Envelope],
    now: datetime,
) -> Iterator[Text]:
    """All about one: what is broken first, then what to do, then how it came."""
    from rich.text import Text

    head = Text().append(one.severity.value, SEVERITY_STYLES[one.severity]).append("  ")
    yield from hanging(console, one.title, console.width, first=head, style="bold")
    state = f"{one.state.value}, {'for' if one.state.is_open else 'lasted'} {lasted(one, now)}"
    yield from hanging(console, f"{one.id}, {one.key}, {state}", console.width, style="dim")
    if words := _who_knows(one, now, due):
        yield from hanging(console, words, console.width, style="dim")
    condition = one.condition
    if condition.impact:
        yield from _section(console, "IMPACT", [condition.impact])
    yield from _facts(console, "EVIDENCE", condition.evidence)
    yield from _section(console, "TRIED", condition.tried)
    yield from _facts(console, "QUICK CHECKS", condition.checks)
    yield from _section(console, "TO DO", condition.mend if one.state.is_open else ())
    yield from _timeline(console, timeline)
    yield from _messages(console, envelopes)


def _section(console: Console, heading: str, lines: Iterable[str]) -> Iterator[Text]:
    from rich.text import Text

    shown = [line for each in lines for line in hanging(console, each, console.width, first="  ")]
    if shown:
        yield Text("")
        yield Text(heading, "bold")
        yield from shown


def _facts(console: Console, heading: str, facts: Sequence[Fact]) -> Iterator[Text]:
    """A name and what was found; what has several lines stands beneath its name as it is."""
    from rich.text import Text

    if not facts:
        return
    yield Text("")
    yield Text(heading, "bold")
    for one in facts:
        lead = Text("  ").append(f"{harmless(one.name)}: ", "cyan")
        lines = one.value.splitlines() or [""]
        if len(lines) == 1:
            yield from hanging(console, lines[0], console.width, first=lead)
            continue
        yield lead
        for line in lines:
            indent = " " * (6 + len(line) - len(line.lstrip()))
            yield from hanging(console, line, console.width, first=indent)


def _timeline(console: Console, timeline: Sequence[Entry]) -> Iterator[Text]:
    from rich.text import Text

    if not timeline:
        return
    yield Text("")
    yield Text("TIMELINE", "bold")
    for entry in timeline:
        lead = Text(f"  {entry.at.astimezone():%Y-%m-%d %H:%M:%S}  ")
        by = f" ({entry.by})" if entry.by and entry.by not in entry.text else ""
        style = "red" if entry.kind is EntryKind.UNDELIVERED else ""
        text = f"{entry.kind.value.replace('_', ' ')}: {entry.text}{by}"
        yield from hanging(console, text, console.width, first=lead, style=style)


def _messages(console: Console, envelopes: Sequence[Envelope]) -> Iterator[Text]:
    from rich.text import Text

    if not envelopes:
        return
    yield Text("")
    columns = [
        Column("MESSAGE"),
        Column("TO"),
        Column("THROUGH"),
        Column("STANDING"),
        Column("TRIES", right=True),
        Column("ERROR", elastic=True),
    ]
    rows = [
        (
            one.message.kind.value,
            one.rung,
            one.channel,
            Cell(one.standing.value, _STANDING_STYLES.get(one.standing, "dim")),
            str(one.attempts),
            one.error or "",
        )
        for one in envelopes
    ]
    yield from lay_out(columns, rows, console.width)


def silence_lines(console: Console, silences: Sequence[Silence], now: datetime) -> Iterator[Text]:
    """A list of silences: what, until when, and beneath it by whom and why."""
    from rich.text import Text

    if not silences:
        yield Text("no silences", "dim")
        return
    columns = [Column("ID"), Column("WHEN"), Column("MATCHES", elastic=True)]
    rows = [(one.id, _window(one, now), match_text(one.match)) for one in silences]
    heading, *lines = lay_out(columns, rows, console.width)
    yield heading
    for one, line in zip(silences, lines, strict=True):
        yield line
        words = f"{one.by}: {one.reason}"
        yield from hanging(console, words, console.width, first="    ", style="dim")


def match_text(match: Mapping[str, str]) -> str:
    """What a silence matches, as it was written."""
    return " ".join(f"{key}={glob}" for key, glob in sorted(match.items())) or "everything"


def _window(one: Silence, now: datetime) -> str:
    if one.ends_at <= now:
        return f"ended {_ago(one.ends_at, now)}"
    if one.starts_at > now:
        return f"in {_rest(one.starts_at, now)}, for {format_duration(one.ends_at - one.starts_at)}"
    return f"for another {_rest(one.ends_at, now)}"


def _rest(at: datetime, now: datetime) -> str:
    return format_duration(max(timedelta(0), timedelta(seconds=round((at - now).total_seconds()))))


def _ago(at: datetime, now: datetime) -> str:
    return f"{format_duration(max(0, int((now - at).total_seconds())))} ago"
