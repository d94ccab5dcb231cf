"""``guardian catalog rebuild``: the catalog anew from the stores alone.

What the stores hold is taken in: backups, and the drills and pins told beside them. What the
catalog believes to lie in a store, and does not lie there any more, is forgotten. All that the
catalog alone knows (tries that failed, events, leases, pins of its own) stays. Doing it again
changes nothing, and it may run beside backups, drills and prunes:

- *First every store is read, then the catalog told*, a database at a time, under the lease that
  pruning needs: it never decides about a backup whose pin or failed drill is not taken in yet.
- *A try that runs is left to its process*: its manifest may still be taken back.
- *The reading was a while ago*: what came or went since is asked of the store again.
- *A store that cannot be listed changes nothing about its copies.*
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta

from guardian.backup.lease import LeaseKeeper
from guardian.backup.manifest import manifest_key
from guardian.backup.rebuild_result import RebuildResult, RebuiltStore
from guardian.backup.stocktaking import READERS, Stock, StockedBackup, take_stock
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
    StoredObject,
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
    with LeaseKeeper(catalog, "catalog:rebuild", holder, LEASE_TTL) as keeper:
        stocks = []
        for store in stores:
            keeper.check()
            stocks.append(take_stock(store, clock.now(), progress))
        # Tries whose process died: whole ones are taken in below, parts are swept by pruning.
        catalog.recover_runs(clock.now())
        return _Rebuilding(catalog, clock, holder, stocks).run(keeper)


class _Rebuilding:
    """One rebuild, after all stores were read."""

    def __init__(
        self, catalog: Catalog, clock: Clock, holder: Holder, stocks: Sequence[Stock]
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._holder = holder
        self._stocks = stocks
        self._found = [_by_database(stock.backups) for stock in stocks]
        self._counts = {stock.store.name: Counter[str]() for stock in stocks}
        self._believed = Counter[str]()
        self._tries: dict[BackupId, BackupRecord] = {}
        self._backups: set[BackupId] = set()
        self._proofs: set[_Identity] = set()
        self._pins: set[BackupId] = set()
        self._problems = [line for stock in stocks for line in stock.damaged]
        self._notes = [line for stock in stocks for line in stock.notes]

    def run(self, keeper: LeaseKeeper) -> RebuildResult:
        """Tell the catalog, a database at a time."""
        refs = {ref for found in self._found for ref in found}
        # After the listing: a try that has begun since cannot be in it.
        self._tries = {record.id: record for record in self._catalog.tries()}
        refs |= {record.ref for record in self._tries.values() if record.stores}
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
        for stock, found in zip(self._stocks, self._found, strict=True):
            self._take_in_store(stock.store, ref, found.get(ref, ()), lease)
        for record in self._catalog.backups(ref.server, ref.database):
            for stock in self._stocks:
                if stock.store.name in record.stores:
                    lease.check()
                    self._settle(stock, record)

    def _take_in_store(
        self, store: Store, ref: DatabaseRef, found: Sequence[StockedBackup], lease: LeaseKeeper
    ) -> None:
        """What one store holds of the database: manifests first, then what lies beside them."""
        counts = self._counts[store.name]
        tries = {one.id: one for one in self._catalog.tries(ref.server, ref.database)}
        taken: list[tuple[StockedBackup, BackupRecord | None]] = []
        new: list[StockedBackup] = []
        for one in found:
            lease.check()
            manifest = one.copy.manifest
            record = tries.get(manifest.id) or self._tries.get(manifest.id)
            before = None if record is None else self._remembered(manifest.id)
            if not self._fits(store, manifest, record, before):
                continue
            if record is None or before is None or store.name not in record.stores:
                self._catalog.import_manifest(manifest, store.name, one.copy.locked_until)
                new.append(one)
            taken.append((one, record))
        gone = self._gone(store, new)
        for one, record in taken:
            lease.check()
            if one.copy.manifest.id in gone:
                continue
            self._backups.add(one.copy.manifest.id)
            counts["backups"] += 1
            self._take_in_proofs(one, counts)
            self._take_in_pin(one, record, counts)
        counts["added"] += len(new) - len(gone)

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

    def _gone(self, store: Store, new: Sequence[StockedBackup]) -> set[BackupId]:
        """Look again for what was taken in: the reading was a while ago. Forget what is gone."""

        def look(one: StockedBackup) -> StoredObject | StoreError | None:
            manifest = one.copy.manifest
            try:
                return store.stat(manifest_key(manifest.ref, manifest.id))
            except StoreError as error:
                return error

        gone = set()
        with ThreadPoolExecutor(READERS, thread_name_prefix=f"look {store.name}") as pool:
            for one, stored in zip(new, pool.map(look, new), strict=True):
                manifest, locked_until = one.copy.manifest, one.copy.locked_until
                if isinstance(stored, StoreError):
                    self._problems.append(f"{manifest.id} was not looked at again: {stored}")
                elif stored is None:
                    self._catalog.forget_copy(manifest.id, store.name, self._clock.now())
                    gone.add(manifest.id)
                elif stored.locked_until not in {None, locked_until}:
                    self._catalog.import_manifest(manifest, store.name, stored.locked_until)
        return gone

    def _take_in_proofs(self, found: StockedBackup, counts: Counter[str]) -> None:
        if not found.proofs:
            return
        backup = found.copy.manifest.id
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
            self._proofs.add(_identity(proof))
            counts["proofs"] += 1

    def _take_in_pin(
        self, found: StockedBackup, record: BackupRecord | None, counts: Counter[str]
    ) -> None:
        pin = found.pin
        if pin is None:
            return
        if record is None or not record.kept:
            self._catalog.pin(pin.backup, pin.at, pin.by, pin.why)
        self._pins.add(pin.backup)
        counts["pins"] += 1

    def _settle(self, stock: Stock, record: BackupRecord) -> None:
        """Forget a copy that the catalog believes in, if it is surely not there."""
        store = stock.store
        self._believed[store.name] += 1
        if stock.error is not None or record.id in stock.seen:
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
            if stock.error is not None:
                self._problems.append(f"store {name} was not read in full: {stock.error}")
            if counts["forgotten"] and counts["forgotten"] == self._believed[name]:
                self._notes.append(
                    f"store {name}: all {counts['forgotten']} backups that the catalog knew there "
                    "are gone; if its disk is not mounted, mount it and run this again"
                )
            told = RebuiltStore(name, unfinished=stock.unfinished, error=stock.error, **counts)
            stores.append(told)
        text = f"found in {counted(len(stores), 'store')}: {counted(len(self._backups), 'backup')}"
        self._catalog.record_event(Event(self._clock.now(), "catalog.rebuilt", text))
        return RebuildResult(
            stores=tuple(stores),
            backups=len(self._backups),
            proofs=len(self._proofs),
            pins=len(self._pins),
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )


def _by_database(found: Sequence[StockedBackup]) -> Mapping[DatabaseRef, list[StockedBackup]]:
    backups: dict[DatabaseRef, list[StockedBackup]] = {}
    for one in found:
        backups.setdefault(one.copy.manifest.ref, []).append(one)
    return backups


def _identity(proof: ProofRecord) -> _Identity:
    return proof.backup, proof.store, proof.at
