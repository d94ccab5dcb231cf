"""A restore for a person: from a store into a database, compared before it takes its name.

What is refused is refused before anything is begun. What goes wrong later leaves the wanted
database as it was: see :mod:`guardian.restore.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from guardian.backup.lease import LeaseKeeper
from guardian.backup.prune import READING
from guardian.backup.recovery import read_manifest
from guardian.errors import (
    AlreadyRunningError,
    CatalogError,
    DamagedPartError,
    ForgedError,
    GuardianError,
    InterruptedRunError,
    ManifestError,
    NotFoundError,
    StoreError,
    StoreNotFoundError,
    UsageError,
)
from guardian.model import BackupRecord, Event, Fingerprint, Holder, Manifest, ProofLevel
from guardian.ports import Catalog, Clock, Compressor, Encryptor, Progress, Store
from guardian.restore.backup_contents import BackupContents
from guardian.restore.comparing import objects_alone, without_extensions
from guardian.restore.globals_script import GlobalsScript
from guardian.restore.opening import BackupReader, DumpArchive
from guardian.restore.result import Compared, RestoreResult, RestoreStatus, told
from guardian.restore.target import (
    Finished,
    Needs,
    RestoreOrder,
    RestoreTarget,
    RestoreWork,
    Situation,
    Way,
    Wish,
    decide,
)
from guardian.verify.compare import compare

LEASE_TTL = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What restores work with. ``token`` makes the name of a lease unique."""

    encryptor: Encryptor
    compressor: Compressor
    catalog: Catalog
    clock: Clock
    progress: Progress
    holder: Holder
    token: Callable[[], str]


class Restorer:
    """Restores backups that lie in any of these stores; the first that has it goes first."""

    def __init__(self, stores: Sequence[Store], equipment: Equipment) -> None:
        self._stores = stores
        self._equipment = equipment
        self._catalog = equipment.catalog

    def run(self, record: BackupRecord, target: RestoreTarget, wish: Wish) -> RestoreResult:
        """Restore one backup.

        Raises:
            UsageError: it would overwrite or disturb something, or the wish makes no sense.
            UnsuitableTargetError, VersionMismatchError, PermissionDeniedError: the server lacks
                something; nothing was begun, or all of it was taken back.
            UnrestorableError, StoreError, EncryptionError: the backup cannot be read.
            AlreadyRunningError: it is being pruned.
            InterruptedRunError: a person or the system stopped us. The wanted database is as it
                was, and nothing is left behind; one that is restored into in place, and was by
                then, stays uncompared.
        """
        name = f"{READING}{record.id}:{self._equipment.token()}"
        with LeaseKeeper(self._catalog, name, self._equipment.holder, LEASE_TTL):
            try:
                result = self._run(record, target, wish)
            except InterruptedRunError as error:
                self._event(record, "interrupted", error.message)
                raise
            except UsageError:
                raise
            except GuardianError as error:
                self._event(record, "failed", f"{record.ref}: {error.message}")
                raise
        self._event(record, result.status.value, told(result))
        return result

    def _run(self, record: BackupRecord, target: RestoreTarget, wish: Wish) -> RestoreResult:
        self._require_unpruned(record)
        store, manifest = self._open(record)
        restore = _Restore(self._equipment, store, manifest, target, wish)
        try:
            return restore.run()
        except (KeyboardInterrupt, GuardianError) as error:
            if restore.ended is not None:
                return restore.ended  # too late: it has the name
            if isinstance(error, KeyboardInterrupt | InterruptedRunError):
                raise InterruptedRunError(
                    f"{record.ref}: the restore of {record.id} was interrupted, {restore.state}"
                ) from error
            others = [name for name in record.stores if name != store.name]
            if isinstance(error, DamagedPartError) and others:
                error.mend = f"{' and '.join(others)} has it, too: --store {others[0]}"
            raise
        finally:
            restore.close()

    def _require_unpruned(self, record: BackupRecord) -> None:
        """A prune that began before we had our lease has one without a token."""
        for lease in self._catalog.leases(f"{READING}{record.id}"):
            if lease.name == f"{READING}{record.id}":
                raise AlreadyRunningError(f"backup {record.id} is being pruned by {lease.holder}")

    def _open(self, record: BackupRecord) -> tuple[Store, Manifest]:
        """The first store that gives the manifest."""
        failure: GuardianError | None = None
        for store in self._stores:
            try:
                return store, self._known(store, read_manifest(store, record.ref, record.id))
            except StoreNotFoundError:
                continue
            except (StoreError, ManifestError) as error:
                failure = failure or error
                if store is not self._stores[-1]:
                    self._equipment.progress.note(f"store {store.name}: {error.message}")
        if failure is not None:
            raise failure
        raise NotFoundError(
            f"backup {record.id} is not in {', '.join(one.name for one in self._stores)} any more",
            mend="guardian backup list shows what there is",
        )

    def _known(self, store: Store, manifest: Manifest) -> Manifest:
        """The manifest, unless the catalog remembers another one by that id."""
        known = self._catalog.manifest(manifest.id)
        if known is not None and known != manifest:
            raise ForgedError(
                f"store {store.name}: the manifest of {manifest.id} is not the one that was "
                "written there",
                mend="restore from another store, or from another backup",
            )
        return manifest

    def _event(self, record: BackupRecord, result: str, message: str) -> None:
        at = self._equipment.clock.now()
        kind, ref = f"restore.{result}", record.ref
        try:
            self._catalog.record_event(Event(at, kind, message, ref, ref.server, record.id))
        except CatalogError as error:  # what was restored is restored
            self._equipment.progress.note(f"not written down: {error.message}")


