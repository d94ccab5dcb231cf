"""What is told of backups over time: calendars, trends, and lists of which one page is wanted.

Full records of a year of nights would be too much to read for a glance at all of them; these are
the few columns that a glance needs. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from guardian.model import BackupId, BackupRecord, DatabaseRef, ProofResult, RunStatus


@dataclass(frozen=True, slots=True)
class Standing:
    """How one database stands.

    ``last_try`` is the newest try whatever came of it, ``last`` the newest backup that lies in a
    store, ``last_proven`` the newest of those that has passed a drill. ``failures`` are finished
    tries that failed since the last that succeeded. ``first_at`` is when its first try began.
    """

    ref: DatabaseRef
    first_at: datetime
    last_try: BackupRecord
    last: BackupRecord | None
    last_proven: BackupRecord | None
    failures: int


@dataclass(frozen=True, slots=True)
class TryPoint:
    """One try, as a calendar or a trend needs it. ``proven`` as in BackupRecord."""

    id: BackupId
    ref: DatabaseRef
    status: RunStatus
    started_at: datetime
    proven: bool | None
    stored_bytes: int
    dumped_bytes: int


@dataclass(frozen=True, slots=True)
class DrillPoint:
    """One drill, as a trend needs it."""

    backup: BackupId
    ref: DatabaseRef
    at: datetime
    result: ProofResult
    fetch_seconds: float
    restore_seconds: float
    seconds: float

    @property
    def recovery_seconds(self) -> float:
        """How long it took to have the database back, fetching and decrypting on the way."""
        return self.restore_seconds


class Wanted(StrEnum):
    """Which tries a list shows."""

    ALL = "all"
    BACKUPS = "backups"
    """Those that lie in a store."""
    PROVEN = "proven"
    UNPROVEN = "unproven"
    """In a store, and no drill has told either way."""
    REFUTED = "refuted"
    """In a store, and the last drill found that it is not good."""
    FAILED = "failed"
    """Failed or interrupted."""
    RUNNING = "running"
    KEPT = "kept"
    """Pinned against pruning."""
    PRUNED = "pruned"
    """Made, and in no store any more."""


@dataclass(frozen=True, slots=True)
class BackupFilter:
    """Which tries a list shows; all that is given must hold. ``id_prefix`` begins the id."""

    wanted: Wanted = Wanted.ALL
    server: str | None = None
    database: str | None = None
    store: str | None = None
    id_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class BackupPage:
    """A piece of a list, newest start first, and how long the whole list is."""

    records: Sequence[BackupRecord]
    total: int


class BackupHistory(Protocol):
    """What the catalog tells about many backups at once. All methods raise CatalogError."""

    def standings(self) -> Sequence[Standing]:
        """Every database that was ever tried, in order of server and database."""

    def try_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[TryPoint]:
        """Tries that began at or after that, oldest first; with ``limit``, the newest of them."""

    def drill_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[DrillPoint]:
        """Drills that ended at or after that, oldest first; with ``limit``, the newest of them."""

    def backup_page(self, wanted: BackupFilter, limit: int, offset: int = 0) -> BackupPage:
        """So many of a list, newest start first, and its length, as of one instant."""
