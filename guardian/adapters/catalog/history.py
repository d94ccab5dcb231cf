"""The part of the catalog in a database that tells of many backups at once.

Each answer is a query or two, however many databases and nights there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, or_, select
from sqlalchemy.orm import aliased

from guardian.adapters.catalog import backups
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import Backup, Copy, Pin, Proof
from guardian.backup.history import (
    BackupFilter,
    BackupPage,
    DrillPoint,
    Standing,
    TryPoint,
    Wanted,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef, ProofResult, RunStatus, StoreStatus

_SUCCEEDED = Backup.status == RunStatus.SUCCEEDED.value
_LIES = backups.LIES_SOMEWHERE
_CONDITIONS: dict[Wanted, Any] = {
    Wanted.BACKUPS: _LIES,
    Wanted.PROVEN: and_(_LIES, Backup.proven.is_(True)),
    Wanted.UNPROVEN: and_(_LIES, Backup.proven.is_(None)),
    Wanted.REFUTED: and_(_LIES, Backup.proven.is_(False)),
    Wanted.FAILED: Backup.status.in_([RunStatus.FAILED.value, RunStatus.INTERRUPTED.value]),
    Wanted.RUNNING: Backup.status == RunStatus.RUNNING.value,
    Wanted.KEPT: exists().where(Pin.backup_id == Backup.id),
    Wanted.PRUNED: and_(_SUCCEEDED, ~_LIES),
}


class SqlHistory:
    """Calendars, trends and lists; see :class:`~guardian.backup.history.BackupHistory`."""

    _database: Database

    def standings(self) -> Sequence[Standing]:
        """Every database that was ever tried, in order of server and database."""
        with self._database.reading() as connection:
            rows = connection.execute(_standings()).all()
            wanted = {one for row in rows for one in (row.last_try, row.last, row.last_proven)}
            records = _by_id(connection, wanted)
        return [
            Standing(
                ref=DatabaseRef(row.server, row.database),
                first_at=row.first_at,
                last_try=records[row.last_try],
                last=records.get(row.last),
                last_proven=records.get(row.last_proven),
                failures=row.failures,
            )
            for row in rows
        ]

    def try_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[TryPoint]:
        """Tries that began at or after that, oldest first; with ``limit``, the newest of them."""
        query = select(
            Backup.id,
            Backup.server,
            Backup.database,
            Backup.status,
            Backup.started_at,
            Backup.proven,
            Backup.stored_bytes,
            Backup.dumped_bytes,
        )
        query = query.where(Backup.started_at >= since, *_of(ref))
        query = query.order_by(Backup.started_at.desc(), Backup.number.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        refs = _Refs()
        return [
            TryPoint(
                BackupId(row.id),
                refs[row.server, row.database],
                RunStatus(row.status),
                row.started_at,
                row.proven,
                row.stored_bytes,
                row.dumped_bytes,
            )
            for row in reversed(rows)
        ]

    def drill_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[DrillPoint]:
        """Drills that ended at or after that, oldest first; with ``limit``, the newest of them."""
        query = (
            select(
                Proof.backup_id,
                Backup.server,
                Backup.database,
                Proof.at,
                Proof.result,
                Proof.fetch_seconds,
                Proof.restore_seconds,
                Proof.seconds,
            )
            .join(Backup, Backup.id == Proof.backup_id)
            .where(Proof.at >= since, *_of(ref))
            .order_by(Proof.at.desc(), Proof.number.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        refs = _Refs()
        return [
            DrillPoint(
                BackupId(row.backup_id),
                refs[row.server, row.database],
                row.at,
                ProofResult(row.result),
                row.fetch_seconds,
                row.restore_seconds,
                row.seconds,
            )
            for row in reversed(rows)
        ]

    def backup_page(self, wanted: BackupFilter, limit: int, offset: int = 0) -> BackupPage:
        """So many of a list, newest start first, and its length, as of one instant."""
        conditions = _conditions(wanted)
        count = select(func.count(Backup.number)).where(*conditions)
        with self._database.reading() as connection:
            total = connection.execute(count).scalar_one()
            records = backups.listing(
                connection, *conditions, limit=limit, offset=offset, by_start=True
            )
        return BackupPage(records, total)


class _Refs(dict[tuple[str, str], DatabaseRef]):
    """One DatabaseRef for all rows of a database."""

    def __missing__(self, key: tuple[str, str]) -> DatabaseRef:
        return self.setdefault(key, DatabaseRef(*key))


def _standings() -> Select[Any]:
    """One row a database. Each inner question is answered by the index on its newest starts."""
    refs = (
        select(Backup.server, Backup.database, func.min(Backup.started_at).label("first_at"))
        .group_by(Backup.server, Backup.database)
        .subquery()
    )

    def newest(*conditions: Any) -> Any:
        one = aliased(Backup)
        adapted = [condition(one) for condition in conditions]
        return (
            select(one.id)
            .where(one.server == refs.c.server, one.database == refs.c.database, *adapted)
            .order_by(one.started_at.desc(), one.number.desc())
            .limit(1)
            .correlate(refs)
            .scalar_subquery()
        )

    return select(
        refs,
        newest().label("last_try"),
        newest(_lies_somewhere).label("last"),
        newest(_lies_somewhere, lambda one: one.proven.is_(True)).label("last_proven"),
        _failures(refs).label("failures"),
    ).order_by(refs.c.server, refs.c.database)


def _lies_somewhere(one: Any) -> Any:
    return and_(
        one.status == RunStatus.SUCCEEDED.value,
        exists().where(
            Copy.backup_id == one.id,
            Copy.status == StoreStatus.SUCCEEDED.value,
            Copy.deleted_at.is_(None),
        ),
    )


def _failures(refs: Any) -> Any:
    """Failed tries that began after the last that succeeded, for each database."""
    failed, good = aliased(Backup), aliased(Backup)
    last_success = (
        select(func.max(good.started_at))
        .where(
            good.server == refs.c.server,
            good.database == refs.c.database,
            good.status == RunStatus.SUCCEEDED.value,
        )
        .correlate(refs)
        .scalar_subquery()
    )
    return (
        select(func.count(failed.number))
        .where(
            failed.server == refs.c.server,
            failed.database == refs.c.database,
            failed.status == RunStatus.FAILED.value,
            or_(last_success.is_(None), failed.started_at > last_success),
        )
        .correlate(refs)
        .scalar_subquery()
    )


def _by_id(connection: Connection, ids: set[str | None]) -> dict[str, BackupRecord]:
    wanted = sorted(one for one in ids if one is not None)
    if not wanted:
        return {}
    found = backups.listing(connection, Backup.id.in_(wanted))
    return {str(one.id): one for one in found}


def _of(ref: DatabaseRef | None) -> list[Any]:
    return [] if ref is None else [Backup.server == ref.server, Backup.database == ref.database]


def _conditions(wanted: BackupFilter) -> list[Any]:
    found: list[Any] = []
    if wanted.wanted in _CONDITIONS:
        found.append(_CONDITIONS[wanted.wanted])
    if wanted.server is not None:
        found.append(Backup.server == wanted.server)
    if wanted.database is not None:
        found.append(Backup.database == wanted.database)
    if wanted.store is not None:
        found.append(
            exists().where(
                Copy.backup_id == Backup.id,
                Copy.store == wanted.store,
                Copy.status == StoreStatus.SUCCEEDED.value,
                Copy.deleted_at.is_(None),
            )
        )
    if wanted.id_prefix:
        found.append(func.substr(Backup.id, 1, len(wanted.id_prefix)) == wanted.id_prefix)
    return found
