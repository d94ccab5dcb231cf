"""One backup from beginning to end: snapshot → dump → compress → encrypt → stores → manifest.

The manifest is written last, and only after pg_dump ended well and every byte is in the store.
Whatever goes wrong before, in any store or in all, what was written is taken back; what a kill -9
leaves behind has no manifest and is swept by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from guardian.backup.attempt import Attempt, Guard, Making
from guardian.backup.lanes import Lane
from guardian.backup.lease import LeaseKeeper
from guardian.backup.manifest import manifest_key, new_backup_id
from guardian.backup.recovery import recover, take_back
from guardian.backup.signature import Unsigned
from guardian.backup.sizes import USUAL_BOUNDS, Bounds, Comparison, compare_sizes, figures_of
from guardian.errors import CatalogError, GuardianError, InterruptedRunError
from guardian.model import (
    BackupId,
    DatabaseRef,
    Event,
    Holder,
    Manifest,
    ProofLevel,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.ports import Catalog, Clock, Compressor, Encryptor, Progress, Signer, Source, Store
from guardian.units import format_duration, format_size

LEASE_TTL = timedelta(minutes=2)
_RETRY_DELAYS = (5.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What the configuration says about one server's backups."""

    proof: ProofLevel = ProofLevel.CONTENT
    with_globals: bool = True
    compression_level: int = 3
    jobs: int = 1
    timeout: timedelta | None = timedelta(hours=6)
    attempts: int = 3
    retry_delays: Sequence[float] = _RETRY_DELAYS
    size_drop: Bounds | None = USUAL_BOUNDS


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What became of one run. ``error`` is set, too, where only some stores failed.

    ``comparison`` holds its size against the last proven backup before it, where there is one.
    """

    id: BackupId
    ref: DatabaseRef
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    outcomes: tuple[StoreOutcome, ...]
    proof: ProofLevel = ProofLevel.NONE
    stored_bytes: int = 0
    dumped_bytes: int = 0
    error: GuardianError | None = None
    warnings: tuple[str, ...] = ()
    tables: int | None = None
    rows: int | None = None
    comparison: Comparison | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()


class BackupRunner:
    """Makes backups of one server's databases."""

    def __init__(
        self,
        *,
        source: Source,
        stores: Sequence[Store],
        compressor: Compressor,
        encryptor: Encryptor,
        catalog: Catalog,
        clock: Clock,
        progress: Progress,
        holder: Holder,
        plan: BackupPlan,
        version: str,
        token: Callable[[], str],
        signer: Signer | None = None,
    ) -> None:
        self._source = source
        self._stores = stores
        self._compressor = compressor
        self._encryptor = encryptor
        self._catalog = catalog
        self._clock = clock
        self._progress = progress
        self._holder = holder
        self._plan = plan
        self._version = version
        self._token = token
        self._signer = signer or Unsigned()

    def run(self, ref: DatabaseRef) -> BackupResult:
        """Back up one database; a failure is in the result, not raised.

        Raises:
            AlreadyRunningError: another process is at it; nothing was done.
            InterruptedRunError: a person or the system stopped us; nothing was left behind.
            CatalogError: the catalog cannot be used.
        """
        name = f"backup:{ref}"
        with LeaseKeeper(self._catalog, name, self._holder, LEASE_TTL) as keeper:
            recover(self._catalog, self._stores, ref, self._clock)
            started_at = self._clock.now()
            backup = new_backup_id(started_at, self._token())
            self._catalog.begin_backup(backup, ref, started_at, keeper.lease)
            guard = Guard(self._clock, self._plan.timeout, keeper.lost, keeper.beat)
            return self._record(_Run(self, guard, backup, ref, started_at))

    def is_found(self, backup: BackupId) -> bool:
        """Whether somebody who took the lease from us found the backup whole, and told so."""
        try:
            record = self._catalog.backup(backup)
        except CatalogError:
            return False
        return record is not None and record.status is RunStatus.SUCCEEDED

    def _record(self, run: _Run) -> BackupResult:
        """Run the tries and tell the catalog how it ended, whatever happens."""
        try:
            manifest = self._try_until_done(run)
        except KeyboardInterrupt as error:
            run.take_back()
            stopped = InterruptedRunError(f"backup of {run.ref} was interrupted, nothing is left")
            self._fail(run, stopped, RunStatus.INTERRUPTED)
            raise stopped from error
        except GuardianError as error:
            run.take_back()
            return self._fail(run, error, RunStatus.FAILED)
        except Exception as error:
            # A fault of ours is a failed backup like any other, or nobody would ever hear of it.
            run.take_back()
            self._fail(run, GuardianError(_internal(error)), RunStatus.FAILED)
            raise
        return self._commit(run, manifest)

    def _try_until_done(self, run: _Run) -> Manifest:
        delays = list(self._plan.retry_delays)[: max(0, self._plan.attempts - 1)]
        while True:
            try:
                return Attempt(self._making(run), run.guard, run.lanes).make()
            except GuardianError as error:
                if not error.transient or not delays:
                    raise
                delay = delays.pop(0)
                run.take_back()
                self._progress.note(
                    f"{run.ref}: {error.message}; trying again in {format_duration(delay)}"
                )
                run.guard.sleep(delay)
                run.renew_lanes()
                if all(lane.landing for lane in run.lanes):
                    raise

    def _making(self, run: _Run) -> Making:
        last = next(iter(self._catalog.backups(run.ref.server, run.ref.database, limit=1)), None)
        return Making(
            id=run.id,
            ref=run.ref,
            started_at=run.started_at,
            source=self._source,
            compressor=self._compressor,
            encryptor=self._encryptor,
            signer=self._signer,
            clock=self._clock,
            progress=self._progress,
            proof=self._plan.proof,
            with_globals=self._plan.with_globals,
            compression_level=self._plan.compression_level,
            jobs=self._plan.jobs,
            version=self._version,
            last=last,
        )

    def _commit(self, run: _Run, manifest: Manifest) -> BackupResult:
        outcomes = run.outcomes()
        self._catalog.commit_backup(manifest, outcomes)
        failed = [lane for lane in run.lanes if lane.error is not None]
        error = failed[0].error if failed else None
        seconds = (manifest.finished_at - manifest.started_at).total_seconds()
        text = (
            f"{run.ref}: {format_size(manifest.dumped_bytes)} dumped, "
            f"{format_size(manifest.stored_bytes)} stored in {format_duration(seconds)}"
        )
        self._event(run, "backup.succeeded", text)
        self._progress.end(text)
        comparison = self._compared(manifest)
        warning = comparison.warning if comparison else None
        if warning:
            self._event(run, "backup.shrank", f"{run.ref}: {warning}")
        return replace(
            self._result(run, RunStatus.SUCCEEDED, error),
            finished_at=manifest.finished_at,
            proof=manifest.proof,
            stored_bytes=manifest.stored_bytes,
            dumped_bytes=manifest.dumped_bytes,
            warnings=(*manifest.warnings, *([warning] if warning else [])),
            tables=manifest.tables,
            rows=manifest.rows,
            comparison=comparison,
        )

    def _compared(self, manifest: Manifest) -> Comparison | None:
        before = self._catalog.proven_before(manifest.ref, manifest.snapshot_at)
        if before is None:
            return None
        return compare_sizes(figures_of(manifest), before, self._plan.size_drop)

    def _fail(self, run: _Run, error: GuardianError, status: RunStatus) -> BackupResult:
        result = self._result(run, status, error)
        self._catalog.fail_backup(
            run.id, status, result.finished_at, error.cause, str(error), result.outcomes
        )
        self._event(run, f"backup.{status.value}", f"{run.ref}: {error.message}")
        self._progress.end(f"{run.ref}: {status.value}")
        return result

    def _result(self, run: _Run, status: RunStatus, error: GuardianError | None) -> BackupResult:
        return BackupResult(
            id=run.id,
            ref=run.ref,
            status=status,
            started_at=run.started_at,
            finished_at=self._clock.now(),
            outcomes=run.outcomes(),
            error=error,
        )

    def _event(self, run: _Run, kind: str, message: str) -> None:
        self._catalog.record_event(
            Event(self._clock.now(), kind, message, run.ref, run.ref.server, run.id)
        )


