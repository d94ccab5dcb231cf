"""Tries, backups and their copies as rows. Each function runs in a transaction of its caller."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, insert, or_, select, update

from guardian.adapters.catalog import rows, rules
from guardian.adapters.catalog.models import BACKUPS, COPIES, MANIFESTS, PINS, PROOFS
from guardian.backup.manifest import encode_manifest
from guardian.errors import Cause
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Lease,
    Manifest,
    ProofLevel,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)

_COLUMNS = [
    *(one for one in BACKUPS.c if one.name not in {"lease_token", "holder"}),
    exists().where(PINS.c.backup_id == BACKUPS.c.id).label("pinned"),
    PROOFS.c.fetch_seconds,
    PROOFS.c.restore_seconds,
    PROOFS.c.compare_seconds,
    PROOFS.c.seconds.label("drilled_seconds"),
    PROOFS.c.tables.label("drilled_tables"),
    PROOFS.c.rows.label("drilled_rows"),
]
_DRILLS = PROOFS.alias()
_DECIDES = (
    select(func.max(_DRILLS.c.number))
    .where(
        _DRILLS.c.backup_id == BACKUPS.c.id,
        _DRILLS.c.at == BACKUPS.c.proven_at,
        _DRILLS.c.result != ProofResult.INCONCLUSIVE.value,
    )
    .correlate(BACKUPS)
    .scalar_subquery()
)
"""The number of the drill that a backup's ``proven`` is of."""
LIES_SOMEWHERE = and_(
    BACKUPS.c.status == RunStatus.SUCCEEDED.value,
    exists().where(
        COPIES.c.backup_id == BACKUPS.c.id,
        COPIES.c.status == StoreStatus.SUCCEEDED.value,
        COPIES.c.deleted_at.is_(None),
    ),
)
_NEWEST_SNAPSHOT = (BACKUPS.c.snapshot_at.desc(), BACKUPS.c.number.desc())
_NEWEST_START = (BACKUPS.c.started_at.desc(), BACKUPS.c.number.desc())


def listing(
    connection: Connection,
    *conditions: Any,
    server: str | None = None,
    database: str | None = None,
    limit: int | None = None,
    offset: int = 0,
    by_start: bool = False,
) -> list[BackupRecord]:
    """Records in order, in two queries however many they are."""
    chosen: Select[Any] = (
        select(*_COLUMNS)
        .select_from(BACKUPS)
        .outerjoin(PROOFS, PROOFS.c.number == _DECIDES)
        .where(*conditions)
    )
    if server is not None:
        chosen = chosen.where(BACKUPS.c.server == server)
    if database is not None:
        chosen = chosen.where(BACKUPS.c.database == database)
    chosen = chosen.order_by(*(_NEWEST_START if by_start else _NEWEST_SNAPSHOT)).limit(limit)
    if offset:
        chosen = chosen.offset(offset)
    copies = (
        select(COPIES)
        .where(COPIES.c.backup_id.in_(select(chosen.subquery().c.id)))
        .order_by(COPIES.c.backup_id, COPIES.c.position)
    )
    of_backup: dict[str, list[Any]] = defaultdict(list)
    for copy in connection.execute(copies).all():
        of_backup[copy.backup_id].append(copy)
    return [rows.backup_record(row, of_backup[row.id]) for row in connection.execute(chosen).all()]


def in_stores(
    connection: Connection, server: str | None, database: str | None, limit: int | None
) -> list[BackupRecord]:
    """Backups that lie in at least one store, newest snapshot first."""
    return listing(connection, LIES_SOMEWHERE, server=server, database=database, limit=limit)


def order_of(connection: Connection, server: str | None, database: str | None) -> Sequence[int]:
    """The numbers of all backups that lie in at least one store, newest snapshot first."""
    query = select(BACKUPS.c.number).where(LIES_SOMEWHERE)
    if server is not None:
        query = query.where(BACKUPS.c.server == server)
    if database is not None:
        query = query.where(BACKUPS.c.database == database)
    return array("q", connection.execute(query.order_by(*_NEWEST_SNAPSHOT)).scalars())


def numbered(connection: Connection, numbers: Sequence[int]) -> list[BackupRecord]:
    """Those of these backups that still lie in a store, newest snapshot first."""
    return listing(connection, LIES_SOMEWHERE, BACKUPS.c.number.in_(list(numbers)))


def newest_of_each(connection: Connection, server: str | None) -> list[BackupRecord]:
    """The newest snapshot of each database that lies in at least one store, newest first."""
    place = func.row_number().over(
        partition_by=(BACKUPS.c.server, BACKUPS.c.database), order_by=_NEWEST_SNAPSHOT
    )
    ranked = select(BACKUPS.c.number, place.label("place")).where(LIES_SOMEWHERE)
    if server is not None:
        ranked = ranked.where(BACKUPS.c.server == server)
    found = ranked.subquery()
    newest = select(found.c.number).where(found.c.place == 1)
    return listing(connection, BACKUPS.c.number.in_(newest))


def proven_before(
    connection: Connection, ref: DatabaseRef, instant: datetime
) -> BackupRecord | None:
    """The newest backup of a snapshot before that instant that is proven and lies in a store."""
    found = listing(
        connection,
        LIES_SOMEWHERE,
        BACKUPS.c.proven.is_(True),
        BACKUPS.c.snapshot_at < instant,
        server=ref.server,
        database=ref.database,
        limit=1,
    )
    return next(iter(found), None)


