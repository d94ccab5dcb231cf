"""The guarded servers in a line each. Pure, but for asking the watch's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.watch.readings import Severity
from guardian.watch.vitals import Finding
from guardian.web.ports import Look, ServerNow, VitalsNow, WatchState
from guardian.web.views.sessions import is_client
from guardian.web.views.wording import LEVEL_OF_AVAILABILITY, LEVEL_OF_SEVERITY, Level, plural


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server: how it is, who is connected, and the worst of its vitals."""

    name: str
    level: Level
    word: str
    detail: str
    since: datetime | None
    latency: str
    sessions: str
    waiting: int
    vital: Finding | None
    vital_level: Level
    vital_words: str


def server_rows(watch: WatchState, stale_after: timedelta, now: datetime) -> list[ServerRow]:
    """Every configured server, in the order of the configuration."""
    return [
        server_row(one, watch.look(one.name), watch.vitals(one.name), stale_after, now)
        for one in watch.servers()
    ]


def server_row(
    server: ServerNow,
    look: Look | None,
    vitals: VitalsNow | None,
    stale_after: timedelta,
    now: datetime,
) -> ServerRow:
    """One server's line."""
    fresh = look if look is not None and now - look.at <= stale_after else None
    findings = vitals.findings if vitals is not None and now - vitals.at <= stale_after else ()
    worst = findings[0] if findings and findings[0].severity is not Severity.OK else None
    return ServerRow(
        name=server.name,
        level=LEVEL_OF_AVAILABILITY[server.availability],
        word=server.availability.value,
        detail=server.detail,
        since=server.since,
        latency=_latency(server.latency_seconds),
        sessions=_sessions(fresh),
        waiting=len(fresh.observation.blockers) if fresh else 0,
        vital=worst,
        vital_level=_vital_level(findings),
        vital_words=_vital_words(findings),
    )


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.0095 else f"{1000 * seconds:.1f} ms"


def _sessions(look: Look | None) -> str:
    if look is None:
        return "not looked at"
    states = Counter(one.state for one in look.observation.sessions if is_client(one))
    return f"{plural(states.total(), 'session')}, {states['active']} active"


def _vital_level(findings: Sequence[Finding]) -> Level:
    return LEVEL_OF_SEVERITY[findings[0].severity] if findings else Level.UNKNOWN


def _vital_words(findings: Sequence[Finding]) -> str:
    counts = Counter(one.severity for one in findings)
    if not counts:
        return "no vitals read"
    words = [
        f"{counts[severity]} {severity.value}"
        for severity in (Severity.CRITICAL, Severity.WARNING, Severity.UNKNOWN)
        if counts[severity]
    ]
    return ", ".join(words) or f"all {counts[Severity.OK]} vitals fine"
