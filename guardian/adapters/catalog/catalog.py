"""The catalog in a database: SQLite by default, PostgreSQL where several hosts share it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Select, delete, insert, select, update

from guardian.adapters.catalog import backups, leases, rows, rules
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.escalation import SqlEscalation
from guardian.adapters.catalog.history import SqlHistory
from guardian.adapters.catalog.models import BACKUPS, COPIES, EVENTS, MANIFESTS, PINS, PROOFS
from guardian.adapters.catalog.schema import ensure_schema
from guardian.adapters.catalog.trend import SqlTrend
from guardian.adapters.catalog.watch import SqlWatch
from guardian.backup.manifest import decode_manifest
from guardian.errors import Cause
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Event,
    Holder,
    Lease,
    Manifest,
    ProofRecord,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.ports import Clock

BUSY_TIMEOUT = timedelta(seconds=10)

_CHUNK = 500
"""Records in one query: SQLite took 999 parameters for a long time."""

_One = TypeVar("_One")


def open_catalog(
    url: str,
    *,
    clock: Clock,
    is_alive: rules.IsAlive,
    create: bool = True,
    busy_timeout: timedelta = BUSY_TIMEOUT,
) -> SqlCatalog:
    """Open the catalog at a SQLAlchemy URL, and bring its schema to ours.

    With ``create`` a missing one is made. ``is_alive`` tells whether a lease's holder runs.
    ``busy_timeout`` is how long one transaction waits for another.

    Raises:
        CatalogError: it cannot be reached, read, written or migrated, or is of a newer guardian.
    """
    database = Database(url, clock=clock, busy_timeout=busy_timeout)
    try:
        ensure_schema(database, create=create)
    except BaseException:
        database.close()
        raise
    return SqlCatalog(database, is_alive)


class SqlCatalog(SqlWatch, SqlEscalation, SqlHistory, SqlTrend):
    """A :class:`~guardian.ports.Catalog`, and what else is kept in one. For any thread."""

    def __init__(self, database: Database, is_alive: rules.IsAlive) -> None:
        self._database = database
        self._is_alive = is_alive

    @property
    def place(self) -> str:
        """Where it is, for people: the file, or host and database."""
        return self._database.place

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    # --- tries and backups ---

    def begin_backup(self, backup: BackupId, ref: DatabaseRef, at: datetime, lease: Lease) -> None:
        """Note a try that begins now. Raises CatalogError when the id is taken."""
        with self._database.writing() as connection:
            backups.begin(connection, backup, ref, at, lease)

    def commit_backup(self, manifest: Manifest, outcomes: Sequence[StoreOutcome]) -> None:
        """The try succeeded: a manifest lies in at least one store."""
        copies = [rows.copy_values(at, one) for at, one in enumerate(rules.checked(outcomes))]
        with self._database.writing() as connection:
            backups.succeed(connection, manifest, copies)

    def import_manifest(
        self, manifest: Manifest, store: str, locked_until: datetime | None = None
    ) -> None:
        """Take in what a store holds: this backup lies there, whole."""
        found = StoreOutcome(store, StoreStatus.SUCCEEDED, locked_until=locked_until)
        with self._database.writing() as connection:
            position = backups.next_position(connection, manifest.id, store)
            backups.succeed(connection, manifest, [rows.copy_values(position, found)])

    def fail_backup(
        self,
        backup: BackupId,
        status: RunStatus,
        at: datetime,
        cause: Cause,
        message: str,
        outcomes: Sequence[StoreOutcome] = (),
    ) -> None:
        """The try failed or was interrupted. One that was committed stays so."""
        with self._database.writing() as connection:
            backups.fail(connection, backup, status, at, cause, message, outcomes)

    def recover_runs(self, at: datetime, ref: DatabaseRef | None = None) -> Sequence[BackupRecord]:
        """Mark tries whose lease is gone or dead as interrupted; return those.

        Tries are locked before leases. A try begins after its lease was taken and ends before it is
        given back, so a try that is seen to run here and is alive has its lease there.
        """
        with self._database.writing() as connection:
            running = backups.running_locked(connection, ref)
            if not running:
                return []
            now = self._database.now(connection)
            held = {lease.token: lease for lease in leases.all_locked(connection)}
            dead = []
            for row in running:
                lease = held.get(row.lease_token)
                if lease is not None and rules.is_live(lease, now, self._is_alive):
                    continue
                if lease is not None:
                    leases.give_back(connection, lease)
                message = rules.died(row.holder)
                backups.end(
                    connection, row.id, RunStatus.INTERRUPTED, at, Cause.INTERRUPTED, message
                )
                dead.append(row.id)
            return (
                backups.listing(connection, BACKUPS.c.id.in_(dead), by_start=True) if dead else []
            )

    def backups(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Backups that lie in at least one store, newest snapshot first."""
        with self._database.reading() as connection:
            return backups.in_stores(connection, server, database, limit)

    def each_backup(
        self, server: str | None = None, database: str | None = None
    ) -> Iterator[BackupRecord]:
        """The same one after another: all places in the order at once, records some at a time."""
        with self._database.reading() as connection:
            numbers = backups.order_of(connection, server, database)
        for chunk in _chunks(numbers):
            with self._database.reading() as connection:
                found = backups.numbered(connection, chunk)
            yield from found

    def newest_backups(self, server: str | None = None) -> Sequence[BackupRecord]:
        """The newest snapshot of each database that lies in at least one store, newest first."""
        with self._database.reading() as connection:
            return backups.newest_of_each(connection, server)

    def tries(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Every try, also running, failed and pruned ones, newest start first."""
        with self._database.reading() as connection:
            return backups.listing(
                connection, server=server, database=database, limit=limit, by_start=True
            )

    def backup(self, backup: BackupId) -> BackupRecord | None:
        """One try or backup by its id."""
        with self._database.reading() as connection:
            return backups.one(connection, backup)

    def records(self, wanted: Sequence[BackupId]) -> Sequence[BackupRecord]:
        """Those of these tries and backups that are known."""
        found: list[BackupRecord] = []
        with self._database.reading() as connection:
            for chunk in _chunks(wanted):
                found += backups.listing(connection, BACKUPS.c.id.in_(chunk))
        return found

    def proven_before(self, ref: DatabaseRef, instant: datetime) -> BackupRecord | None:
        """The newest proven backup of an earlier snapshot that lies in at least one store."""
        with self._database.reading() as connection:
            return backups.proven_before(connection, ref, instant)

    def manifest(self, backup: BackupId) -> Manifest | None:
        """The manifest as committed. Raises ManifestError when it is damaged."""
        query = select(MANIFESTS.c.manifest).where(MANIFESTS.c.backup_id == backup)
        with self._database.reading() as connection:
            text = connection.scalar(query)
        return None if text is None else decode_manifest(text.encode())

    def find_backups(self, id_prefix: str) -> Sequence[BackupRecord]:
        """Backups in at least one store whose id starts so."""
        with self._database.reading() as connection:
            return backups.by_prefix(connection, id_prefix)

    def forget_copy(self, backup: BackupId, store: str, at: datetime) -> None:
        """The backup no longer lies in that store."""
        change = update(COPIES).where(
            COPIES.c.backup_id == backup, COPIES.c.store == store, COPIES.c.deleted_at.is_(None)
        )
        with self._database.writing() as connection:
            connection.execute(change.values(deleted_at=at))

    def consecutive_failures(self, ref: DatabaseRef) -> int:
        """Finished tries that failed since the last that succeeded."""
        with self._database.reading() as connection:
            return backups.failures(connection, ref)

    # --- pins, drills, events ---

    def pin(self, backup: BackupId, at: datetime, by: str, reason: str | None = None) -> None:
        """Keep this backup whatever retention says. Raises NotFoundError when it is unknown."""
        values = {"pinned_at": at, "pinned_by": by, "reason": reason}
        with self._database.writing() as connection:
            backups.require(connection, backup)
            backups.put(connection, PINS, {"backup_id": backup}, values)

    def unpin(self, backup: BackupId) -> None:
        """Let retention decide again."""
        with self._database.writing() as connection:
            connection.execute(delete(PINS).where(PINS.c.backup_id == backup))

    def record_proof(self, proof: ProofRecord) -> None:
        """Note a drill; the latest conclusive one decides. Raises NotFoundError."""
        later = update(BACKUPS).where(
            BACKUPS.c.id == proof.backup,
            BACKUPS.c.proven_at.is_(None) | (BACKUPS.c.proven_at <= proof.at),
        )
        with self._database.writing() as connection:
            backups.require(connection, proof.backup)
            connection.execute(insert(PROOFS).values(rows.proof_values(proof)))
            if proof.proven is not None:
                connection.execute(later.values(proven=proof.proven, proven_at=proof.at))

    def proofs(self, backup: BackupId) -> Sequence[ProofRecord]:
        """The drills of one backup, the latest first."""
        query = select(PROOFS).where(PROOFS.c.backup_id == backup)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(PROOFS.c.at.desc(), PROOFS.c.number.desc()))
            return [rows.proof(row) for row in found]

    def drills(self, ref: DatabaseRef, limit: int | None = None) -> Sequence[ProofRecord]:
        """The drills of all backups of one database, the latest first."""
        query = (
            select(PROOFS)
            .join(BACKUPS, BACKUPS.c.id == PROOFS.c.backup_id)
            .where(BACKUPS.c.server == ref.server, BACKUPS.c.database == ref.database)
            .order_by(PROOFS.c.at.desc(), PROOFS.c.number.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [rows.proof(row) for row in connection.execute(query)]

    def record_event(self, event: Event) -> None:
        """Append to the log of what happened."""
        with self._database.writing() as connection:
            connection.execute(insert(EVENTS).values(rows.event_values(rules.settled(event))))

    def events(self, limit: int = 100, kind: str | None = None) -> Sequence[Event]:
        """The newest events first."""
        query: Select[Any] = select(EVENTS)
        if kind is not None:
            query = query.where(EVENTS.c.kind == kind)
        query = query.order_by(EVENTS.c.at.desc(), EVENTS.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return [rows.event(row) for row in connection.execute(query)]

    def prune_events(
        self, older_than: timedelta, now: datetime, *, but: Collection[str] = ()
    ) -> int:
        """Drop what happened so long ago, ``but`` for some kinds; returns how many."""
        old = (EVENTS.c.at < now - older_than) & EVENTS.c.kind.not_in(but)
        with self._database.writing() as connection:
            return connection.execute(delete(EVENTS).where(old)).rowcount

    # --- leases ---

    def acquire(self, name: str, holder: Holder, ttl: timedelta) -> Lease:
        """Take the lease. Raises AlreadyRunningError that names the live holder."""
        with self._database.writing() as connection:
            return leases.take(
                connection, name, holder, ttl, now=self._database.now, is_alive=self._is_alive
            )

    def renew(self, lease: Lease, ttl: timedelta) -> Lease:
        """Prolong. Raises AlreadyRunningError when it was lost to another holder."""
        with self._database.writing() as connection:
            return leases.prolong(connection, lease, ttl, now=self._database.now)

    def release(self, lease: Lease) -> None:
        """Give back; fine when it is already lost."""
        with self._database.writing() as connection:
            leases.give_back(connection, lease)

    def leases(self, name_prefix: str = "") -> Sequence[Lease]:
        """Live leases whose name starts so, in order of name."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            return [
                lease
                for lease in leases.held(connection)
                if lease.name.startswith(name_prefix)
                and not rules.is_free(lease, now, self._is_alive)
            ]


def _chunks(sequence: Sequence[_One]) -> Iterator[Sequence[_One]]:
    for start in range(0, len(sequence), _CHUNK):
        yield sequence[start : start + _CHUNK]
