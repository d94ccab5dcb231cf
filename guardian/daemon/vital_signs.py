"""Vital signs that no server tells: backups from the catalog, file systems from this host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from weakref import WeakKeyDictionary

from guardian.backup.schedule import parse_schedule
from guardian.daemon.app import App
from guardian.errors import CatalogError
from guardian.model import BackupRecord, DatabaseRef
from guardian.watch.readings import Reading, Unknown, backup_age, disk, size_drop

_SCRATCH_FACTOR = 1.2
"""So many times the size of a database a throw-away server needs."""
_LASTS_SECONDS = 30.0
_LATEST: WeakKeyDictionary[App, tuple[float, Sequence[BackupRecord]]] = WeakKeyDictionary()
"""The newest backup of every database, read for all servers' looks at once, and when that was."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One of ours, and what lies on it. ``free_bytes`` is what we may still use, as ``df`` counts.

    ``needed_bytes`` is about what the next backups, and a drill, will write there. ``error`` says
    why nothing else is known.
    """

    path: Path
    used_for: tuple[str, ...]
    used_bytes: int = 0
    free_bytes: int = 0
    needed_bytes: int | None = None
    error: str | None = None

    @property
    def used_percent(self) -> float | None:
        """As ``df`` counts, None when it is not known."""
        whole = self.used_bytes + self.free_bytes
        return 100.0 * self.used_bytes / whole if whole > 0 else None

    @property
    def reading(self) -> Reading | Unknown:
        """Itself as a vital."""
        subject = f"{self.path} ({', '.join(self.used_for)})"
        if self.error is not None:
            return Unknown("disk", self.error, None, subject)
        return disk(
            subject,
            used_bytes=self.used_bytes,
            free_bytes=self.free_bytes,
            needed_bytes=self.needed_bytes,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    used_for: str
    needed_bytes: int | None = None


def file_systems(app: App, server: str) -> list[FileSystem]:
    """Those on which guardian keeps what belongs to one server."""
    groups: dict[int, list[_Place]] = {}
    lost = []
    for place in _places(app, server):
        try:
            groups.setdefault(_existing(place.path).stat().st_dev, []).append(place)
        except OSError as error:
            reason = error.strerror or str(error)
            lost.append(FileSystem(place.path, (place.used_for,), error=reason))
    return [*(_measured(places) for places in groups.values()), *lost]


def backup_readings(app: App, server: str) -> list[Reading | Unknown]:
    """Age and size of the last backups of each database of one server."""
    section = app.server(server)
    schedule = section.backup.schedule
    interval = None if schedule is None else parse_schedule(schedule).interval_hint()
    found: list[Reading | Unknown] = []
    for ref in _databases(app, server):
        records = app.catalog.backups(ref.server, ref.database)
        found.append(_age(app, ref, records, interval))
        proven = next((one for one in records if one.proven), None)
        found.append(
            size_drop(
                str(ref),
                dumped_bytes=records[0].dumped_bytes if records else None,
                proven_bytes=proven.dumped_bytes if proven else None,
            )
        )
    return found


def _age(
    app: App, ref: DatabaseRef, records: Sequence[BackupRecord], interval: timedelta | None
) -> Reading | Unknown:
    now = app.clock.now()
    good = next((one for one in records if one.proven is not False), None)
    if good is not None:  # then nobody asks since when: every try would be read for it
        first_try = good.started_at
    else:
        tries = app.catalog.tries(ref.server, ref.database)
        first_try = min((one.started_at for one in tries), default=now)
    return backup_age(
        str(ref),
        last_good=None if good is None else now - (good.snapshot_at or good.started_at),
        known_for=now - first_try,
        interval=interval,
    )


def _databases(app: App, server: str) -> list[DatabaseRef]:
    """The configured ones, and those that have backups."""
    names = app.server(server).databases or [app.connector(server).default_database]
    configured = {DatabaseRef(server, name) for name in names if name != "*"}
    return sorted(configured | {one.ref for one in app.catalog.newest_backups(server)})


def _places(app: App, server: str) -> Iterable[_Place]:
    """Where something of ours lies, and how much more will come there."""
    section = app.server(server)
    yield _Place(app.config.state_dir, "state_dir")
    latest = _latest(app)
    for name in section.backup.stores:
        store = app.config.stores[name]
        if store.kind == "local":
            stored = [one.stored_bytes for one in latest if name in one.stores]
            yield _Place(store.path, f"store {name}", sum(stored) or None)
    if section.verify.scratch.get_secret_value() == "embedded":
        dumped = max((one.dumped_bytes for one in latest if one.ref.server == server), default=0)
        folder = section.verify.scratch_dir or Path(tempfile.gettempdir())
        yield _Place(folder, "scratch", int(_SCRATCH_FACTOR * dumped) or None)


def _latest(app: App) -> Sequence[BackupRecord]:
    """The newest backup of each database; none when the catalog cannot be read, told elsewhere."""
    now = app.clock.monotonic()
    at, found = _LATEST.get(app, (now - _LASTS_SECONDS, ()))
    if now - at >= _LASTS_SECONDS:
        try:
            found = app.catalog.newest_backups()
        except CatalogError:
            return []
        _LATEST[app] = (now, found)
    return found


def _existing(path: Path) -> Path:
    """The path, or where it will be made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _measured(places: Sequence[_Place]) -> FileSystem:
    numbers = os.statvfs(_existing(places[0].path))
    needed = sum(one.needed_bytes or 0 for one in places)
    return FileSystem(
        path=places[0].path,
        used_for=tuple(one.used_for for one in places),
        used_bytes=(numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize,
        free_bytes=numbers.f_bavail * numbers.f_frsize,
        needed_bytes=needed or None,
    )
