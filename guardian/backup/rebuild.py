"""``guardian catalog rebuild``: the catalog anew from the stores alone.

What the stores hold is taken in: backups, and the drills and pins told beside them. What the
catalog believes to lie in a store, and does not lie there any more, is forgotten. All that the
catalog alone knows (tries that failed, events, leases, pins of its own) stays. Doing it again
changes nothing, and it may run beside backups, drills and prunes:

- *A database at a time*, out of all stores, under the lease that pruning needs: it never decides
  about a backup whose pin or failed drill is not taken in yet.
- *Some backups at a time*: they are read, and the catalog is told of them, before the next are, so
  that memory does not grow with their number. Interrupted, it has taken in what it has read; the
  next one goes through all of it again.
- *A try that runs is left to its process*: its manifest may still be taken back.
- *What came or went since the listing* is asked of the store again.
- *A store that cannot be listed changes nothing about its copies.*
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from guardian.backup.lease import LeaseKeeper
from guardian.backup.manifest import manifest_key
from guardian.backup.rebuild_result import RebuildResult, RebuiltStore
from guardian.backup.stocktaking import READERS, Batch, Stock, StockedBackup
from guardian.errors import AlreadyRunningError, ManifestError, StoreError
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Event,
    Holder,
    Manifest,
    ProofRecord,
    RunStatus,
)
from guardian.ports import Catalog, Clock, Progress, Store
from guardian.units import counted

__all__ = ["RebuildResult", "RebuiltStore", "rebuild"]

LEASE_TTL = timedelta(minutes=2)
CLOCK_MARGIN = timedelta(hours=1)
"""A drill that ended so much later than now has a wrong time, and would decide for ever."""

_PATIENCE_SECONDS = 120
"""How long to wait for a prune of a database to end."""

_Identity = tuple[BackupId, str, datetime]


def rebuild(
    catalog: Catalog,
    stores: Sequence[Store],
    clock: Clock,
    holder: Holder,
    progress: Progress,
) -> RebuildResult:
    """Take in all that these stores hold. What a store gets wrong is in the result, not raised.

    Raises:
        AlreadyRunningError: another rebuild is at work.
        CatalogError: the catalog cannot be used.
    """
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="stocktaking")
    try:
        with LeaseKeeper(catalog, "catalog:rebuild", holder, LEASE_TTL) as keeper:
            stocks = [Stock(store, pool) for store in stores]
            for stock in stocks:
                keeper.check()
                progress.begin(f"listing {stock.store.name}")
                stock.look_through()
            # Tries whose process died: whole ones are taken in below, parts are swept by pruning.
            catalog.recover_runs(clock.now())
            return _Rebuilding(catalog, clock, holder, stocks, progress).run(keeper)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _Once:
    """What was taken in of one database, each thing once however many stores have it."""

    backups: set[BackupId] = field(default_factory=set)
    proofs: set[_Identity] = field(default_factory=set)
    pins: set[BackupId] = field(default_factory=set)

    def counts(self) -> Mapping[str, int]:
        """How many of each."""
        names = ("backups", "proofs", "pins")
        return {name: len(getattr(self, name)) for name in names}


class _Rebuilding:
    """One rebuild, after all stores were looked through."""

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        holder: Holder,
        stocks: Sequence[Stock],
        progress: Progress,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._holder = holder
        self._stocks = stocks
        self._progress = progress
        self._counts = {stock.store.name: Counter[str]() for stock in stocks}
        self._believed = Counter[str]()
        self._once = Counter[str]()
        self._problems: list[str] = []
        self._notes: list[str] = []

    def run(self, keeper: LeaseKeeper) -> RebuildResult:
        """Take in all, a database at a time."""
        refs = {ref for stock in self._stocks for ref in stock.databases}
        refs |= {record.ref for record in self._catalog.newest_backups()}
        manifests = sum(stock.databases.total() for stock in self._stocks)
        size = sum(stock.manifest_bytes for stock in self._stocks)
        self._progress.begin(f"reading {counted(manifests, 'manifest')}", size)
        for ref in sorted(refs):
            keeper.check()
            try:
                with ExitStack() as held:
                    self._take_in_database(ref, self._hold_off_prune(ref, held))
            except AlreadyRunningError as error:
                self._problems.append(f"{ref} was not taken in full, run this again: {error}")
        return self._result()

    def _hold_off_prune(self, ref: DatabaseRef, held: ExitStack) -> LeaseKeeper:
        """Take the lease that a prune of the database needs; wait for one that is at work."""
        until = self._clock.monotonic() + _PATIENCE_SECONDS
        while True:
            keeper = LeaseKeeper(self._catalog, f"prune:{ref}", self._holder, LEASE_TTL)
            try:
                return held.enter_context(keeper)
            except AlreadyRunningError:
                if self._clock.monotonic() >= until:
                    raise
                self._clock.sleep(1.0)

    def _take_in_database(self, ref: DatabaseRef, lease: LeaseKeeper) -> None:
        once = _Once()
        try:
            seen = [self._take_in_store(stock, ref, once, lease) for stock in self._stocks]
        finally:
            self._once.update(once.counts())
        for record in self._catalog.each_backup(ref.server, ref.database):
            for stock, there in zip(self._stocks, seen, strict=True):
                if stock.store.name in record.stores:
                    lease.check()
                    self._settle(stock, record, there)

    def _take_in_store(
        self, stock: Stock, ref: DatabaseRef, once: _Once, lease: LeaseKeeper
    ) -> AbstractSet[BackupId]:
        """What one store holds of the database. Returns all that have a manifest there."""
        seen: set[BackupId] = set()
        for batch in stock.batches(ref):
            lease.check()
            seen.update(batch)
            self._take_in_batch(stock, ref, batch, once, lease)
        return seen

    def _take_in_batch(
        self, stock: Stock, ref: DatabaseRef, batch: Batch, once: _Once, lease: LeaseKeeper
    ) -> None:
        """Read some, then tell the catalog: each manifest, then what lies beside it."""
        name, counts = stock.store.name, self._counts[stock.store.name]
        # After the listing: a try that has begun since cannot be in it.
        known = {record.id: record for record in self._catalog.records(list(batch))}
        before = {backup: self._remembered(backup) for backup in known}
        new = {
            backup
            for backup in batch
            if before.get(backup) is None or name not in known[backup].stores
        }
        for one in stock.read(batch, new, ref, self._clock.now(), self._progress):
            lease.check()
            backup = one.manifest.id
            record = known.get(backup)
            if not self._fits(stock.store, one.manifest, record, before.get(backup)):
                continue
            if backup in new:
                self._catalog.import_manifest(one.manifest, name, one.locked_until)
                counts["added"] += 1
            once.backups.add(backup)
            counts["backups"] += 1
            self._take_in_pin(one, record, once, counts)
            self._take_in_proofs(one, once, counts)

    def _fits(
        self,
        store: Store,
        manifest: Manifest,
        record: BackupRecord | None,
        before: Manifest | None,
    ) -> bool:
        """Whether it is to be taken in, from what the catalog knows under its id."""
        if record is not None and record.status is RunStatus.RUNNING:
            self._notes.append(f"{manifest.ref} {manifest.id} is being made, and left to that run")
            return False
        if before is None or (before.ref, before.parts) == (manifest.ref, manifest.parts):
            return True
        self._counts[store.name]["damaged"] += 1
        self._problems.append(
            f"{manifest.ref} {manifest.id} in {store.name} is another backup than the catalog "
            "knows by that id, so it was not taken in"
        )
        return False

    def _remembered(self, backup: BackupId) -> Manifest | None:
        try:
            return self._catalog.manifest(backup)
        except ManifestError:
            return None  # damaged in the catalog: the store's is taken in over it

    def _take_in_proofs(self, found: StockedBackup, once: _Once, counts: Counter[str]) -> None:
        if not found.proofs:
            return
        backup = found.manifest.id
        known = {_identity(one) for one in self._catalog.proofs(backup)}
        latest = self._clock.now() + CLOCK_MARGIN
        for proof in reversed(found.proofs):
            if proof.at > latest:
                self._notes.append(
                    f"{backup}: a drill is left out that says to be of {proof.at:%Y-%m-%d %H:%M}Z"
                )
                continue
            if _identity(proof) not in known:
                self._catalog.record_proof(proof)
            once.proofs.add(_identity(proof))
            counts["proofs"] += 1

    def _take_in_pin(
        self,
        found: StockedBackup,
        record: BackupRecord | None,
        once: _Once,
        counts: Counter[str],
    ) -> None:
        pin = found.pin
        if pin is None:
            return
        if record is None or not record.kept:
            self._catalog.pin(pin.backup, pin.at, pin.by, pin.why)
        once.pins.add(pin.backup)
        counts["pins"] += 1

    def _settle(self, stock: Stock, record: BackupRecord, seen: AbstractSet[BackupId]) -> None:
        """Forget a copy that the catalog believes in, if it is surely not there."""
        store = stock.store
        self._believed[store.name] += 1
        if stock.error is not None or record.id in seen:
            return
        try:
            # It may have been finished since the listing.
            if store.stat(manifest_key(record.ref, record.id)) is not None:
                return
        except StoreError as error:
            self._problems.append(f"{record.id} was not looked for again: {error}")
            return
        now = self._clock.now()
        self._catalog.forget_copy(record.id, store.name, now)
        text = f"{record.id} in {store.name}: it is not there any more"
        data = {"store": store.name}
        event = Event(now, "backup.missing", text, record.ref, backup=record.id, data=data)
        self._catalog.record_event(event)
        self._counts[store.name]["forgotten"] += 1

    def _result(self) -> RebuildResult:
        stores = []
        for stock in self._stocks:
            name, counts = stock.store.name, self._counts[stock.store.name]
            counts["damaged"] += len(stock.damaged)
            self._problems += [*stock.damaged, *stock.problems]
            self._notes += stock.notes
            if stock.error is not None:
                self._problems.append(f"store {name} was not read in full: {stock.error}")
            if counts["forgotten"] and counts["forgotten"] == self._believed[name]:
                self._notes.append(
                    f"store {name}: all {counts['forgotten']} backups that the catalog knew there "
                    "are gone; if its disk is not mounted, mount it and run this again"
                )
            told = RebuiltStore(name, unfinished=stock.unfinished, error=stock.error, **counts)
            stores.append(told)
        backups = counted(self._once["backups"], "backup")
        text = f"found in {counted(len(stores), 'store')}: {backups}"
        self._catalog.record_event(Event(self._clock.now(), "catalog.rebuilt", text))
        return RebuildResult(
            stores=tuple(stores),
            backups=self._once["backups"],
            proofs=self._once["proofs"],
            pins=self._once["pins"],
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )


def _identity(proof: ProofRecord) -> _Identity:
    return proof.backup, proof.store, proof.at
