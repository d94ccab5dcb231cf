"""A drill: fetch, decrypt, restore into a scratch database, compare, check, and write it down.

Whatever happens on the way, the scratch database is gone at the end and there is a verdict; only a
person who stops the drill, and a catalog that cannot be used, leave none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from guardian.backup.fingerprint import decode_fingerprint
from guardian.backup.lease import LeaseKeeper
from guardian.backup.recovery import read_manifest
from guardian.backup.signature import FORGED
from guardian.backup.sizes import USUAL_BOUNDS, Bounds, Comparison, Figures, compare_sizes
from guardian.errors import (
    AlreadyRunningError,
    CatalogError,
    DamagedPartError,
    GuardianError,
    InconclusiveError,
    InterruptedRunError,
    ManifestError,
    NotFoundError,
    SignatureError,
    StoreNotFoundError,
    UncheckedSignatureError,
    UnrestorableError,
)
from guardian.model import (
    BackupId,
    CheckOutcome,
    DatabaseRef,
    Difference,
    Event,
    Fingerprint,
    Holder,
    Manifest,
    PartKind,
    ProofLevel,
    ProofRecord,
    ProofResult,
)
from guardian.ports import Catalog, Clock, Compressor, Encryptor, Progress, Store
from guardian.restore.opening import BackupReader, DumpArchive
from guardian.restore.ports import RestoredDatabase
from guardian.restore.sharing import STREAM_WORTH_BYTES
from guardian.units import counted, format_duration
from guardian.verify.compare import compare
from guardian.verify.definitions import compare_definitions
from guardian.verify.globals_check import missing_from_globals
from guardian.verify.judge import Evidence, Verdict, judge
from guardian.verify.ports import ScratchServers
from guardian.verify.records import record_proof
from guardian.verify.stopping import Stopping

LEASE_TTL = timedelta(minutes=2)
_SMALL = 256 << 20
"""Fingerprint and globals are held in memory; the largest seen (100,000 tables) has 30 MB."""


@dataclass(frozen=True, slots=True)
class Check:
    """One of the user's questions: a query whose one value must be true."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """What the configuration says about one server's drills."""

    checks: tuple[Check, ...] = ()
    jobs: int = 2
    timeout: timedelta | None = timedelta(hours=6)
    amcheck: bool = False
    size_drop: Bounds | None = USUAL_BOUNDS


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What came of a drill; ``notes`` is what else is worth a line.

    ``comparison`` holds its size against the last proven backup before it, where there is one and
    this one was restored.
    """

    ref: DatabaseRef
    record: ProofRecord
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None


