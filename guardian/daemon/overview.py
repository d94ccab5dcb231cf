"""How each database stands: from the catalog and the schedule, without asking any server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from guardian.adapters.postgres.source import ALL_DATABASES
from guardian.backup.schedule import parse_schedule
from guardian.daemon.app import App
from guardian.daemon.listing import recall_listing
from guardian.model import BackupRecord, DatabaseRef, RunStatus


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One database. ``running`` names who backs it up now, ``next_at`` is the schedule's next.

    ``configured``: it is to be backed up; else it only has backups from when it was.
    """

    ref: DatabaseRef
    last: BackupRecord | None
    last_proven: BackupRecord | None
    backups: int
    consecutive_failures: int
    last_error: str | None
    overdue: bool
    running: str | None
    next_at: datetime | None
    configured: bool = True


@dataclass(slots=True)
class _Found:
    """What a status needs of a database's backups: they may be many."""

    newest: BackupRecord | None = None
    newest_proven: BackupRecord | None = None
    count: int = 0

    def add(self, record: BackupRecord) -> None:
        """The next older one."""
        self.count += 1
        self.newest = self.newest or record
        if record.proven:
            self.newest_proven = self.newest_proven or record


def database_statuses(app: App) -> list[DatabaseStatus]:
    """Every configured database, and every other one that has backups."""
    found: dict[DatabaseRef, _Found] = {}
    for record in app.catalog.each_backup():
        found.setdefault(record.ref, _Found()).add(record)
    running = {
        lease.name.removeprefix("backup:"): str(lease.holder)
        for lease in app.catalog.leases("backup:")
    }
    known = {*found, *_tried(app)}
    configured = _configured(app, known)
    # What was only tried (a name that somebody mistyped) would else never go away.
    return [
        _status(app, ref, found.get(ref, _Found()), running.get(str(ref)), ref in configured)
        for ref in sorted({*found, *configured})
    ]


def _configured(app: App, known: Iterable[DatabaseRef]) -> set[DatabaseRef]:
    """Those to be backed up; of a server with all of them, those that it last told of."""
    found = set()
    for name, server in app.config.servers.items():
        names: Iterable[str] = server.databases or [app.connector(name).default_database]
        if ALL_DATABASES in names:
            excluded = app.source(name).is_excluded
            listed = recall_listing(app, name).names
            seen = {one.database for one in known if one.server == name}
            names = [one for one in (seen if listed is None else listed) if not excluded(one)]
        found |= {DatabaseRef(name, one) for one in names}
    return found


def _tried(app: App) -> set[DatabaseRef]:
    return {record.ref for record in app.catalog.tries(limit=200)}


def _status(
    app: App,
    ref: DatabaseRef,
    found: _Found,
    running: str | None,
    configured: bool,  # noqa: FBT001 - all that is known of it
) -> DatabaseStatus:
    last = found.newest
    failures = app.catalog.consecutive_failures(ref)
    next_at, overdue = _timing(app, ref, last) if configured else (None, False)
    return DatabaseStatus(
        ref=ref,
        last=last,
        last_proven=found.newest_proven,
        backups=found.count,
        consecutive_failures=failures,
        last_error=_last_error(app, ref) if failures else None,
        overdue=overdue,
        running=running,
        next_at=next_at,
        configured=configured,
    )


def _last_error(app: App, ref: DatabaseRef) -> str | None:
    for record in app.catalog.tries(ref.server, ref.database, limit=20):
        if record.status is RunStatus.FAILED:
            return record.error
    return None


def _timing(app: App, ref: DatabaseRef, last: BackupRecord | None) -> tuple[datetime | None, bool]:
    section = app.config.servers.get(ref.server)
    if section is None or section.backup.schedule is None:
        return None, False
    schedule = parse_schedule(section.backup.schedule)
    zone = ZoneInfo(section.backup.timezone)
    now = app.clock.now()
    overdue = last is not None and schedule.overdue(
        last.started_at, now, schedule.interval_hint() / 2, zone
    )
    return schedule.next_after(now, zone), overdue
