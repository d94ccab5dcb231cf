"""Calendars, trends, lists and vitals over time, of the catalog in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from guardian.adapters.catalog import rules
from guardian.backup.history import (
    BackupFilter,
    BackupPage,
    DrillPoint,
    Standing,
    TryPoint,
    Wanted,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef, ProofRecord, RunStatus
from guardian.watch.trend import COARSER, KEEP, Sample, Series, coarsen, floor

_ENDED_BADLY = {RunStatus.FAILED, RunStatus.INTERRUPTED}
_TESTS: dict[Wanted, Callable[[BackupRecord], bool]] = {
    Wanted.ALL: lambda _one: True,
    Wanted.BACKUPS: lambda one: bool(one.stores),
    Wanted.PROVEN: lambda one: bool(one.stores) and one.proven is True,
    Wanted.UNPROVEN: lambda one: bool(one.stores) and one.proven is None,
    Wanted.REFUTED: lambda one: bool(one.stores) and one.proven is False,
    Wanted.FAILED: lambda one: one.status in _ENDED_BADLY,
    Wanted.RUNNING: lambda one: one.status is RunStatus.RUNNING,
    Wanted.KEPT: lambda one: one.kept,
    Wanted.PRUNED: lambda one: one.status is RunStatus.SUCCEEDED and not one.stores,
}


class MemoryHistory:
    """See :class:`~guardian.backup.history.BackupHistory`."""

    _lock: AbstractContextManager[None]
    _records: dict[BackupId, BackupRecord]
    _proofs: list[ProofRecord]

    def standings(self) -> Sequence[Standing]:
        """Every database that was ever tried."""
        with self._lock:
            tries = self._by_start()
            return [
                _standing(ref, [one for one in tries if one.ref == ref])
                for ref in sorted({one.ref for one in tries})
            ]

    def try_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[TryPoint]:
        """Tries that began at or after that, oldest first."""
        with self._lock:
            found = [
                TryPoint(
                    one.id,
                    one.ref,
                    one.status,
                    one.started_at,
                    one.proven,
                    one.stored_bytes,
                    one.dumped_bytes,
                )
                for one in self._by_start()
                if one.started_at >= rules.utc(since) and ref in {None, one.ref}
            ]
            return found[:limit][::-1]

    def drill_points(
        self, since: datetime, ref: DatabaseRef | None = None, limit: int | None = None
    ) -> Sequence[DrillPoint]:
        """Drills that ended at or after that, oldest first."""
        with self._lock:
            found = [
                DrillPoint(
                    one.backup,
                    self._records[one.backup].ref,
                    one.at,
                    one.result,
                    one.fetch_seconds,
                    one.restore_seconds,
                    one.seconds,
                )
                for one in sorted([*reversed(self._proofs)], key=lambda one: one.at, reverse=True)
                if one.at >= rules.utc(since) and ref in {None, self._records[one.backup].ref}
            ]
            return found[:limit][::-1]

    def backup_page(self, wanted: BackupFilter, limit: int, offset: int = 0) -> BackupPage:
        """So many of a list, and its length."""
        with self._lock:
            found = [one for one in self._by_start() if _fits(one, wanted)]
            return BackupPage(found[offset : offset + limit], len(found))

    def _by_start(self) -> list[BackupRecord]:
        places = {name: place for place, name in enumerate(self._records)}
        return sorted(
            self._records.values(),
            key=lambda one: (one.started_at, places[one.id]),
            reverse=True,
        )


class MemoryTrend:
    """See :class:`~guardian.watch.trend.VitalsTrend`."""

    _lock: AbstractContextManager[None]

    def __init__(self) -> None:
        super().__init__()
        self._samples: dict[str, dict[tuple[Series, datetime], Sample]] = {}

    def record_samples(self, server: str, samples: Sequence[Sample]) -> None:
        """Keep them."""
        with self._lock:
            kept = self._samples.setdefault(server, {})
            for one in samples:
                kept[one.series, rules.utc(one.at)] = one

    def samples(
        self, server: str, since: datetime, series: Series | None = None
    ) -> Sequence[Sample]:
        """Those that reach beyond that instant, oldest first."""
        with self._lock:
            found = [
                one
                for one in self._samples.get(server, {}).values()
                if one.end > since and series in {None, one.series}
            ]
            return sorted(found, key=lambda one: (one.at, one.series))

    def thin_samples(self, now: datetime) -> int:
        """Put old samples together, drop very old ones; how many less there are."""
        before = after = 0
        with self._lock:
            for server, kept in self._samples.items():
                found = sorted(kept.values(), key=lambda one: (one.at, one.series))
                before += len(found)
                found = [one for one in found if one.at >= now - KEEP]
                for age, span in COARSER:
                    cutoff = floor(now - age, span)
                    old = [one for one in found if one.at < cutoff]
                    young = [one for one in found if one.at >= cutoff]
                    found = coarsen(old, span) + young
                after += len(found)
                self._samples[server] = {(one.series, one.at): one for one in found}
        return before - after


def _standing(ref: DatabaseRef, tries: Sequence[BackupRecord]) -> Standing:
    lying = [one for one in tries if one.stores]
    failures = 0
    for one in tries:
        if one.status is RunStatus.SUCCEEDED:
            break
        failures += one.status is RunStatus.FAILED
    return Standing(
        ref=ref,
        first_at=tries[-1].started_at,
        last_try=tries[0],
        last=next(iter(lying), None),
        last_proven=next((one for one in lying if one.proven), None),
        failures=failures,
    )


def _fits(one: BackupRecord, wanted: BackupFilter) -> bool:
    return (
        _TESTS[wanted.wanted](one)
        and wanted.server in {None, one.ref.server}
        and wanted.database in {None, one.ref.database}
        and (wanted.store is None or wanted.store in one.stores)
        and one.id.startswith(wanted.id_prefix or "")
    )
