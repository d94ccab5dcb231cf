"""The part of the catalog in a database that tells of many backups at once.

Each answer is a query or two, however many databases and nights there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, or_, select

from guardian.adapters.catalog import backups
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import BACKUPS, COPIES, PINS, PROOFS
from guardian.backup.history import (
    BackupFilter,
    BackupPage,
    DrillPoint,
    Standing,
    TryPoint,
    Wanted,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef, ProofResult, RunStatus, StoreStatus

_SUCCEEDED = BACKUPS.c.status == RunStatus.SUCCEEDED.value
_LIES = backups.LIES_SOMEWHERE
_CONDITIONS: dict[Wanted, Any] = {
    Wanted.BACKUPS: _LIES,
    Wanted.PROVEN: and_(_LIES, BACKUPS.c.proven.is_(True)),
    Wanted.UNPROVEN: and_(_LIES, BACKUPS.c.proven.is_(None)),
    Wanted.REFUTED: and_(_LIES, BACKUPS.c.proven.is_(False)),
    Wanted.FAILED: BACKUPS.c.status.in_([RunStatus.FAILED.value, RunStatus.INTERRUPTED.value]),
    Wanted.RUNNING: BACKUPS.c.status == RunStatus.RUNNING.value,
    Wanted.KEPT: exists().where(PINS.c.backup_id == BACKUPS.c.id),
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
            BACKUPS.c.id,
            BACKUPS.c.server,
            BACKUPS.c.database,
            BACKUPS.c.status,
            BACKUPS.c.started_at,
            BACKUPS.c.proven,
            BACKUPS.c.stored_bytes,
            BACKUPS.c.dumped_bytes,
        )
        query = query.where(BACKUPS.c.started_at >= since, *_of(ref))
        query = query.order_by(BACKUPS.c.started_at.desc(), BACKUPS.c.number.desc()).limit(limit)
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
                PROOFS.c.backup_id,
                BACKUPS.c.server,
                BACKUPS.c.database,
                PROOFS.c.at,
                PROOFS.c.result,
                PROOFS.c.fetch_seconds,
                PROOFS.c.restore_seconds,
                PROOFS.c.seconds,
            )
            .join(BACKUPS, BACKUPS.c.id == PROOFS.c.backup_id)
            .where(PROOFS.c.at >= since, *_of(ref))
            .order_by(PROOFS.c.at.desc(), PROOFS.c.number.desc())
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
        count = select(func.count(BACKUPS.c.number)).where(*conditions)
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
        select(
            BACKUPS.c.server, BACKUPS.c.database, func.min(BACKUPS.c.started_at).label("first_at")
        )
        .group_by(BACKUPS.c.server, BACKUPS.c.database)
        .subquery()
    )

    def newest(*conditions: Any) -> Any:
        one = BACKUPS.alias()
        adapted = [condition(one) for condition in conditions]
        return (
            select(one.c.id)
            .where(one.c.server == refs.c.server, one.c.database == refs.c.database, *adapted)
            .order_by(one.c.started_at.desc(), one.c.number.desc())
            .limit(1)
            .correlate(refs)
            .scalar_subquery()
        )

    return select(
        refs,
        newest().label("last_try"),
        newest(_lies_somewhere).label("last"),
        newest(_lies_somewhere, lambda one: one.c.proven.is_(True)).label("last_proven"),
        _failures(refs).label("failures"),
    ).order_by(refs.c.server, refs.c.database)


def _lies_somewhere(one: Any) -> Any:
    return and_(
        one.c.status == RunStatus.SUCCEEDED.value,
        exists().where(
            COPIES.c.backup_id == one.c.id,
            COPIES.c.status == StoreStatus.SUCCEEDED.value,
            COPIES.c.deleted_at.is_(None),
        ),
    )


def _failures(refs: Any) -> Any:
    """Failed tries that began after the last that succeeded, for each database."""
    failed, good = BACKUPS.alias(), BACKUPS.alias()
    last_success = (
        select(func.max(good.c.started_at))
        .where(
            good.c.server == refs.c.server,
            good.c.database == refs.c.database,
            good.c.status == RunStatus.SUCCEEDED.value,
        )
        .correlate(refs)
        .scalar_subquery()
    )
    return (
        select(func.count(failed.c.number))
        .where(
            failed.c.server == refs.c.server,
            failed.c.database == refs.c.database,
            failed.c.status == RunStatus.FAILED.value,
            or_(last_success.is_(None), failed.c.started_at > last_success),
        )
        .correlate(refs)
        .scalar_subquery()
    )


def _by_id(connection: Connection, ids: set[str | None]) -> dict[str, BackupRecord]:
    wanted = sorted(one for one in ids if one is not None)
    if not wanted:
        return {}
    found = backups.listing(connection, BACKUPS.c.id.in_(wanted))
    return {str(one.id): one for one in found}


def _of(ref: DatabaseRef | None) -> list[Any]:
    return (
        [] if ref is None else [BACKUPS.c.server == ref.server, BACKUPS.c.database == ref.database]
    )


def _conditions(wanted: BackupFilter) -> list[Any]:
    found: list[Any] = []
    if wanted.wanted in _CONDITIONS:
        found.append(_CONDITIONS[wanted.wanted])
    if wanted.server is not None:
        found.append(BACKUPS.c.server == wanted.server)
    if wanted.database is not None:
        found.append(BACKUPS.c.database == wanted.database)
    if wanted.store is not None:
        found.append(
            exists().where(
                COPIES.c.backup_id == BACKUPS.c.id,
                COPIES.c.store == wanted.store,
                COPIES.c.status == StoreStatus.SUCCEEDED.value,
                COPIES.c.deleted_at.is_(None),
            )
        )
    if wanted.id_prefix:
        found.append(func.substr(BACKUPS.c.id, 1, len(wanted.id_prefix)) == wanted.id_prefix)
    return found