class _Restore:
    """One run: read what is small, decide, check, restore, compare, take the name.

    ``state`` is how things are until it has ``ended``.
    """

    def __init__(
        self,
        equipment: Equipment,
        store: Store,
        manifest: Manifest,
        target: RestoreTarget,
        wish: Wish,
    ) -> None:
        self._clock = equipment.clock
        self._progress = equipment.progress
        self._store = store
        self._manifest = manifest
        self._target = target
        self._wish = wish
        self._reader = BackupReader(store, manifest, equipment.encryptor, equipment.compressor)
        self._archive = DumpArchive(self._reader)
        self._warnings: list[str] = []
        self._ended: RestoreResult | None = None
        self._finishing: tuple[RestoreWork, RestoreResult] | None = None
        self.state = "the database is as it was before"

    @property
    def ended(self) -> RestoreResult | None:
        """The result, as soon as nothing can be undone any more, whether we have heard or not."""
        if self._ended is None and self._finishing is not None:
            work, result = self._finishing
            if (taken := work.taken) is not None:
                warnings = (*self._warnings, *taken.warnings)
                return replace(result, finished=taken, warnings=warnings)
        return self._ended

    def close(self) -> None:
        """Let go of the backup."""
        self._archive.close()

    def run(self) -> RestoreResult:
        began = self._clock.monotonic()
        situation = self._target.inspect()
        way = decide(self._wish, situation, self._manifest.ref, self._manifest.facts)
        self._progress.begin(f"{self._manifest.ref}: reading {self._manifest.id}")
        contents = BackupContents(self._reader, self._archive, self._wish)
        script = contents.globals_script() if self._wish.with_globals else None
        self._warnings = contents.warnings
        needs = contents.needs(() if script is None else script.roles)
        self._target.check(needs)
        if script is not None:
            self._make_roles(script)
        result = self._restore(way, needs, situation, contents)
        seconds = round(self._clock.monotonic() - began, 3)
        result = replace(result, seconds=seconds, warnings=tuple(self._warnings))
        self._ended = result
        self._progress.end(told(result))
        return result

    def _make_roles(self, script: GlobalsScript) -> None:
        made = self._target.make_roles(script)
        if made.created:
            self._progress.note(f"roles made: {', '.join(made.created)}")
        if made.existing:
            self._warnings.append(f"roles left as they are: {', '.join(made.existing)}")
        self._warnings += made.warnings

    def _restore(
        self, way: Way, needs: Needs, situation: Situation, contents: BackupContents
    ) -> RestoreResult:
        selection = contents.selection
        order = RestoreOrder(
            way=way,
            needs=needs,
            at=self._clock.now(),
            jobs=self._wish.jobs,
            flags=self._wish.flags,
            chosen=None
            if selection is None
            else tuple(entry.dump_id for entry in selection.entries),
            items=contents.database_items(),
            tables=selection.loaded if selection is not None and way is Way.DATA else (),
            force_disconnect=self._wish.force_disconnect,
        )
        result = RestoreResult(
            id=self._manifest.id,
            ref=self._manifest.ref,
            store=self._store.name,
            where=situation.where,
            database=situation.database,
            status=RestoreStatus.RESTORED,
            finished=Finished(),
        )
        with self._target.work(order) as work:
            self._warnings += work.warnings
            began = self._clock.monotonic()
            self._load(work, contents.fingerprint)
            if way.is_in_place:
                self.state = "what was restored is there, and was not compared"
            loaded = self._clock.monotonic()
            result = replace(result, restore_seconds=round(loaded - began, 3))
            result = self._compare(work, contents, result)
            compared = round(self._clock.monotonic() - loaded, 3)
            result = replace(result, compare_seconds=compared)
            self._analyze(work)
            return self._finish(work, result)

    def _load(self, work: RestoreWork, fingerprint: Fingerprint | None) -> None:
        self._progress.begin(f"{self._manifest.ref}: restoring", self._archive.plain_bytes)
        tables = () if fingerprint is None else fingerprint.tables
        counts = {(table.schema, table.name): table.rows for table in tables}
        work.restore(self._archive, counts, self._progress.advance)

    # --- the comparison -----------------------------------------------------------------------

    def _compare(
        self, work: RestoreWork, contents: BackupContents, result: RestoreResult
    ) -> RestoreResult:
        if not self._wish.compare:
            return result
        if contents.unreadable is not None:
            return replace(result, uncompared=contents.unreadable)
        expected = contents.fingerprint
        if expected is None or (expected.level is ProofLevel.NONE and not expected.objects):
            self._warnings.append(
                "there is nothing to compare with: the backup has no fingerprint "
                "(backup.proof: none, or it failed)"
            )
            return result
        size = self._manifest.facts.database_bytes or None
        self._progress.begin(f"{self._manifest.ref}: comparing", size)
        expected = objects_alone(expected) if self._wish.schema_only else expected
        try:
            found = work.fingerprint(expected.level, expected.seed, self._progress.advance)
        except InterruptedRunError:
            raise
        except GuardianError as error:
            self._warnings.append(f"it could not be compared: {error.message}")
            return replace(result, uncompared=error.message)
        return self._judged(work, contents, result, expected, found)

    def _judged(
        self,
        work: RestoreWork,
        contents: BackupContents,
        result: RestoreResult,
        expected: Fingerprint,
        found: Fingerprint,
    ) -> RestoreResult:
        found = objects_alone(found) if self._wish.schema_only else found
        only = contents.compared_tables()
        differences = compare(
            expected,
            without_extensions(found, expected, work.extensions_before),
            source_major=self._manifest.facts.major,
            target_major=work.major,
            without_owners=not self._wish.owner,
            without_grants=not self._wish.privileges,
            only_tables=only,
        )
        tables = [one for one in expected.tables if only is None or (one.schema, one.name) in only]
        if only is not None:
            self._warnings.append(f"only the {len(only)} selected tables were compared")
        level = Compared(expected.level.value)
        return replace(
            result,
            compared=Compared.OBJECTS if level is Compared.NONE else level,
            tables=len(tables),
            rows=sum(table.rows for table in tables),
            differences=differences,
        )

    # --- the end ------------------------------------------------------------------------------

    def _analyze(self, work: RestoreWork) -> None:
        if not self._wish.analyze or self._wish.schema_only:
            return
        self._progress.begin(f"{self._manifest.ref}: ANALYZE")
        try:
            self._warnings += work.analyze()
        except InterruptedRunError:
            raise
        except GuardianError as error:
            self._warnings.append(f"ANALYZE failed: {error.message}")

    def _finish(self, work: RestoreWork, result: RestoreResult) -> RestoreResult:
        status = RestoreStatus.RESTORED
        if result.differences:
            count = len(result.differences)
            reason = f"it differs from the source in {count} point{'s' if count > 1 else ''}"
            finished = work.keep(reason)
            status = RestoreStatus.DIFFERS
        else:
            self._progress.begin(f"{self._manifest.ref}: taking the name")
            self._finishing = (work, result)
            finished = work.finish()
            if finished.reason is not None:
                status = RestoreStatus.KEPT_ASIDE
        self._warnings += finished.warnings
        result = replace(result, status=status, finished=finished)
        self._ended = replace(result, warnings=tuple(self._warnings))
        return result
