"""A configuration with its catalog and its clock, and what nights of runs have left there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.catalogs import TTL, backup_id, holder, manifest, stored
from support.site import Site

from guardian.adapters.catalog.catalog import SqlCatalog
from guardian.config import load
from guardian.daemon.app import App
from guardian.daemon.sensors import Sensors
from guardian.errors import Cause
from guardian.model import (
    BackupId,
    DatabaseRef,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
)
from guardian.testing import FakeClock, MemoryCatalog

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REF = DatabaseRef("main", "mina")
NOWHERE = "host=127.0.0.1 port=1 dbname=mina user=guardian connect_timeout=2"
"""Nobody listens there."""


class Home:
    """Server ``main`` is backed up every night; the catalog is one in memory."""

    def __init__(self, folder: Path, dsn: str = NOWHERE, **server: Any) -> None:
        self.site = Site(folder / "site", dsn, {"backup": {"schedule": "0 2 * * *"}, **server})
        self.clock = FakeClock(NOW)
        self.catalog: MemoryCatalog | SqlCatalog = MemoryCatalog(self.clock, lambda _: None)
        self._count = 0

    def app(self, *, memory: bool = True) -> App:
        self.site.write()
        app = App(load(self.site.config).config, clock=self.clock)
        if memory:
            app.__dict__["catalog"] = self.catalog
        return app

    def sensors(self) -> Sensors:
        return Sensors(self.app())

    def begin(self, at: datetime, ref: DatabaseRef = REF) -> BackupId:
        self._count += 1
        backup = backup_id(self._count, at)
        lease = self.catalog.acquire(f"backup:{ref}", holder(), TTL)
        self.catalog.begin_backup(backup, ref, at, lease)
        self.catalog.release(lease)
        return backup

    def succeed(self, at: datetime, *outcomes: StoreOutcome, ref: DatabaseRef = REF) -> BackupId:
        backup = self.begin(at, ref)
        self.catalog.commit_backup(manifest(backup, ref, at), outcomes or stored("local"))
        return backup

    def fail(self, at: datetime, ref: DatabaseRef = REF) -> BackupId:
        backup = self.begin(at, ref)
        self.catalog.fail_backup(backup, RunStatus.FAILED, at, Cause.DISK_FULL, "no space left")
        return backup

    def drill(
        self, backup: BackupId, at: datetime, result: ProofResult = ProofResult.PROVEN
    ) -> None:
        self.catalog.record_proof(ProofRecord(backup, "local", result, at, reason="so it is"))
