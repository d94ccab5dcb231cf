"""What people are told at a change of shift, and in the digest: gathered from the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from guardian.backup.schedule import AFTER_BACKUP, parse_schedule
from guardian.daemon.app import App
from guardian.daemon.overview import DatabaseStatus, database_statuses
from guardian.escalate.digest import Protection
from guardian.escalate.handoff import Handoff, Planned, make_handoff
from guardian.escalate.set_times import SetTimes
from guardian.model import DatabaseRef, ProofResult, RunStatus
from guardian.units import counted

_EVENTS = 5000
_TRIES = 1000
_DRILLS = 1000


def gather_handoff(app: App, lately: timedelta) -> Handoff:
    """The handoff now, looking back for so long. Raises CatalogError."""
    catalog, now = app.catalog, app.clock.now()
    since = now - lately
    statuses = database_statuses(app)
    known = {one.id: one for one in (*catalog.open_incidents(), *catalog.incidents(since=since))}
    return make_handoff(
        now,
        since,
        incidents=known.values(),
        events=catalog.events(_EVENTS),
        silences=catalog.silences(now),
        channels=catalog.channel_health(),
        outstanding=catalog.outstanding(),
        planned=_planned(app, statuses, now),
        more_to_watch=_to_watch(statuses),
    )


def protections(app: App, since: datetime) -> list[Protection]:
    """How each database is protected, and what was done for it since then. Raises CatalogError."""
    return [_protection(app, one, since) for one in database_statuses(app)]


def _protection(app: App, status: DatabaseStatus, since: datetime) -> Protection:
    ref = status.ref
    tries = [
        one
        for one in app.catalog.tries(ref.server, ref.database, limit=_TRIES)
        if one.started_at >= since
    ]
    drills = [one for one in app.catalog.drills(ref, _DRILLS) if one.at >= since]
    good = next(
        (
            one.snapshot_at
            for one in app.catalog.backups(ref.server, ref.database)
            if one.proven is not False
        ),
        None,
    )
    proven = status.last_proven
    return Protection(
        name=str(ref),
        made=sum(one.status is RunStatus.SUCCEEDED for one in tries),
        failed=sum(one.status is RunStatus.FAILED for one in tries),
        drills_passed=sum(one.result is ProofResult.PROVEN for one in drills),
        last_good_at=good,
        last_proven_at=None if proven is None else proven.snapshot_at,
    )


def _to_watch(statuses: Iterable[DatabaseStatus]) -> Iterator[str]:
    for one in statuses:
        if one.consecutive_failures:
            failed = counted(one.consecutive_failures, "time")
            yield f"{one.ref}: failed {failed} since the last success"
        if one.last is None:
            yield f"{one.ref}: there is no backup"
        elif one.last_proven is None:
            yield f"{one.ref}: no backup has ever been proven"
        if one.running is not None:
            yield f"{one.ref}: being backed up by {one.running}"


def _planned(app: App, statuses: Iterable[DatabaseStatus], now: datetime) -> Iterator[Planned]:
    for one in statuses:
        if one.next_at is not None:
            yield Planned(one.next_at, f"backup of {one.ref}{_then_drill(app, one.ref)}")
    for name, server in app.config.servers.items():
        if (text := server.verify.schedule) is not None and text != AFTER_BACKUP:
            zone = ZoneInfo(server.verify.timezone)
            yield Planned(parse_schedule(text).next_after(now, zone), f"drills of {name}")
    yield from told_at_set_times(app, now)


def told_at_set_times(app: App, now: datetime) -> Sequence[Planned]:
    """When the digest and the self-test are told next. Raises CatalogError."""
    rules = app.config.escalation.to_rules()
    return list(SetTimes(app.catalog, now).planned(now, rules))


def _then_drill(app: App, ref: DatabaseRef) -> str:
    server = app.config.servers.get(ref.server)
    return ", then its drill" if server and server.verify.schedule == AFTER_BACKUP else ""
