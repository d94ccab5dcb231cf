"""A catalog in memory, for tests: as true to the port as the one in a database."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from guardian.adapters.catalog import rules
from guardian.adapters.catalog.escalation_memory import MemoryEscalation
from guardian.adapters.catalog.history_memory import MemoryHistory, MemoryTrend
from guardian.adapters.catalog.watch_memory import MemoryWatch
from guardian.backup.manifest import decode_manifest, encode_manifest
from guardian.errors import CatalogError, Cause
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


class MemoryCatalog(MemoryWatch, MemoryEscalation, MemoryHistory, MemoryTrend):
    """A :class:`~guardian.ports.Catalog`, watch's and escalation's too, gone with its process.

    ``is_alive`` tells whether a lease's holder runs; by default nobody knows. ``fail`` makes every
    method raise the given error until it is called with None, as a catalog that is away does.
    """

    def __init__(
        self, clock: Clock, is_alive: Callable[[Holder], bool | None] = lambda _holder: None
    ) -> None:
        super().__init__()
        self._clock = clock
        self._is_alive = is_alive
        self._lock = self._gate = _Gate()
        self._records: dict[BackupId, BackupRecord] = {}
        self._order: dict[BackupId, int] = {}
        self._manifests: dict[BackupId, bytes] = {}
        self._owners: dict[BackupId, Lease] = {}
        self._proofs: list[ProofRecord] = []
        self._events: list[Event] = []
        self._leases: dict[str, Lease] = {}

    def fail(self, error: CatalogError | None) -> None:
        """Break, or be whole again."""
        self._gate.error = error

    def close(self) -> None:
        """Nothing to let go of."""

    # --- tries and backups ---

    def begin_backup(self, backup: BackupId, ref: DatabaseRef, at: datetime, lease: Lease) -> None:
        """Note a try that begins now."""
        with self._lock:
            if backup in self._records:
                raise rules.taken(backup)
            self._put(BackupRecord(backup, ref, RunStatus.RUNNING, rules.utc(at)))
            self._owners[backup] = lease

    def commit_backup(self, manifest: Manifest, outcomes: Sequence[StoreOutcome]) -> None:
        """The try succeeded."""
        with self._lock:
            self._succeed(manifest, rules.checked(outcomes))

    def import_manifest(
        self, manifest: Manifest, store: str, locked_until: datetime | None = None
    ) -> None:
        """Take in what a store holds."""
        with self._lock:
            self._succeed(
                manifest, [StoreOutcome(store, StoreStatus.SUCCEEDED, locked_until=locked_until)]
            )

    def fail_backup(
        self,
        backup: BackupId,
        status: RunStatus,
        at: datetime,
        cause: Cause,
        message: str,
        outcomes: Sequence[StoreOutcome] = (),
    ) -> None:
        """The try failed or was interrupted."""
        with self._lock:
            record = self._known(backup)
            if record.status is not RunStatus.SUCCEEDED:
                self._put(
                    replace(
                        record,
                        status=status,
                        finished_at=rules.utc(at),
                        cause=cause,
                        error=message,
                        outcomes=_merged(record.outcomes, outcomes),
                    )
                )

    def recover_runs(self, at: datetime, ref: DatabaseRef | None = None) -> Sequence[BackupRecord]:
        """Mark tries whose lease is gone or dead as interrupted; return those."""
        with self._lock:
            dead = []
            for record in self._sorted_by_start():
                if record.status is not RunStatus.RUNNING or ref not in {None, record.ref}:
                    continue
                owner = self._owners[record.id]
                held = self._leases.get(owner.name)
                if held is not None and held.token == owner.token:
                    if rules.is_live(held, self._clock.now(), self._is_alive):
                        continue
                    del self._leases[owner.name]
                ended = replace(
                    record,
                    status=RunStatus.INTERRUPTED,
                    finished_at=rules.utc(at),
                    cause=Cause.INTERRUPTED,
                    error=rules.died(str(owner.holder)),
                )
                self._put(ended)
                dead.append(ended)
            return dead

    def backups(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Backups that lie in at least one store, newest snapshot first."""
        with self._lock:
            return self._backups(server, database)[:limit]

    def each_backup(
        self, server: str | None = None, database: str | None = None
    ) -> Iterator[BackupRecord]:
        """The same one after another, as they are when their turn comes."""
        for known in self.backups(server, database):
            with self._lock:
                found = self._records[known.id]
            if found.stores:
                yield found

    def newest_backups(self, server: str | None = None) -> Sequence[BackupRecord]:
        """The newest snapshot of each database that lies in at least one store."""
        newest: dict[DatabaseRef, BackupRecord] = {}
        with self._lock:
            for one in self._backups(server, None):
                newest.setdefault(one.ref, one)
        return list(newest.values())

    def tries(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Every try, newest start first."""
        with self._lock:
            return [one for one in self._sorted_by_start() if _is_of(one, server, database)][:limit]

    def backup(self, backup: BackupId) -> BackupRecord | None:
        """One try or backup by its id."""
        with self._lock:
            return self._records.get(backup)

    def records(self, wanted: Sequence[BackupId]) -> Sequence[BackupRecord]:
        """Those of these tries and backups that are known."""
        with self._lock:
            return [self._records[backup] for backup in wanted if backup in self._records]

    def proven_before(self, ref: DatabaseRef, instant: datetime) -> BackupRecord | None:
        """The newest proven backup of an earlier snapshot that lies in at least one store."""
        with self._lock:
            earlier = (
                one
                for one in self._backups(ref.server, ref.database)
                if one.proven and one.snapshot_at is not None and one.snapshot_at < instant
            )
            return next(earlier, None)

    def manifest(self, backup: BackupId) -> Manifest | None:
        """The manifest as committed."""
        with self._lock:
            data = self._manifests.get(backup)
            return None if data is None else decode_manifest(data)

    def find_backups(self, id_prefix: str) -> Sequence[BackupRecord]:
        """Backups in at least one store whose id starts so."""
        with self._lock:
            return [one for one in self._backups(None, None) if one.id.startswith(id_prefix)]

    def forget_copy(self, backup: BackupId, store: str, at: datetime) -> None:
        """The backup no longer lies in that store."""
        rules.utc(at)
        with self._lock:
            record = self._records.get(backup)
            if record is not None:
                left = tuple(name for name in record.stores if name != store)
                self._put(replace(record, stores=left))

    def consecutive_failures(self, ref: DatabaseRef) -> int:
        """Finished tries that failed since the last that succeeded."""
        with self._lock:
            count = 0
            for record in self._sorted_by_start():
                if record.ref == ref and record.status is RunStatus.SUCCEEDED:
                    break
                count += record.ref == ref and record.status is RunStatus.FAILED
            return count

    # --- pins, drills, events ---

    def pin(self, backup: BackupId, at: datetime, by: str, reason: str | None = None) -> None:
        """Keep this backup whatever retention says."""
        del by, reason
        rules.utc(at)
        with self._lock:
            self._put(replace(self._known(backup), kept=True))

    def unpin(self, backup: BackupId) -> None:
        """Let retention decide again."""
        with self._lock:
            if backup in self._records:
                self._put(replace(self._records[backup], kept=False))

    def record_proof(self, proof: ProofRecord) -> None:
        """Note a drill; the latest conclusive one decides."""
        at = rules.utc(proof.at)
        with self._lock:
            record = self._known(proof.backup)
            self._proofs.append(replace(proof, at=at))
            is_latest = record.proven_at is None or record.proven_at <= at
            if proof.proven is not None and is_latest:
                self._put(
                    replace(record, proven=proof.proven, proven_at=at, measured=proof.measured)
                )

    def proofs(self, backup: BackupId) -> Sequence[ProofRecord]:
        """The drills of one backup, the latest first."""
        with self._lock:
            found = [one for one in reversed(self._proofs) if one.backup == backup]
            return sorted(found, key=lambda one: one.at, reverse=True)

    def drills(self, ref: DatabaseRef, limit: int | None = None) -> Sequence[ProofRecord]:
        """The drills of all backups of one database, the latest first."""
        with self._lock:
            found = [one for one in reversed(self._proofs) if self._records[one.backup].ref == ref]
            return sorted(found, key=lambda one: one.at, reverse=True)[:limit]

    def record_event(self, event: Event) -> None:
        """Append to the log of what happened."""
        with self._lock:
            self._events.append(rules.settled(event))

    def events(self, limit: int = 100, kind: str | None = None) -> Sequence[Event]:
        """The newest events first."""
        with self._lock:
            found = [one for one in reversed(self._events) if kind in {None, one.kind}]
            return sorted(found, key=lambda one: one.at, reverse=True)[:limit]

    def prune_events(
        self, older_than: timedelta, now: datetime, *, but: Collection[str] = ()
    ) -> int:
        """Drop what happened so long ago, ``but`` for some kinds; returns how many."""
        with self._lock:
            before = len(self._events)
            self._events = [
                one for one in self._events if one.at >= now - older_than or one.kind in but
            ]
            return before - len(self._events)

    # --- leases ---

    def acquire(self, name: str, holder: Holder, ttl: timedelta) -> Lease:
        """Take the lease."""
        with self._lock:
            now = self._clock.now()
            held = self._leases.get(name)
            if held is not None and not rules.is_free(held, now, self._is_alive):
                raise rules.refusal(held)
            self._leases[name] = Lease(name, secrets.token_hex(16), holder, now, now + ttl)
            return self._leases[name]

    def renew(self, lease: Lease, ttl: timedelta) -> Lease:
        """Prolong."""
        with self._lock:
            held = self._leases.get(lease.name)
            if held is None or held.token != lease.token:
                raise rules.loss(lease, held)
            self._leases[lease.name] = replace(held, expires_at=self._clock.now() + ttl)
            return self._leases[lease.name]

    def release(self, lease: Lease) -> None:
        """Give back; fine when it is already lost."""
        with self._lock:
            held = self._leases.get(lease.name)
            if held is not None and held.token == lease.token:
                del self._leases[lease.name]

    def leases(self, name_prefix: str = "") -> Sequence[Lease]:
        """Live leases whose name starts so."""
        with self._lock:
            now = self._clock.now()
            return [
                lease
                for name, lease in sorted(self._leases.items())
                if name.startswith(name_prefix) and not rules.is_free(lease, now, self._is_alive)
            ]

    # --- within the lock ---

    def _put(self, record: BackupRecord) -> None:
        self._records[record.id] = record
        self._order.setdefault(record.id, len(self._order))

    def _known(self, backup: BackupId) -> BackupRecord:
        if backup not in self._records:
            raise rules.unknown(backup)
        return self._records[backup]

    def _succeed(self, manifest: Manifest, outcomes: Sequence[StoreOutcome]) -> None:
        # Through its text, as in a database: what cannot be written is found at once.
        self._manifests[manifest.id] = encode_manifest(manifest)
        before = self._records.get(manifest.id)
        merged = _merged(before.outcomes if before else (), outcomes)
        there = {*(before.stores if before else ()), *_whole(outcomes)} - {
            one.store for one in outcomes if one.status is StoreStatus.FAILED
        }
        self._put(
            BackupRecord(
                id=manifest.id,
                ref=manifest.ref,
                status=RunStatus.SUCCEEDED,
                started_at=rules.utc(manifest.started_at),
                finished_at=rules.utc(manifest.finished_at),
                snapshot_at=rules.utc(manifest.snapshot_at),
                stored_bytes=manifest.stored_bytes,
                dumped_bytes=manifest.dumped_bytes,
                proof=manifest.proof,
                stores=tuple(one.store for one in merged if one.store in there),
                outcomes=merged,
                proven=before.proven if before else None,
                proven_at=before.proven_at if before else None,
                kept=before.kept if before else False,
                tables=manifest.tables,
                rows=manifest.rows,
                measured=before.measured if before else None,
            )
        )

    def _backups(self, server: str | None, database: str | None) -> list[BackupRecord]:
        found = [one for one in self._records.values() if one.stores]
        found = [one for one in found if _is_of(one, server, database)]
        return sorted(
            found,
            key=lambda one: (one.snapshot_at or _NEVER, self._order[one.id]),
            reverse=True,
        )

    def _sorted_by_start(self) -> list[BackupRecord]:
        return sorted(
            self._records.values(),
            key=lambda one: (one.started_at, self._order[one.id]),
            reverse=True,
        )


_NEVER = datetime.min.replace(tzinfo=UTC)


class _Gate:
    """A lock that refuses entry while there is an error to raise."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.error: CatalogError | None = None

    def __enter__(self) -> None:
        if self.error is not None:
            raise self.error
        self._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()


def _is_of(record: BackupRecord, server: str | None, database: str | None) -> bool:
    return server in {None, record.ref.server} and database in {None, record.ref.database}


def _whole(outcomes: Sequence[StoreOutcome]) -> list[str]:
    return [one.store for one in outcomes if one.status is StoreStatus.SUCCEEDED]


def _merged(
    before: Sequence[StoreOutcome], after: Sequence[StoreOutcome]
) -> tuple[StoreOutcome, ...]:
    """One outcome a store, the later one, in order of first appearance."""
    return tuple({one.store: one for one in (*before, *after)}.values())