class Drill:
    """Drills backups that lie in one store."""

    def __init__(
        self,
        *,
        store: Store,
        scratch: ScratchServers,
        encryptor: Encryptor,
        compressor: Compressor,
        catalog: Catalog,
        clock: Clock,
        progress: Progress,
        holder: Holder,
        plan: DrillPlan,
        version: str,
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._encryptor = encryptor
        self._compressor = compressor
        self._catalog = catalog
        self._clock = clock
        self._progress = progress
        self._holder = holder
        self._plan = plan
        self._version = version

    def run(self, ref: DatabaseRef, backup: BackupId) -> DrillResult:
        """Drill one backup; whatever is wrong with it is in the result.

        Raises:
            AlreadyRunningError: another process drills it; nothing was done.
            InterruptedRunError: a person or the system stopped us; nothing was left behind.
            NotFoundError: neither store nor catalog know such a backup.
            GuardianError: its manifest cannot be read, and the catalog does not know it.
            CatalogError: the catalog cannot be used.
        """
        stopping = Stopping(self._plan.timeout)
        with ExitStack() as stack:
            for name in (f"verify:{backup}", f"read:{backup}:verify"):
                keeper = LeaseKeeper(
                    self._catalog, name, self._holder, LEASE_TTL, on_lost=stopping.lose
                )
                stack.enter_context(keeper)
            stack.enter_context(stopping)
            try:
                return self._drill(ref, backup, stopping)
            except (KeyboardInterrupt, InterruptedRunError) as error:
                message = f"{ref}: the drill of {backup} was interrupted"
                with suppress(CatalogError):  # it may be what interrupted us
                    self._event(ref, backup, "verify.interrupted", message)
                raise InterruptedRunError(message + ", nothing is left of it") from error

    def _drill(self, ref: DatabaseRef, backup: BackupId, stopping: Stopping) -> DrillResult:
        began = self._clock.monotonic()
        look = _Look(ref, backup)
        try:
            self._examine(look, stopping)
        except (CatalogError, NotFoundError, AlreadyRunningError):
            raise
        except GuardianError as error:
            look.manifest = look.manifest or self._catalog.manifest(backup)
            if look.manifest is None:  # nobody knows what it would be a verdict on
                raise
            look.blame(stopping.reason(error))
        assert look.manifest is not None
        verdict = judge(look.evidence)
        record = self._record(look, verdict, self._clock.monotonic() - began)
        notes = record_proof(
            self._catalog,
            [self._store],
            look.manifest,
            record,
            clock=self._clock,
            guardian_version=self._version,
            host=self._holder.host,
        )
        text = _told(ref, record)
        self._event(ref, backup, f"verify.{record.result.value}", text)
        self._progress.end(f"{ref}: drill ended after {format_duration(round(record.seconds, 1))}")
        comparison = self._compared(look)
        warning = comparison.warning if comparison else None
        told = (*look.evidence.caveats, *notes, *([warning] if warning else []))
        return DrillResult(ref, record, told, comparison)

    # --- the steps ----------------------------------------------------------------------------

    def _examine(self, look: _Look, stopping: Stopping) -> None:
        """Fill in what can be seen, as far as it goes; what ends it is raised."""
        manifest = look.manifest = self._read_manifest(look)
        reader = BackupReader(
            self._store, manifest, self._encryptor, self._compressor, stopping.check
        )
        self._progress.begin(f"{look.ref}: drill, fetching")
        try:
            with ExitStack() as stack:
                stack.enter_context(self._scratch.warming(manifest))
                fingerprint, missing = self._read_small_parts(reader, manifest)
                look.evidence = replace(look.evidence, expected=fingerprint)
                archive = DumpArchive(reader)
                stack.enter_context(archive.ahead(self._streams(archive)))
                self._progress.begin(f"{look.ref}: drill, starting a server")
                database = stack.enter_context(
                    self._scratch.open(manifest, fingerprint, self._plan.jobs)
                )
                look.evidence = replace(look.evidence, caveats=tuple(database.caveats))
                with stopping.over(database):
                    self._restore(look, archive, database, fingerprint)
                    self._compare(look, database, manifest, fingerprint, missing)
                    self._ask(look, database, fingerprint)
        finally:
            look.fetch_seconds = reader.fetch.longest

    def _read_manifest(self, look: _Look) -> Manifest:
        try:
            manifest = read_manifest(self._store, look.ref, look.backup)
        except StoreNotFoundError as error:
            self._require_unpruned(look.backup)
            raise DamagedPartError(
                f"the manifest of {look.backup} is not in store {self._store.name} any more"
            ) from error
        except SignatureError as error:
            unknown = self._catalog.manifest(look.backup) is None
            if unknown and isinstance(error, UncheckedSignatureError):
                raise InconclusiveError(error.message, mend=error.mend) from error
            data = {"store": self._store.name}
            self._event(look.ref, look.backup, FORGED, f"{look.ref}: {error.message}", data)
            raise DamagedPartError(error.message, mend=error.mend) from error
        except ManifestError as error:
            raise DamagedPartError(f"store {self._store.name}: {error.message}") from error
        known = self._catalog.manifest(look.backup)
        if known is not None and known != manifest:
            look.manifest = known
            raise DamagedPartError(
                f"the manifest of {look.backup} in store {self._store.name} is not the one that "
                "was written there"
            )
        return manifest

    def _require_unpruned(self, backup: BackupId) -> None:
        """A prune may have begun before we held our lease; that is no damage."""
        pruning = [one for one in self._catalog.leases(f"read:{backup}") if ":" not in one.name[5:]]
        if pruning:
            raise AlreadyRunningError(f"backup {backup} is being pruned by {pruning[0].holder}")
        record = self._catalog.backup(backup)
        if record is not None and self._store.name not in record.stores:
            raise NotFoundError(
                f"backup {backup} is not in store {self._store.name}",
                mend="guardian backup list shows what there is",
            )

    def _read_small_parts(
        self, reader: BackupReader, manifest: Manifest
    ) -> tuple[Fingerprint | None, tuple[Difference, ...]]:
        """The fingerprint, and roles that the globals lack. Every small part is read, whole."""
        for part in manifest.parts_of(PartKind.NOTES):
            reader.data(part, _SMALL)
        globals_sql = [reader.data(one, _SMALL) for one in manifest.parts_of(PartKind.GLOBALS)]
        found = [reader.data(one, _SMALL) for one in manifest.parts_of(PartKind.FINGERPRINT)]
        if not found:
            return None, ()
        try:
            fingerprint = decode_fingerprint(found[0])
        except ManifestError as error:
            raise UnrestorableError(error.message, mend=error.mend) from error
        if not globals_sql:
            return fingerprint, ()
        return fingerprint, missing_from_globals(globals_sql[0], fingerprint.roles)

    def _streams(self, archive: DumpArchive) -> int:
        """How many streams are wanted at once; a small dump is read by one."""
        return self._plan.jobs if archive.plain_bytes > STREAM_WORTH_BYTES else 1

    def _restore(
        self,
        look: _Look,
        archive: DumpArchive,
        database: RestoredDatabase,
        fingerprint: Fingerprint | None,
    ) -> None:
        self._progress.begin(f"{look.ref}: drill, restoring", archive.plain_bytes)
        tables = () if fingerprint is None else fingerprint.tables
        counts = {(table.schema, table.name): table.rows for table in tables}
        began = self._clock.monotonic()
        try:
            database.restore(archive, counts, self._progress.advance)
        finally:
            look.restore_seconds = self._clock.monotonic() - began

    def _compare(
        self,
        look: _Look,
        database: RestoredDatabase,
        manifest: Manifest,
        expected: Fingerprint | None,
        missing: tuple[Difference, ...],
    ) -> None:
        if expected is None or expected.level is ProofLevel.NONE:
            return
        self._progress.begin(f"{look.ref}: drill, comparing", manifest.facts.database_bytes or None)
        began = self._clock.monotonic()
        found = database.fingerprint(expected.level, expected.seed, self._progress.advance)
        differences = compare(
            expected, found, source_major=manifest.facts.major, target_major=database.major
        )
        redefined = compare_definitions(
            expected,
            found,
            same_major=manifest.facts.major == database.major,
            retell=database.retell,
        )
        look.compare_seconds = self._clock.monotonic() - began
        look.evidence = replace(
            look.evidence, found=found, differences=(*differences, *redefined, *missing)
        )

    def _ask(
        self, look: _Look, database: RestoredDatabase, fingerprint: Fingerprint | None
    ) -> None:
        settings = () if fingerprint is None else fingerprint.settings
        for check in self._plan.checks:
            passed, found = database.ask(check.sql, settings)
            outcome = CheckOutcome(check.name, passed, found)
            look.evidence = replace(look.evidence, checks=(*look.evidence.checks, outcome))
        if self._plan.amcheck:
            self._progress.begin(f"{look.ref}: drill, amcheck")
            damaged = tuple(database.check_indexes())
            outcome = CheckOutcome("amcheck", not damaged, _first(damaged))
            look.evidence = replace(look.evidence, checks=(*look.evidence.checks, outcome))

    # --- words --------------------------------------------------------------------------------

    def _record(self, look: _Look, verdict: Verdict, seconds: float) -> ProofRecord:
        found = look.evidence.found
        return ProofRecord(
            backup=look.backup,
            store=self._store.name,
            result=verdict.result,
            at=self._clock.now(),
            tables=0 if found is None else len(found.tables),
            rows=0 if found is None else found.rows,
            seconds=round(seconds, 3),
            fetch_seconds=round(look.fetch_seconds, 3),
            restore_seconds=round(look.restore_seconds, 3),
            compare_seconds=round(look.compare_seconds, 3),
            differences=look.evidence.differences or (),
            checks=look.evidence.checks,
            reason=verdict.reason,
        )

    def _compared(self, look: _Look) -> Comparison | None:
        manifest, found = look.manifest, look.evidence.found
        if manifest is None or found is None:
            return None
        before = self._catalog.proven_before(look.ref, manifest.snapshot_at)
        if before is None:
            return None
        now = Figures(manifest.dumped_bytes, len(found.tables), found.rows)
        return compare_sizes(now, before, self._plan.size_drop)

    def _event(
        self,
        ref: DatabaseRef,
        backup: BackupId,
        kind: str,
        message: str,
        data: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        now = self._clock.now()
        self._catalog.record_event(Event(now, kind, message, ref, ref.server, backup, data))


@dataclass
class _Look:
    """What is seen on the way."""

    ref: DatabaseRef
    backup: BackupId
    manifest: Manifest | None = None
    evidence: Evidence = field(default_factory=Evidence)
    fetch_seconds: float = 0.0
    restore_seconds: float = 0.0
    compare_seconds: float = 0.0

    def blame(self, error: GuardianError) -> None:
        """Put what ended the examination into the evidence."""
        if isinstance(error, DamagedPartError):
            self.evidence = replace(self.evidence, stored_damage=str(error))
        elif isinstance(error, UnrestorableError):
            self.evidence = replace(self.evidence, damage=str(error))
        else:
            self.evidence = replace(self.evidence, obstacle=str(error))


def _told(ref: DatabaseRef, record: ProofRecord) -> str:
    head = f"{ref} {record.backup}: {record.result.value}"
    if record.result is ProofResult.PROVEN:
        return (
            f"{head}, {counted(record.tables, 'table')} and {counted(record.rows, 'row')} "
            f"as they were, in {format_duration(round(record.seconds, 1))}"
        )
    return f"{head}: {record.reason}"


def _first(damaged: Sequence[Difference]) -> str:
    if not damaged:
        return "sound"
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return f"{damaged[0].object}: {damaged[0].found}{more}"
