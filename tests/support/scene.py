"""A database's backups as years of runs would have left them, in stores and a catalog in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.backup.manifest import (
    MANIFEST_NAME,
    NOTES_NAME,
    backup_prefix,
    encode_manifest,
    new_backup_id,
)
from guardian.backup.prune import Pruner, PruneResult
from guardian.backup.retention import RetentionPolicy
from guardian.errors import Cause
from guardian.model import (
    BackupId,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    EncryptionKind,
    GlobalsLevel,
    Holder,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.testing import FakeClock, MemoryCatalog, MemoryStore

REF = DatabaseRef("main", "mina")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TTL = timedelta(minutes=2)
LAST_ONE = RetentionPolicy(1, 0, 0, 0, 0, 0, timedelta(0), 0)
PARTS = ("database.dump.zst.gpg", "fingerprint.json.zst.gpg", "globals.sql.zst.gpg", NOTES_NAME)
KINDS = (PartKind.DUMP, PartKind.FINGERPRINT, PartKind.GLOBALS, PartKind.NOTES)


def holder(pid: int = 1) -> Holder:
    """A process."""
    return Holder("host", "boot", pid, "0", "guardian test")


def manifest(backup: BackupId, at: datetime, ref: DatabaseRef = REF) -> Manifest:
    """Of a backup whose parts hold their own names."""
    return Manifest(
        id=backup,
        ref=ref,
        started_at=at,
        snapshot_at=at,
        finished_at=at + timedelta(minutes=1),
        parts=tuple(
            Part(name, kind, len(name), len(name), "ab" * 32)
            for name, kind in zip(PARTS, KINDS, strict=True)
        ),
        encryption=Encryption(EncryptionKind.SYMMETRIC),
        compression_level=3,
        proof=ProofLevel.CONTENT,
        globals=GlobalsLevel.FULL,
        facts=DatabaseFacts("15.4", 150004, None, "UTF8", "C", "C", "libc"),
        dump_version="15.4",
        guardian_version="0",
    )


class Scene:
    """Stores "local" and "offsite", a catalog, a clock, and what a test does with them."""

    def __init__(
        self, *stores: str, now: datetime = NOW, lock_for: timedelta | None = None
    ) -> None:
        self.clock = FakeClock(now)
        self.dead: set[int] = set()
        self.catalog = MemoryCatalog(
            self.clock, lambda one: False if one.pid in self.dead else None
        )
        self.stores = {
            name: MemoryStore(name, clock=self.clock, lock_for=lock_for)
            for name in stores or ("local", "offsite")
        }
        self._count = 0

    def back_up(
        self,
        at: datetime,
        stores: Sequence[str] | None = None,
        *,
        ref: DatabaseRef = REF,
        snapshot_at: datetime | None = None,
        remembered: bool = True,
    ) -> BackupId:
        """A backup made at that time, in some or all stores."""
        backup = self.begin(at, ref=ref) if remembered else self._new_id(at)
        made = replace(manifest(backup, at, ref), snapshot_at=snapshot_at or at)
        names = stores if stores is not None else list(self.stores)
        for name in names:
            self.put(name, made)
        if remembered:
            outcomes = [
                StoreOutcome(
                    name,
                    StoreStatus.SUCCEEDED if name in names else StoreStatus.FAILED,
                    locked_until=store.lock_until(at),
                )
                for name, store in self.stores.items()
            ]
            self.catalog.commit_backup(made, outcomes)
        return backup

    def nights(self, count: int, stores: Sequence[str] | None = None) -> list[BackupId]:
        """One backup each night up to today, newest first."""
        last = NOW.replace(hour=2)
        found = [self.back_up(last - timedelta(days=ago), stores) for ago in reversed(range(count))]
        return found[::-1]

    def begin(self, at: datetime, *, ref: DatabaseRef = REF, pid: int = 7) -> BackupId:
        """A try that has begun."""
        backup = self._new_id(at)
        lease = self.catalog.acquire(f"backup:{ref}", holder(pid), TTL)
        self.catalog.begin_backup(backup, ref, at, lease)
        self.catalog.release(lease)
        return backup

    def fail(self, backup: BackupId, at: datetime, status: RunStatus = RunStatus.FAILED) -> None:
        """That try failed."""
        self.catalog.fail_backup(backup, status, at, Cause.DUMP, "no luck")

    def put(self, store: str, made: Manifest) -> None:
        """All objects of a backup into one store, by that store's clock at its end."""
        for part in made.parts:
            self.plant(store, made.id, part.name, at=made.finished_at, ref=made.ref)
        data = encode_manifest(made)
        self.plant(store, made.id, MANIFEST_NAME, data, at=made.finished_at, ref=made.ref)

    def plant(
        self,
        store: str,
        backup: BackupId,
        name: str,
        data: bytes | None = None,
        *,
        at: datetime,
        ref: DatabaseRef = REF,
    ) -> str:
        """One object of a backup; a part holds its own name."""
        key = backup_prefix(ref, backup) + name
        self.stores[store].plant(key, name.encode() if data is None else data, at)
        return key

    def drill(self, backup: BackupId, result: ProofResult = ProofResult.PROVEN) -> None:
        """A drill and what came of it."""
        self.catalog.record_proof(ProofRecord(backup, "local", result, self.clock.now()))

    def ids(self, store: str, ref: DatabaseRef = REF) -> set[str]:
        """The backups, or what is left of them, in one store."""
        prefix = backup_prefix(ref, BackupId("")).rstrip("/") + "/"
        return {
            key.removeprefix(prefix).split("/")[0]
            for key in self.stores[store].contents()
            if key.startswith(prefix)
        }

    def pruner(self, wrap: Any = lambda port: port, pid: int = 1) -> Pruner:
        """A pruner over these parts, each of which ``wrap`` may stand in front of."""
        return Pruner(
            stores=[wrap(store) for store in self.stores.values()],
            catalog=wrap(self.catalog),
            clock=self.clock,
            holder=holder(pid),
        )

    def prune(self, policy: RetentionPolicy = LAST_ONE, **options: Any) -> PruneResult:
        """Prune the one database."""
        return self.pruner().prune(REF, policy, **options)

    def _new_id(self, at: datetime) -> BackupId:
        self._count += 1
        return new_backup_id(at, f"{self._count:06x}")


def verdicts(result: PruneResult) -> dict[str, tuple[str, bool]]:
    """Each backup's verdict, and whether it is gone."""
    return {one.id: ("keep" if one.keep else "delete", one.deleted) for one in result.backups}