def by_prefix(connection: Connection, prefix: str) -> list[BackupRecord]:
    """Those whose id starts so, case and all (LIKE differs between databases in that)."""
    matches = func.substr(BACKUPS.c.id, 1, len(prefix)) == prefix
    return listing(connection, LIES_SOMEWHERE, matches)


def one(connection: Connection, backup: BackupId) -> BackupRecord | None:
    """One try or backup."""
    return next(iter(listing(connection, BACKUPS.c.id == backup)), None)


def begin(
    connection: Connection, backup: BackupId, ref: DatabaseRef, at: datetime, lease: Lease
) -> None:
    """A try that runs."""
    if connection.scalar(select(BACKUPS.c.id).where(BACKUPS.c.id == backup)) is not None:
        raise rules.taken(backup)
    connection.execute(
        insert(BACKUPS).values(
            id=backup,
            server=ref.server,
            database=ref.database,
            status=RunStatus.RUNNING.value,
            started_at=at,
            stored_bytes=0,
            dumped_bytes=0,
            proof=ProofLevel.NONE.value,
            lease_token=lease.token,
            holder=str(lease.holder),
        )
    )


def succeed(connection: Connection, manifest: Manifest, copies: list[dict[str, Any]]) -> None:
    """Write down a backup that lies in stores, whatever was known of it before."""
    values = rows.manifest_values(manifest)
    changed = connection.execute(update(BACKUPS).where(BACKUPS.c.id == manifest.id).values(values))
    if not changed.rowcount:
        connection.execute(insert(BACKUPS).values(id=manifest.id, **values))
    text = {"manifest": encode_manifest(manifest).decode()}
    put(connection, MANIFESTS, {"backup_id": manifest.id}, text)
    put_copies(connection, manifest.id, copies)


def put_copies(connection: Connection, backup: BackupId, copies: list[dict[str, Any]]) -> None:
    """Write down what became of a backup in stores, over what was known before."""
    for values in copies:
        put(connection, COPIES, {"backup_id": backup, "store": values["store"]}, values)


def next_position(connection: Connection, backup: BackupId, store: str) -> int:
    """Where a store stands in the order of a backup's stores: as before, or last."""
    query = select(COPIES.c.store, COPIES.c.position).where(COPIES.c.backup_id == backup)
    known: dict[str, int] = {row.store: row.position for row in connection.execute(query)}
    return known.get(store, max(known.values(), default=-1) + 1)


def fail(
    connection: Connection,
    backup: BackupId,
    status: RunStatus,
    at: datetime,
    cause: Cause,
    message: str,
    outcomes: Sequence[StoreOutcome],
) -> None:
    """End a try that did not succeed."""
    found = connection.scalar(
        select(BACKUPS.c.status).where(BACKUPS.c.id == backup).with_for_update()
    )
    if found is None:
        raise rules.unknown(backup)
    if found == RunStatus.SUCCEEDED.value:
        return
    end(connection, backup, status, at, cause, message)
    # Nothing lies anywhere, even where a store had done its part: the run takes that back.
    copies = [
        {**rows.copy_values(position, one), "deleted_at": at}
        for position, one in enumerate(outcomes)
    ]
    put_copies(connection, backup, copies)


def end(
    connection: Connection,
    backup: BackupId,
    status: RunStatus,
    at: datetime,
    cause: Cause,
    message: str,
) -> None:
    """Set how a try ended."""
    connection.execute(
        update(BACKUPS)
        .where(BACKUPS.c.id == backup)
        .values(status=status.value, finished_at=at, cause=cause.value, error=message)
    )


def running_locked(connection: Connection, ref: DatabaseRef | None) -> list[Any]:
    """The rows of tries that run; none of them ends before this transaction does."""
    query = select(BACKUPS.c.id, BACKUPS.c.lease_token, BACKUPS.c.holder).where(
        BACKUPS.c.status == RunStatus.RUNNING.value
    )
    if ref is not None:
        query = query.where(BACKUPS.c.server == ref.server, BACKUPS.c.database == ref.database)
    return list(connection.execute(query.order_by(BACKUPS.c.number).with_for_update()))


def failures(connection: Connection, ref: DatabaseRef) -> int:
    """Failed tries that began after the last that succeeded."""
    later = BACKUPS.alias()
    succeeded_later = exists().where(
        later.c.server == ref.server,
        later.c.database == ref.database,
        later.c.status == RunStatus.SUCCEEDED.value,
        or_(
            later.c.started_at > BACKUPS.c.started_at,
            and_(later.c.started_at == BACKUPS.c.started_at, later.c.number > BACKUPS.c.number),
        ),
    )
    query = select(func.count(BACKUPS.c.number)).where(
        BACKUPS.c.server == ref.server,
        BACKUPS.c.database == ref.database,
        BACKUPS.c.status == RunStatus.FAILED.value,
        ~succeeded_later,
    )
    return connection.execute(query).scalar_one()


def require(connection: Connection, backup: BackupId) -> None:
    """Raise NotFoundError unless the backup is known; lock its row."""
    query = select(BACKUPS.c.id).where(BACKUPS.c.id == backup).with_for_update()
    if connection.scalar(query) is None:
        raise rules.unknown(backup)


def put(connection: Connection, table: Any, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row with that key, or insert it.

    The caller has locked the backup's row, so nobody inserts beside us.
    """
    changed = connection.execute(update(table).filter_by(**key).values(**values))
    if not changed.rowcount:
        connection.execute(insert(table).values(**{**key, **values}))
