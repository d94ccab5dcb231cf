"""Everything that one store holds, for a catalog that is made anew from the stores alone.

Unlike a survey for pruning it trusts no catalog, reads every manifest with what lies beside it, and
goes on after one that cannot be read. It changes nothing.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from guardian.backup.kept_file import KEPT_NAME, KeptNote
from guardian.backup.manifest import MANIFEST_NAME
from guardian.backup.pins import pin_to_be_safe
from guardian.backup.proof_file import is_proof_name
from guardian.backup.proofs import fitting_proofs
from guardian.backup.recovery import read_hashed_manifest
from guardian.backup.survey import Copy, copy_of, folders, is_ours
from guardian.errors import ManifestError, SignatureError, StoreError, StoreNotFoundError
from guardian.model import BackupId, DatabaseRef, Manifest, ProofRecord, StoredObject
from guardian.ports import Progress, Store
from guardian.units import counted

READERS = 8
"""Threads that read a store: a bucket answers each request after some 50 ms."""

_PATIENCE = 2 * READERS
"""After so many failures in a row the store is taken to be away: each may have cost minutes."""


@dataclass(frozen=True, slots=True)
class StockedBackup:
    """One backup that lies whole in a store, with the drills and the pin told beside it."""

    copy: Copy
    proofs: tuple[ProofRecord, ...] = ()
    pin: KeptNote | None = None


@dataclass(slots=True)
class Stock:
    """What one store holds.

    ``seen`` are all backups with a manifest, also those that ``damaged`` says a line of each.
    ``unfinished`` counts folders with parts and no manifest. ``error`` says why the store could not
    be listed, or was given up; then nothing may be concluded from what is missing here.
    """

    store: Store
    backups: list[StockedBackup] = field(default_factory=list)
    seen: set[BackupId] = field(default_factory=set)
    unfinished: int = 0
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None


def take_stock(store: Store, now: datetime, progress: Progress) -> Stock:
    """Read one store in full. Raises nothing of the store's: what failed is in the result."""
    stock = Stock(store)
    progress.begin(f"listing {store.name}")
    try:
        listed = folders(store.list())
    except StoreError as error:
        stock.error = str(error)
        return stock
    whole = {key: parts for key, parts in listed.items() if MANIFEST_NAME in parts}
    stock.seen = {backup for _, backup in whole}
    stock.unfinished = sum(
        any(map(is_ours, parts)) for key, parts in listed.items() if key not in whole
    )

    sizes = {key: parts[MANIFEST_NAME].size for key, parts in whole.items()}
    label = f"reading {counted(len(whole), 'manifest')} in {store.name}"
    progress.begin(label, sum(sizes.values()))
    health = _Health()

    def read(item: tuple[tuple[DatabaseRef, BackupId], dict[str, StoredObject]]) -> _Reading:
        reading = _Reading(store, *item[0], health)
        if health.error is None:
            reading.read(item[1], now)
        progress.advance(sizes[item[0]])
        return reading

    with ThreadPoolExecutor(READERS, thread_name_prefix=f"stock {store.name}") as pool:
        try:
            for reading in pool.map(read, whole.items()):
                stock.damaged += reading.damaged
                stock.notes += reading.notes
                stock.backups += reading.found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if health.error is not None:
        stock.error = f"given up after {_PATIENCE} failures in a row, the last: {health.error}"
    return stock


class _Health:
    """Tells an object that cannot be read from a store that has gone away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self.error: StoreError | None = None

    def well(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self, error: StoreError) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= _PATIENCE:
                self.error = error


class _Reading:
    """One backup's folder, read."""

    def __init__(self, store: Store, ref: DatabaseRef, backup: BackupId, health: _Health) -> None:
        self._store = store
        self._ref = ref
        self._backup = backup
        self._health = health
        self.found: list[StockedBackup] = []
        self.damaged: list[str] = []
        self.notes: list[str] = []

    def read(self, parts: dict[str, StoredObject], now: datetime) -> None:
        store, ref, backup = self._store, self._ref, self._backup
        try:
            manifest, sha256 = read_hashed_manifest(store, ref, backup)
            copy = copy_of(store, manifest, parts)
        except StoreNotFoundError:
            return  # pruned since it was listed
        except (StoreError, ManifestError) as error:
            told = str(error) if isinstance(error, SignatureError) else error.message
            self.damaged.append(f"{ref} {backup} in {store.name}: {told}")
            if isinstance(error, StoreError):
                self._health.failed(error)
            return
        self._health.well()
        if (why := copy.damage or _unfit(manifest)) is not None:
            self.damaged.append(f"{ref} {backup} in {store.name}: {why}")
            return
        names = sorted(filter(is_proof_name, parts))
        proofs = fitting_proofs(store, ref, backup, sha256, names, self.notes.append)
        pin = self._pin(now) if KEPT_NAME in parts else None
        self.found.append(StockedBackup(copy, tuple(proofs), pin))

    def _pin(self, now: datetime) -> KeptNote | None:
        pin, told = pin_to_be_safe(self._store, self._ref, self._backup, now)
        if told is not None:
            self.notes.append(told)
        return pin


def _unfit(manifest: Manifest) -> str | None:
    """What a catalog cannot hold: whoever writes to the store may have written anything."""
    try:
        manifest.ref.database.encode()
    except UnicodeEncodeError:
        return "the database's name is not UTF-8"
    return "the sizes are impossible" if manifest.dumped_bytes >= 1 << 63 else None
