"""After a run that died: what it left in the stores is either a whole backup or is taken away."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from guardian.backup.manifest import (
    LARGEST,
    backup_prefix,
    decode_manifest,
    manifest_key,
    parse_key,
)
from guardian.backup.small_objects import read_small
from guardian.errors import GuardianError, ManifestError
from guardian.model import BackupId, BackupRecord, DatabaseRef, Event, Manifest
from guardian.ports import Catalog, Clock, Store


def read_manifest(store: Store, ref: DatabaseRef, backup: BackupId) -> Manifest:
    """Fetch and decode one manifest.

    Raises:
        StoreNotFoundError: there is none, so there is no such backup.
        ManifestError: it is damaged, or that of another backup.
    """
    return read_hashed_manifest(store, ref, backup)[0]


def read_hashed_manifest(store: Store, ref: DatabaseRef, backup: BackupId) -> tuple[Manifest, str]:
    """The same, with the SHA-256 of its bytes as they lie there, which proofs are bound to."""
    data = read_small(store, manifest_key(ref, backup), LARGEST)
    manifest = decode_manifest(data)
    if (manifest.id, manifest.ref) != (backup, ref):
        raise ManifestError(
            f"store {store.name}: the manifest in {backup_prefix(ref, backup)} is that of "
            f"{manifest.ref} {manifest.id}"
        )
    return manifest, hashlib.sha256(data).hexdigest()


def take_back(store: Store, ref: DatabaseRef, backup: BackupId) -> None:
    """Remove all parts of one backup, its manifest first: parts alone are no backup.

    What guardian cannot have written is left alone.

    Raises:
        StoreError: what could not be removed is left for the sweep.
    """
    store.delete(manifest_key(ref, backup))
    for stored in list(store.list(backup_prefix(ref, backup))):
        if parse_key(stored.key) is not None:
            store.delete(stored.key)


def recover(
    catalog: Catalog, stores: Sequence[Store], ref: DatabaseRef | None, clock: Clock
) -> Sequence[BackupRecord]:
    """Settle this database's runs (None: all databases') whose process died; return them.

    A run may have died after its manifest was written and before the catalog heard of it: then the
    backup is whole, and is taken into the catalog. Otherwise its parts are removed. A store that
    cannot be asked is left as it is: parts without a manifest are never taken for a backup.
    """
    dead = catalog.recover_runs(clock.now(), ref)
    for record in dead:
        for store in stores:
            try:
                outcome = _settle(catalog, store, record, clock.now())
            except GuardianError as error:
                outcome = f"could not be looked at in {store.name}: {error.message}"
            text = f"{record.id}: {outcome}"
            catalog.record_event(Event(clock.now(), "backup.recovered", text, record.ref))
    return dead


def _settle(catalog: Catalog, store: Store, record: BackupRecord, now: datetime) -> str:
    if store.stat(manifest_key(record.ref, record.id)) is None:
        take_back(store, record.ref, record.id)
        store.sweep(backup_prefix(record.ref, record.id), now)
        return f"unfinished parts removed from {store.name}"
    catalog.import_manifest(read_manifest(store, record.ref, record.id), store.name)
    return f"found whole in {store.name}"
