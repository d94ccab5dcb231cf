"""Pins: the catalog's, which pruning obeys, and a note beside the backup, so that they outlive it.

The catalog's pin is what counts. The note is written wherever the backup lies; a store that is away
costs the note there, which is told, and not the pin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from guardian.backup.kept_file import (
    KEPT_NAME,
    LARGEST,
    KeptNote,
    decode_kept,
    encode_kept,
    kept_key,
)
from guardian.backup.lease import READING
from guardian.backup.manifest import manifest_key
from guardian.backup.small_objects import read_small, write_small
from guardian.errors import (
    AlreadyRunningError,
    ManifestError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef
from guardian.ports import Catalog, Store

UNREADABLE = f"its {KEPT_NAME} cannot be read, so it is kept to be safe"


def keep(
    catalog: Catalog,
    stores: Sequence[Store],
    record: BackupRecord,
    *,
    at: datetime,
    by: str,
    why: str | None = None,
) -> tuple[str, ...]:
    """Pin a backup: pruning never deletes it. Returns what went wrong beside that, a line each.

    Raises:
        NotFoundError: the catalog does not know it.
        AlreadyRunningError: it is being pruned right now; then it is not pinned.
    """
    catalog.pin(record.id, at, by, why)
    # A prune takes its lease before it looks for pins: either it sees ours, or we see its lease.
    for lease in catalog.leases(READING + record.id):
        if lease.name == READING + record.id:
            if not record.kept:
                catalog.unpin(record.id)
            raise AlreadyRunningError(
                f"backup {record.id} is being pruned by {lease.holder}",
                mend="see whether it is still there, and try again",
            )
    data = encode_kept(KeptNote(record.id, kept=True, at=at, by=by, why=why, ref=record.ref))

    def write(store: Store) -> None:
        if store.stat(manifest_key(record.ref, record.id)) is None:
            raise StoreNotFoundError(f"store {store.name}: the backup is not there any more")
        write_small(store, kept_key(record.ref, record.id), data)

    return _everywhere(stores, record, write, "the pin is noted in the catalog alone, not in")


def unkeep(
    catalog: Catalog, stores: Sequence[Store], record: BackupRecord, *, at: datetime, by: str
) -> tuple[str, ...]:
    """Let retention decide again. Returns what went wrong beside that, a line each."""
    data = encode_kept(KeptNote(record.id, kept=False, at=at, by=by, ref=record.ref))

    def remove(store: Store) -> None:
        key = kept_key(record.ref, record.id)
        try:
            store.delete(key)
        except StoreLockedError:
            write_small(store, key, data)

    notes = _everywhere(
        stores, record, remove, "`guardian catalog rebuild` would pin it again, as noted in"
    )
    catalog.unpin(record.id)
    return notes


def read_pin(store: Store, ref: DatabaseRef, backup: BackupId) -> KeptNote | None:
    """The note that keeps a backup; None where there is none, or one that takes the pin back.

    Raises:
        StoreError: it could not be read.
        ManifestError: it is damaged, forged, or that of another backup.
    """
    try:
        note = decode_kept(read_small(store, kept_key(ref, backup), LARGEST), backup)
    except StoreNotFoundError:
        return None
    if note.ref not in {None, ref}:
        raise ManifestError(f"{KEPT_NAME} is that of a backup of {note.ref}")
    return note if note.kept else None


def pin_to_be_safe(
    store: Store, ref: DatabaseRef, backup: BackupId, now: datetime
) -> tuple[KeptNote | None, str | None]:
    """The same; where it cannot be told, a pin, and a line that says so.

    Somebody wanted to keep it, and a backup too many does no harm.
    """
    try:
        return read_pin(store, ref, backup), None
    except (StoreError, ManifestError) as error:
        pin = KeptNote(backup, kept=True, at=now, by="guardian", why=UNREADABLE)
        return pin, f"{backup} in {store.name}: {UNREADABLE}: {error.message}"


def _everywhere(
    stores: Sequence[Store],
    record: BackupRecord,
    change: Callable[[Store], None],
    what: str,
) -> tuple[str, ...]:
    by_name = {store.name: store for store in stores}
    notes = []
    for name in record.stores:
        if name not in by_name:
            notes.append(f"{record.id}: {what} {name}: it is not configured any more")
            continue
        try:
            change(by_name[name])
        except StoreError as error:
            notes.append(f"{record.id}: {what} {name}: {error.message}")
    return tuple(notes)
