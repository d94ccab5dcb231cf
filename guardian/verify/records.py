"""What a drill found, written down: in the catalog, and beside the backup in the drilled store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from guardian.backup.pins import pin_to_be_safe, read_pin
from guardian.backup.proof_file import proof_name
from guardian.backup.proofs import read_proofs, trim_proofs, write_proof
from guardian.errors import EncryptionError, ManifestError, NotFoundError, StoreError
from guardian.model import BackupId, Event, Manifest, ProofRecord
from guardian.ports import Catalog, Clock, Store

__all__ = ["read_proofs", "record_proof"]


def record_proof(
    catalog: Catalog,
    stores: Sequence[Store],
    manifest: Manifest,
    record: ProofRecord,
    *,
    clock: Clock,
    guardian_version: str,
    host: str,
) -> tuple[str, ...]:
    """Write down a drill. Returns what went wrong beside the catalog's record, a line each.

    The catalog comes first, and takes in a backup that it did not know, with its pin. Then the
    store's own record, in the store that was drilled; a store that fails there costs that alone.
    The caller holds a lease that keeps the backup from being pruned.

    Raises:
        CatalogError: nothing was recorded.
        NotFoundError: the backup is unknown to the catalog, and its store to us.
    """
    store = next((one for one in stores if one.name == record.store), None)
    notes: list[str] = []
    if catalog.backup(record.backup) is None:
        notes += _take_in(catalog, stores, store, manifest)
    catalog.record_proof(record)
    if store is None:
        return (*notes, f"{record.backup}: store {record.store} is not configured")
    try:
        write_proof(store, manifest, record, guardian_version=guardian_version, host=host)
        trim_proofs(store, manifest.ref, manifest.id, _spared(catalog, record.backup, store))
    except (StoreError, ManifestError, EncryptionError) as error:  # unsigned, it would be refused
        text = f"{record.backup}: the drill is noted in the catalog alone: {error.message}"
        data = {"store": store.name}
        happened = Event(
            clock.now(), "proof.failed", text, manifest.ref, backup=manifest.id, data=data
        )
        catalog.record_event(happened)
        notes.append(text)
    return tuple(notes)


def _take_in(
    catalog: Catalog, stores: Sequence[Store], drilled: Store | None, manifest: Manifest
) -> list[str]:
    """A backup that was drilled straight from a store; its pin, too, or pruning would not know."""
    if drilled is None:
        raise NotFoundError(f"backup {manifest.id} is neither in the catalog nor in a known store")
    pin, told = pin_to_be_safe(drilled, manifest.ref, manifest.id, manifest.finished_at)
    for store in stores:
        with contextlib.suppress(StoreError, ManifestError):
            pin = pin or read_pin(store, manifest.ref, manifest.id)
    catalog.import_manifest(manifest, drilled.name)
    if pin is not None:
        catalog.pin(manifest.id, pin.at, pin.by, pin.why)
    return [told] if told else []


def _spared(catalog: Catalog, backup: BackupId, store: Store) -> set[str]:
    """The record that decides whether the backup is proven, however many could not tell since."""
    drills = [one for one in catalog.proofs(backup) if one.store == store.name]
    return {proof_name(one.at) for one in [one for one in drills if one.proven is not None][:1]}