def _internal(error: Exception) -> str:
    """The kind alone: what a library says may hold anything."""
    return f"internal error: {type(error).__name__}"


class _Run:
    """One run: its identity, and its lanes of the try at hand."""

    def __init__(
        self,
        runner: BackupRunner,
        guard: Guard,
        backup: BackupId,
        ref: DatabaseRef,
        started_at: datetime,
    ) -> None:
        self._runner = runner
        self.guard = guard
        self.id = backup
        self.ref = ref
        self.started_at = started_at
        self.lanes = [Lane(store) for store in runner._stores]  # noqa: SLF001 - one piece

    def take_back(self) -> None:
        """Remove from every store what an unsuccessful try wrote there."""
        found = self._runner.is_found(self.id)
        for lane in self.lanes:
            if lane.written and not lane.hanging and not found:
                try:
                    take_back(lane.store, self.ref, self.id)
                except GuardianError as error:
                    # No manifest, no backup; the sweep removes the rest when the store answers.
                    lane.fail(error)
            lane.committed = False

    def renew_lanes(self) -> None:
        """Lanes for another try; a store that may hold a manifest of the last one is left out.

        The next try writes other bytes under the same names, which that manifest is not about.
        """
        self.lanes = [Lane(one.store) if self._is_clear(one) else one for one in self.lanes]

    def _is_clear(self, lane: Lane) -> bool:
        if lane.landing:
            return False
        key = manifest_key(self.ref, self.id)
        if key not in lane.written:
            return True
        try:
            lane.store.delete(key)
        except GuardianError as error:
            lane.fail(error)
            return False
        return True

    def outcomes(self) -> tuple[StoreOutcome, ...]:
        """What became of the backup in each store."""
        return tuple(
            StoreOutcome(
                store=lane.store.name,
                status=StoreStatus.SUCCEEDED if lane.committed else StoreStatus.FAILED,
                error=str(lane.error) if lane.error is not None else None,
                cause=lane.error.cause if lane.error is not None else None,
                locked_until=lane.locked_until if lane.committed else None,
            )
            for lane in self.lanes
        )
