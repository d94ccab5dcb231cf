"""The records of drills beside a backup: written, read back, and never too many of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from guardian.backup.manifest import backup_prefix, parse_key
from guardian.backup.proof_file import (
    LARGEST,
    decode_proof,
    encode_proof,
    is_proof_name,
    proof_key,
    proof_name,
)
from guardian.backup.recovery import read_hashed_manifest
from guardian.backup.small_objects import read_small, write_small
from guardian.errors import ManifestError, StoreError, StoreLockedError, StoreNotFoundError
from guardian.model import BackupId, DatabaseRef, Manifest, ProofRecord
from guardian.ports import Store

MOST_FILES = 10
"""How many records of drills stay beside one backup."""

Note = Callable[[str], object]
"""Hears one line about what was left out."""


def read_proofs(
    store: Store,
    ref: DatabaseRef,
    backup: BackupId,
    *,
    note: Note = lambda _: None,
) -> list[ProofRecord]:
    """The drills of one backup that are told beside it in this store, the latest first.

    Left out, and told to ``note``, are records that cannot be read or were forged, and those of
    another manifest than the one that lies there.

    Raises:
        StoreNotFoundError: there is no such backup.
        ManifestError: its manifest is damaged, so nothing can be bound to it.
        StoreError: the listing, or the reading of the manifest, failed.
    """
    _, sha256 = read_hashed_manifest(store, ref, backup)
    return fitting_proofs(store, ref, backup, sha256, proof_names(store, ref, backup), note)


def proof_names(store: Store, ref: DatabaseRef, backup: BackupId) -> list[str]:
    """The names of the records beside one backup, the latest last. Raises StoreError."""
    keys = (parse_key(stored.key) for stored in store.list(backup_prefix(ref, backup)))
    return sorted(key.part for key in keys if key is not None and is_proof_name(key.part))


def fitting_proofs(
    store: Store,
    ref: DatabaseRef,
    backup: BackupId,
    manifest_sha256: str,
    names: Iterable[str],
    note: Note,
) -> list[ProofRecord]:
    """Of the records of these names, those that can be read and speak of this very manifest."""
    found = []
    for name in names:
        try:
            data = read_small(store, backup_prefix(ref, backup) + name, LARGEST)
            proof = decode_proof(data, backup)
        except StoreNotFoundError:
            continue  # deleted since it was listed
        except (StoreError, ManifestError) as error:
            note(f"{backup}: {name} in {store.name} is left out: {error.message}")
            continue
        if proof.manifest_sha256 != manifest_sha256:
            note(f"{backup}: {name} in {store.name} is left out: it is about another manifest")
        elif name != proof_name(proof.record.at):
            note(f"{backup}: {name} in {store.name} is left out: it is of another time")
        else:
            found.append(proof.record)
    return sorted(found, key=lambda record: record.at, reverse=True)


def write_proof(
    store: Store, manifest: Manifest, record: ProofRecord, *, guardian_version: str, host: str
) -> None:
    """Tell of a drill beside the backup that it judged.

    Raises:
        StoreError: the store cannot be read or written.
        ManifestError: another manifest lies there now than the one that was judged.
    """
    there, sha256 = read_hashed_manifest(store, manifest.ref, manifest.id)
    if there.parts != manifest.parts:
        raise ManifestError(f"store {store.name}: the manifest of {manifest.id} was replaced")
    data = encode_proof(
        record, manifest_sha256=sha256, guardian_version=guardian_version, host=host
    )
    write_small(store, proof_key(manifest.ref, manifest.id, record.at), data)


def trim_proofs(store: Store, ref: DatabaseRef, backup: BackupId, spared: Collection[str]) -> None:
    """Delete all but the newest :data:`MOST_FILES` records, and those whose names are ``spared``.

    What object lock holds stays for now.

    Raises:
        StoreError: the store cannot be listed, or refuses.
    """
    for name in proof_names(store, ref, backup)[:-MOST_FILES]:
        if name in spared:
            continue
        try:
            store.delete(backup_prefix(ref, backup) + name)
        except StoreLockedError:
            continue
