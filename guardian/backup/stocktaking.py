"""What the stores hold, for a catalog that is made anew from the stores alone.

Unlike a survey for pruning it trusts no catalog, reads every manifest with what lies beside it, and
goes on after one that cannot be read. It changes nothing, and holds some backups at a time: a
bucket with a hundred thousand of them needs no more memory than one with a thousand.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from guardian.backup.kept_file import KEPT_NAME, KeptNote
from guardian.backup.manifest import MANIFEST_NAME, database_prefix, manifest_key
from guardian.backup.pins import pin_to_be_safe
from guardian.backup.proof_file import is_proof_name
from guardian.backup.proofs import fitting_proofs
from guardian.backup.recovery import read_hashed_manifest
from guardian.backup.survey import copy_of, folders, is_ours
from guardian.errors import ManifestError, SignatureError, StoreError, StoreNotFoundError
from guardian.model import BackupId, DatabaseRef, Manifest, ProofRecord, StoredObject
from guardian.ports import Progress, Store

READERS = 8
"""Threads that read a store: a bucket answers each request after some 50 ms."""

BATCH = 256
"""So many backups are held at a time."""

_PATIENCE = 2 * READERS
"""After so many failures in a row the store is taken to be away: each may have cost minutes."""

Batch = dict[BackupId, dict[str, StoredObject]]
"""Some backups of one database, each with the objects of its folder by their names."""


@dataclass(frozen=True, slots=True)
class StockedBackup:
    """One backup that lies whole in a store, with the drills and the pin told beside it."""

    manifest: Manifest
    locked_until: datetime | None = None
    proofs: tuple[ProofRecord, ...] = ()
    pin: KeptNote | None = None


class Stock:
    """What one store holds, read a database at a time, by a pool of threads.

    ``databases`` counts the backups of each. ``unfinished`` counts folders with parts and no
    manifest, of what was read so far; ``damaged``, ``problems`` and ``notes`` are a line each.
    ``error`` says why the store could not be listed, or was given up; then nothing may be
    concluded from what is missing here. No method raises anything of the store's.
    """

    def __init__(self, store: Store, pool: Executor) -> None:
        self.store = store
        self.databases = Counter[DatabaseRef]()
        self.manifest_bytes = 0
        self.unfinished = 0
        self.damaged: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.error: str | None = None
        self._pool = pool
        self._health = _Health()

    def look_through(self) -> None:
        """List all of it, to know the databases; nothing else is kept."""
        try:
            for (ref, _), parts in _by_folder(self.store.list()):
                whole = parts.get(MANIFEST_NAME)
                self.databases[ref] += whole is not None
                self.manifest_bytes += 0 if whole is None else whole.size
        except StoreError as error:
            self.error = str(error)
            self.databases.clear()

    def batches(self, ref: DatabaseRef) -> Iterator[Batch]:
        """The database's backups that have a manifest. Ends early once there is an ``error``."""
        if self.error is not None:
            return
        batch: Batch = {}
        found = False
        try:
            for (of, backup), parts in _by_folder(self.store.list(database_prefix(ref))):
                if of != ref:
                    continue
                if MANIFEST_NAME not in parts:
                    self.unfinished += any(map(is_ours, parts))
                    continue
                found = True
                batch[backup] = parts
                if len(batch) == BATCH:
                    yield batch
                    batch = {}
                if self._health.error is not None:
                    return  # given up meanwhile, by read
        except StoreError as error:
            self.error = str(error)
        if batch:
            yield batch
        if self.databases[ref] and not found and self.error is None:
            # No retention takes the last one: a disk was unmounted, or somebody is deleting.
            self.error = f"the backups of {ref} went away while they were read"

    def read(
        self, batch: Batch, new: Iterable[BackupId], ref: DatabaseRef, now: datetime, told: Progress
    ) -> list[StockedBackup]:
        """What is whole of a batch; ``new`` ones are looked at again, for locks.

        A listing of a bucket does not tell of those.
        """
        fresh = frozenset(new)

        def read(backup: BackupId) -> _Reading:
            reading = _Reading(self.store, ref, backup, self._health)
            if self._health.error is None:
                reading.read(batch[backup], now, is_new=backup in fresh)
            told.advance(batch[backup][MANIFEST_NAME].size)
            return reading

        found = []
        for reading in self._pool.map(read, batch):
            self.damaged += reading.damaged
            self.problems += reading.problems
            self.notes += reading.notes
            found += reading.found
        if self._health.error is not None:
            last = self._health.error
            self.error = f"given up after {_PATIENCE} failures in a row, the last: {last}"
        return found


def _by_folder(
    listed: Iterable[StoredObject],
) -> Iterator[tuple[tuple[DatabaseRef, BackupId], dict[str, StoredObject]]]:
    """Backups out of a listing, as it comes: stores list in order of key, so folder by folder.

    With all that lies below a folder: what somebody put there in a folder of its own stands in the
    middle of it, and must not cut it in two.
    """
    for _, group in groupby(listed, key=lambda one: one.key.split("/")[:3]):
        yield from folders(group).items()


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
        self.problems: list[str] = []
        self.notes: list[str] = []

    def read(self, parts: dict[str, StoredObject], now: datetime, *, is_new: bool) -> None:
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
        locked_until = copy.locked_until
        if is_new:
            try:
                stored = store.stat(manifest_key(ref, backup))
            except StoreError as error:
                self.problems.append(f"{backup} was not looked at again: {error}")
            else:
                if stored is None:
                    return  # somebody has just deleted it
                locked_until = stored.locked_until or locked_until
        self.found.append(StockedBackup(manifest, locked_until, tuple(proofs), pin))

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
