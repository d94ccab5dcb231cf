"""Apply retention to one database: decide, then delete so that nothing is ever half a backup.

What holds at every instant, also when a store fails or the process dies in between:

- *The stores are the truth.* What is judged is what their listings show. A store that cannot be
  listed or read in full is left alone for this database, and the result says so. A backup whose
  manifest cannot be understood stays.
- *No store loses its newest good backup*: see :mod:`guardian.backup.verdict`. A copy whose parts
  are not all there counts as bad in its store, as after a failed drill.
- *What anybody may have written moves nothing*: a backup that the catalog does not know stays and
  does not count, so none of the others goes for it; one that is not signed as it must be is told.
- *The manifest goes first*, then the parts, then RESTORE.txt. So there is never a manifest whose
  parts were deleted; parts without one are no backup, and the next prune finishes them off (see
  :mod:`guardian.backup.leftovers`).
- *Not touched*: keys that guardian cannot have written; a backup that the catalog does not know,
  for neither does it know its pin (``guardian catalog rebuild`` takes it in); one that is running,
  or under object lock; one that is pinned or being read, which is asked again right before.
- *A clock that may have jumped deletes nothing*: see :func:`guardian.backup.retention.doubt_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from guardian.backup.lease import READING, LeaseKeeper
from guardian.backup.leftovers import is_over, unfinished_before
from guardian.backup.manifest import database_prefix, manifest_key
from guardian.backup.prune_result import (
    PRUNE_FAILED,
    PRUNE_MENDED,
    PrunedBackup,
    PrunedCopy,
    PruneResult,
)
from guardian.backup.retention import RetentionPolicy, doubt_clock
from guardian.backup.signature import FORGED
from guardian.backup.survey import Copy, Survey, survey
from guardian.backup.verdict import CopyVerdict, Verdict, View, judge
from guardian.errors import (
    AlreadyRunningError,
    SignatureError,
    StoreError,
    StoreLockedError,
    UncheckedSignatureError,
)
from guardian.model import BackupId, DatabaseRef, Event, Holder, StoredObject
from guardian.ports import Catalog, Clock, Store

__all__ = ["READING", "PruneResult", "PrunedBackup", "PrunedCopy", "Pruner"]

LEASE_TTL = timedelta(minutes=2)

_EVENTS = 5000


class Pruner:
    """Applies retention to databases that lie in the same stores."""

    def __init__(
        self, *, stores: Sequence[Store], catalog: Catalog, clock: Clock, holder: Holder
    ) -> None:
        self._stores = stores
        self._catalog = catalog
        self._clock = clock
        self._holder = holder

    def prune(
        self,
        ref: DatabaseRef,
        policy: RetentionPolicy,
        timezone: tzinfo = UTC,
        *,
        dry_run: bool = False,
        trust_clock: bool = False,
    ) -> PruneResult:
        """Decide about every backup of one database, and delete what is to go.

        ``timezone`` is the calendar's. A ``dry_run`` only reads, and takes no lease.
        ``trust_clock`` is for a person who knows that a hole in the history was a real pause.

        Raises:
            AlreadyRunningError: another prune of the database is at work; nothing was done.
            CatalogError: the catalog cannot be used; nothing more is deleted.
        """
        if dry_run:
            return self._open(ref, dry_run=True, trust_clock=trust_clock).judged(policy, timezone)
        with LeaseKeeper(self._catalog, f"prune:{ref}", self._holder, LEASE_TTL) as keeper:
            pruning = self._open(ref, dry_run=False, trust_clock=trust_clock)
            return pruning.applied(policy, timezone, keeper)

    def _open(self, ref: DatabaseRef, *, dry_run: bool, trust_clock: bool) -> _Pruning:
        pruning = _Pruning(self._catalog, self._clock, self._holder, ref, dry_run=dry_run)
        pruning.look(self._stores, trust_clock=trust_clock)
        return pruning


class _Pruning:
    """One prune of one database: look at everything, judge, and only then delete."""

    def __init__(
        self, catalog: Catalog, clock: Clock, holder: Holder, ref: DatabaseRef, *, dry_run: bool
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._holder = holder
        self._ref = ref
        self._dry_run = dry_run
        self._view = View(now=clock.now())
        self._run = self._view.now.isoformat()
        self._failing: set[str] = set()
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._swept = 0

    def look(self, stores: Sequence[Store], *, trust_clock: bool) -> None:
        """List every store, then ask the catalog about what is there.

        In this order: a try whose parts show in a listing was in the catalog before them.
        """
        surveys = [found for store in stores if (found := self._survey(store)) is not None]
        tries = self._catalog.tries(self._ref.server, self._ref.database)
        now = self._clock.now()
        self._view = View(
            now=now,
            surveys=surveys,
            records={record.id: record for record in tries},
            reading={_read_id(lease.name) for lease in self._catalog.leases(READING)},
            doubt=None if trust_clock else doubt_clock([one.started_at for one in tries], now),
        )

    def judged(self, policy: RetentionPolicy, timezone: tzinfo) -> PruneResult:
        """The verdicts alone."""
        verdicts = self._judge(policy, timezone)
        copies = [
            [PrunedCopy(one.survey.store.name, one.keep) for one in verdict.copies]
            for verdict in verdicts
        ]
        return self._result(verdicts, copies)

    def applied(
        self, policy: RetentionPolicy, timezone: tzinfo, keeper: LeaseKeeper
    ) -> PruneResult:
        """Judge, delete (the oldest first), sweep."""
        verdicts = self._judge(policy, timezone)
        self._remember()
        copies: list[list[PrunedCopy]] = []
        for verdict in reversed(verdicts):
            keeper.check()
            copies.insert(0, self._apply(verdict))
        for found in self._view.surveys:
            for backup, objects in found.leftovers.items():
                keeper.check()
                self._sweep(found, backup, objects)
            self._sweep_unfinished(found.store)
        if not self._problems:
            self._is_mended()
        return self._result(verdicts, copies)

    def _survey(self, store: Store) -> Survey | None:
        try:
            found = survey(store, self._ref, self._catalog.manifest)
        except StoreError as error:
            self._problem(f"nothing is deleted in {store.name}: {error}", store)
            return None
        for text in found.unreadable.values():
            self._problem(text, store)
        self._tell_refused(found)
        for backup, copy in found.copies.items():
            if copy.damage is not None:
                self._problem(f"{backup} is damaged in {store.name}: {copy.damage}", store, backup)
        return found

    def _tell_refused(self, found: Survey) -> None:
        """Nobody of ours wrote these, as far as can be told: they stay, and no other goes for them.

        The first of each sort speaks for all, or an intruder could drown us in words.
        """
        sorts: dict[type[SignatureError], list[SignatureError]] = {}
        for error in found.refused.values():
            sorts.setdefault(type(error), []).append(error)
        for sort, (first, *others) in sorts.items():
            more = f" (and {len(others)} more)" if others else ""
            text = f"{first.message}{more}, so it stays and does not count"
            self._problem(f"{text}; {first.mend}" if first.mend else text, found.store)
            if sort is not UncheckedSignatureError:
                data = {"store": found.store.name}
                self._event(FORGED, f"{self._ref}: {text}", data, None)

    def _judge(self, policy: RetentionPolicy, timezone: tzinfo) -> list[Verdict]:
        verdicts = judge(self._view, policy, timezone)
        if self._view.doubt is not None:
            self._notes.append(f"{self._ref}: nothing is deleted for some days: {self._view.doubt}")
        unknown = sum(one.id not in self._view.records for one in verdicts)
        if unknown:
            self._notes.append(
                f"{self._ref}: {unknown} backups in the stores stay because the catalog does not "
                "know them; `guardian catalog rebuild` takes them in"
            )
        return verdicts

    def _remember(self) -> None:
        """Tell the catalog of copies that it does not know to be there (the stores are right)."""
        for found in self._view.surveys:
            store = found.store.name
            for backup, copy in found.copies.items():
                record = self._view.records.get(backup)
                if record is None or self._view.is_running(backup) or store in record.stores:
                    continue
                if copy.damage is None:
                    self._catalog.import_manifest(copy.manifest, store, copy.locked_until)

    def _apply(self, verdict: Verdict) -> list[PrunedCopy]:
        kept = [PrunedCopy(one.survey.store.name, keep=True) for one in verdict.copies]
        if all(one.keep for one in verdict.copies):
            return kept
        name = READING + verdict.id
        try:
            # Renewed: a store that is slow to delete must not let a reader in.
            with LeaseKeeper(self._catalog, name, self._holder, LEASE_TTL) as keeper:
                return [self._apply_to_copy(verdict.id, one, keeper) for one in verdict.copies]
        except AlreadyRunningError as error:
            self._notes.append(f"{verdict.id} stays for now: {error.message}")
            return kept

    def _apply_to_copy(self, backup: BackupId, one: CopyVerdict, keeper: LeaseKeeper) -> PrunedCopy:
        if one.keep:
            return PrunedCopy(one.survey.store.name, keep=True)
        if keeper.lost.is_set() or self._is_wanted(backup):
            self._notes.append(f"{backup} stays: it was pinned, or is being read, by now")
            return PrunedCopy(one.survey.store.name, keep=True)
        return self._delete(one.survey.store, one.copy)

    def _is_wanted(self, backup: BackupId) -> bool:
        record = self._catalog.backup(backup)
        others = self._catalog.leases(f"{READING}{backup}:")
        return bool(others) or (record is not None and record.kept)

    def _delete(self, store: Store, copy: Copy) -> PrunedCopy:
        backup = copy.manifest.id
        if store.name in self._failing:
            return PrunedCopy(store.name, keep=False, error="not tried: the store failed before")
        gone = False
        try:
            until = self._locked_until(store, copy)
            if until is not None and until > self._view.now:
                return PrunedCopy(store.name, keep=False, locked_until=until)
            # First of all the catalog: a stop in between leaves nothing listed that is not there,
            # and what is there after all, the next look at the store tells.
            self._catalog.forget_copy(backup, store.name, self._clock.now())
            for stored in copy.objects:
                store.delete(stored.key)
                if not gone:
                    gone = True
                    self._told_gone(store, backup, "backup.pruned", "deleted, no rule keeps it")
        except StoreLockedError as error:
            self._notes.append(f"{backup}: {error.message}")
            self._still_there(store, copy, gone=gone)
            return PrunedCopy(store.name, keep=False, deleted=gone, error=str(error))
        except StoreError as error:
            self._failing.add(store.name)
            self._still_there(store, copy, gone=gone)
            self._problem(f"{backup} was not deleted in full: {error}", store, backup)
            return PrunedCopy(store.name, keep=False, deleted=gone, error=str(error))
        return PrunedCopy(store.name, keep=False, deleted=True)

    def _locked_until(self, store: Store, copy: Copy) -> datetime | None:
        """Until when it is locked: as the listing, the object itself, or the catalog knows."""
        manifest = store.stat(copy.objects[0].key)
        record = self._view.records.get(copy.manifest.id)
        outcomes = record.outcomes if record else ()
        known = [
            copy.locked_until,
            manifest.locked_until if manifest else None,
            *(one.locked_until for one in outcomes if one.store == store.name),
        ]
        return max((until for until in known if until is not None), default=None)

    def _sweep(self, found: Survey, backup: BackupId, objects: Sequence[StoredObject]) -> None:
        store = found.store
        if store.name in self._failing or not is_over(self._view, found, backup, objects):
            return
        try:
            # The listing was a while ago: the backup may have been finished since.
            if store.stat(manifest_key(self._ref, backup)) is not None:
                return
            record = self._view.records.get(backup)
            believed = record is not None and store.name in record.stores
            if believed and (self._is_wanted(backup) or not self._is_elsewhere(store, backup)):
                text = f"the manifest of {backup} is gone; its parts stay, for it is pinned, being "
                text += "read, or whole in no other store: put it back, or let `guardian catalog "
                self._problem(f"{text}rebuild` forget that copy", store, backup)
                return
            if believed:
                self._catalog.forget_copy(backup, store.name, self._clock.now())
                self._told_gone(store, backup, "backup.missing", "its manifest is gone")
            for stored in objects:
                store.delete(stored.key)
                self._swept += 1
        except StoreLockedError as error:
            self._notes.append(f"{backup}: parts without manifest stay for now: {error.message}")
        except StoreError as error:
            self._failing.add(store.name)
            text = f"{backup}: parts without manifest were not removed in full: {error}"
            self._problem(text, store, backup)

    def _is_elsewhere(self, store: Store, backup: BackupId) -> bool:
        copies = [one.copies.get(backup) for one in self._view.surveys if one.store is not store]
        return any(copy is not None and copy.damage is None for copy in copies)

    def _sweep_unfinished(self, store: Store) -> None:
        if store.name in self._failing:
            return
        try:
            before = unfinished_before(self._view, store.name)
            self._swept += store.sweep(database_prefix(self._ref), before)
        except StoreError as error:
            self._problem(f"unfinished writes were not removed: {error}", store)

    def _still_there(self, store: Store, copy: Copy, *, gone: bool) -> None:
        """Its manifest could not be deleted, so it is to be listed, as far as can be told."""
        record = self._view.records.get(copy.manifest.id)
        if gone or record is None or store.name not in record.stores:
            return
        try:
            gone = store.stat(copy.objects[0].key) is None
        except StoreError:
            gone = False
        if not gone:
            self._catalog.import_manifest(copy.manifest, store.name, copy.locked_until)

    def _told_gone(self, store: Store, backup: BackupId, kind: str, why: str) -> None:
        self._event(kind, f"{backup} in {store.name}: {why}", {"store": store.name}, backup)

    def _problem(self, text: str, store: Store, backup: BackupId | None = None) -> None:
        self._problems.append(f"{self._ref}: {text}")
        data = {"store": store.name, "run": self._run}
        self._event(PRUNE_FAILED, f"{self._ref}: {text}", data, backup)

    def _is_mended(self) -> None:
        """Tell that the row of failures has ended; without one there is nothing to tell."""
        failed, mended = (self._latest(kind) for kind in (PRUNE_FAILED, PRUNE_MENDED))
        if failed is not None and (mended is None or mended.at <= failed.at):
            self._event(PRUNE_MENDED, f"{self._ref}: retention is applied again", {}, None)

    def _latest(self, kind: str) -> Event | None:
        events = self._catalog.events(_EVENTS, kind)
        return next((one for one in events if one.ref == self._ref), None)

    def _event(
        self, kind: str, text: str, data: Mapping[str, str], backup: BackupId | None
    ) -> None:
        if self._dry_run:
            return
        event = Event(self._clock.now(), kind, text, self._ref, backup=backup, data=data)
        self._catalog.record_event(event)

    def _result(
        self, verdicts: Sequence[Verdict], copies: Sequence[Sequence[PrunedCopy]]
    ) -> PruneResult:
        return PruneResult(
            ref=self._ref,
            dry_run=self._dry_run,
            backups=tuple(
                self._pruned(verdict, tuple(found))
                for verdict, found in zip(verdicts, copies, strict=True)
            ),
            swept=self._swept,
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )

    def _pruned(self, verdict: Verdict, copies: tuple[PrunedCopy, ...]) -> PrunedBackup:
        record = self._view.records.get(verdict.id)
        elsewhere = set(record.stores if record else ()) - {copy.store for copy in copies}
        locks = [
            f"locked until {copy.locked_until:%Y-%m-%d %H:%M}Z in {copy.store}"
            for copy in copies
            if copy.locked_until is not None
        ]
        keep = any(copy.keep for copy in copies)
        reasons = verdict.reasons
        if keep and not verdict.keep:
            reasons = ("pinned or being read by now",)
        return PrunedBackup(
            id=verdict.id,
            ref=self._ref,
            keep=keep,
            reasons=(*reasons, *locks),
            deleted=all(copy.deleted for copy in copies) and not elsewhere,
            copies=copies,
        )


def _read_id(lease: str) -> BackupId:
    return BackupId(lease.removeprefix(READING).partition(":")[0])
