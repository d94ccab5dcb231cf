"""Lists of backups, and one backup with its parts, proofs and timings. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.backup.history import BackupFilter, Wanted
from guardian.model import (
    BackupRecord,
    DatabaseRef,
    Manifest,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreStatus,
)
from guardian.units import format_size
from guardian.web.views.wording import Level, backup_word, one_line, short_duration

PER_PAGE = 50
WANTED_WORDS = {
    Wanted.ALL: "every try",
    Wanted.BACKUPS: "backups in a store",
    Wanted.PROVEN: "proven",
    Wanted.UNPROVEN: "unproven",
    Wanted.REFUTED: "not restorable",
    Wanted.FAILED: "failed or interrupted",
    Wanted.RUNNING: "running",
    Wanted.KEPT: "pinned",
    Wanted.PRUNED: "pruned",
}
_RESULT_LEVELS = {
    ProofResult.PROVEN: Level.OK,
    ProofResult.MISMATCH: Level.BAD,
    ProofResult.UNRESTORABLE: Level.BAD,
    ProofResult.INCONCLUSIVE: Level.WARNING,
}


@dataclass(frozen=True, slots=True)
class BackupRow:
    """One try in a list."""

    id: str
    ref: DatabaseRef
    level: Level
    word: str
    started_at: datetime
    took: str
    stored: str
    dumped: str
    ratio: str
    stores: Sequence[str]
    failed_stores: Sequence[str]
    proven_at: datetime | None
    is_kept: bool
    error: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A piece of a timing bar; ``start`` and ``share`` are percent of it."""

    kind: str
    label: str
    took: str
    start: float
    share: float


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill, with its timings and what it found."""

    proof: ProofRecord
    level: Level
    phases: Sequence[Phase]
    recovery: str
    differences: Sequence[tuple[str, str, str]]
    differences_left_out: int


@dataclass(frozen=True, slots=True)
class Place:
    """What became of the backup in one store."""

    store: str
    level: Level
    word: str
    error: str
    locked_until: datetime | None


@dataclass(frozen=True, slots=True)
class BackupDetails:
    """One backup, or one failed try."""

    row: BackupRow
    record: BackupRecord
    manifest: Manifest | None
    phases: Sequence[Phase]
    places: Sequence[Place]
    drills: Sequence[Drill]
    restore_command: str
    verify_command: str


@dataclass(frozen=True, slots=True)
class Paging:
    """Where in a list we are, counted from 1."""

    page: int
    pages: int
    total: int

    @property
    def previous(self) -> int | None:
        """The page before, None on the first."""
        return self.page - 1 if self.page > 1 else None

    @property
    def next(self) -> int | None:
        """The page after, None on the last."""
        return self.page + 1 if self.page < self.pages else None


def paging(total: int, page: int) -> Paging:
    """Which page of how many; one beyond the last is the last."""
    pages = max(1, -(-total // PER_PAGE))
    return Paging(min(page, pages), pages, total)


def read_filter(
    show: str | None,
    server: str | None,
    database: str | None,
    store: str | None,
    id_prefix: str | None,
) -> BackupFilter:
    """A filter from the words of a query; an unknown word filters nothing."""
    wanted = Wanted(show) if show in set(Wanted) else Wanted.ALL
    return BackupFilter(wanted, server, database, store, id_prefix)


def backup_row(record: BackupRecord, now: datetime) -> BackupRow:
    """One try in a list."""
    level, word = backup_word(record)
    end = record.finished_at or (now if record.status is RunStatus.RUNNING else None)
    return BackupRow(
        id=record.id,
        ref=record.ref,
        level=level,
        word=word,
        started_at=record.started_at,
        took="" if end is None else short_duration(max(end - record.started_at, timedelta(0))),
        stored=format_size(record.stored_bytes) if record.stored_bytes else "",
        dumped=format_size(record.dumped_bytes) if record.dumped_bytes else "",
        ratio=_ratio(record),
        stores=record.stores,
        failed_stores=[one.store for one in record.outcomes if one.status is StoreStatus.FAILED],
        proven_at=record.proven_at,
        is_kept=record.kept,
        error=one_line(record.error),
    )


_DIFFERENCES = 100


def backup_details(
    record: BackupRecord,
    manifest: Manifest | None,
    proofs: Sequence[ProofRecord],
    now: datetime,
) -> BackupDetails:
    """All about one."""
    return BackupDetails(
        row=backup_row(record, now),
        record=record,
        manifest=manifest,
        phases=_backup_phases(manifest),
        places=[
            Place(
                one.store,
                Level.OK if one.store in record.stores else _left_level(one.status),
                _left_word(one.store in record.stores, one.status),
                one_line(one.error),
                one.locked_until,
            )
            for one in record.outcomes
        ],
        drills=[_drill(one) for one in proofs],
        restore_command=f"guardian restore {shlex.quote(record.id)} --to '${{TARGET}}' --create",
        verify_command=f"guardian verify {shlex.quote(record.id)}",
    )


def _ratio(record: BackupRecord) -> str:
    if not record.stored_bytes or not record.dumped_bytes:
        return ""
    return f"{record.dumped_bytes / record.stored_bytes:.1f} : 1"


def _left_level(status: StoreStatus) -> Level:
    return Level.BAD if status is StoreStatus.FAILED else Level.UNKNOWN


def _left_word(lies_there: bool, status: StoreStatus) -> str:  # noqa: FBT001
    if lies_there:
        return "there"
    return "failed" if status is StoreStatus.FAILED else "gone"


def _backup_phases(manifest: Manifest | None) -> list[Phase]:
    if manifest is None:
        return []
    return phases(
        [
            ("wait", "locks and snapshot", manifest.snapshot_at - manifest.started_at),
            ("work", "dump, fingerprint, stores", manifest.finished_at - manifest.snapshot_at),
        ]
    )


def _drill(proof: ProofRecord) -> Drill:
    known = proof.fetch_seconds + proof.restore_seconds + proof.compare_seconds
    return Drill(
        proof=proof,
        level=_RESULT_LEVELS[proof.result],
        phases=phases(
            [
                ("wait", "fetch", timedelta(seconds=proof.fetch_seconds)),
                ("work", "restore", timedelta(seconds=proof.restore_seconds)),
                ("after", "compare", timedelta(seconds=proof.compare_seconds)),
                ("rest", "rest", timedelta(seconds=max(0.0, proof.seconds - known))),
            ]
        ),
        recovery=short_duration(proof.fetch_seconds + proof.restore_seconds),
        differences=[
            (one_line(one.object), one_line(one.expected), one_line(one.found))
            for one in proof.differences[:_DIFFERENCES]
        ],
        differences_left_out=max(0, len(proof.differences) - _DIFFERENCES),
    )


def phases(parts: Sequence[tuple[str, str, timedelta]]) -> list[Phase]:
    """A timing bar: each part with its share of the whole."""
    lasting = [(kind, label, max(took.total_seconds(), 0.0)) for kind, label, took in parts]
    whole = sum(took for _, _, took in lasting) or 1.0
    found, start = [], 0.0
    for kind, label, took in lasting:
        share = 100 * took / whole
        if took:
            found.append(Phase(kind, label, short_duration(took), round(start, 2), round(share, 2)))
        start += share
    return found
