"""What really lies in a store: whole backups, damaged ones, and parts without a manifest.

The stores are the truth about what backups there are; the catalog only remembers. Nothing here
changes anything, and an error is never taken for "there is nothing".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from guardian.backup.kept_file import KEPT_NAME
from guardian.backup.manifest import (
    MANIFEST_NAME,
    NOTES_NAME,
    STEMS,
    backup_prefix,
    database_prefix,
    parse_key,
)
from guardian.backup.proof_file import is_proof_name
from guardian.backup.recovery import read_manifest
from guardian.backup.signature import SUFFIX, is_signature
from guardian.errors import ManifestError, SignatureError
from guardian.model import BackupId, DatabaseRef, Manifest, StoredObject
from guardian.ports import Store

_OURS = re.compile(
    rf"(?:{'|'.join(map(re.escape, STEMS.values()))}|data-\d+)[A-Za-z0-9._-]*"
    rf"|{re.escape(NOTES_NAME)}|{re.escape(MANIFEST_NAME)}"
)

Folders = dict[tuple[DatabaseRef, BackupId], dict[str, StoredObject]]
"""The objects of each backup by their names within its folder."""


def is_beside(name: str) -> bool:
    """Whether an object was put beside a backup later: the record of a drill, or of a pin."""
    document = name.removesuffix(SUFFIX)
    return document == KEPT_NAME or is_proof_name(document)


def is_ours(name: str) -> bool:
    """Whether guardian writes objects of this name into a backup's folder."""
    return _OURS.fullmatch(name) is not None or is_beside(name) or is_signature(name)


@dataclass(frozen=True, slots=True)
class Copy:
    """One backup in one store: its manifest is there, so it counts.

    ``objects`` are guardian's alone (what a person put beside them is left out), in the order in
    which they are to be deleted: the manifest first and RESTORE.txt last. ``written_at`` is the
    manifest's time by the store's clock. ``damage`` names a part that is missing or too short.
    """

    manifest: Manifest
    objects: tuple[StoredObject, ...]
    written_at: datetime
    damage: str | None = None

    @property
    def locked_until(self) -> datetime | None:
        """Until when object lock forbids to delete it, as far as the listing tells.

        What was put beside it later has later locks, and is no reason to keep the backup.
        """
        locks = (
            one.locked_until
            for one in self.objects
            if one.locked_until and not is_beside(one.key.rpartition("/")[2])
        )
        return max(locks, default=None)


@dataclass(frozen=True, slots=True)
class Survey:
    """All of one database in one store.

    ``leftovers`` are parts without a manifest. ``unreadable`` says of each backup whose manifest
    could not be understood why, ``refused`` the same of those that nobody of ours has signed;
    whatever such folders hold is to be left alone, and counts for nothing. ``latest`` is the newest
    time of any object: what the store's own clock has certainly reached.
    """

    store: Store
    copies: dict[BackupId, Copy]
    leftovers: dict[BackupId, tuple[StoredObject, ...]]
    unreadable: dict[BackupId, str]
    latest: datetime | None
    refused: dict[BackupId, SignatureError] = field(default_factory=dict)


def survey(
    store: Store, ref: DatabaseRef, remembered: Callable[[BackupId], Manifest | None]
) -> Survey:
    """Look at everything of one database in one store.

    ``remembered`` gives the manifest of a backup that the catalog knows, which spares reading
    hundreds of them from a bucket each night.

    Raises:
        StoreError: the listing or the reading of a manifest failed. There is no partial answer.
    """
    listed = list(store.list(database_prefix(ref)))
    latest = max((stored.modified_at for stored in listed), default=None)
    result = Survey(store, {}, {}, {}, latest)
    for (found, backup), parts in folders(listed).items():
        if found != ref:
            continue
        if MANIFEST_NAME not in parts:
            ours = tuple(stored for name, stored in parts.items() if is_ours(name))
            if ours:
                result.leftovers[backup] = ours
            continue
        try:
            manifest = remembered(backup) or read_manifest(store, ref, backup)
        except SignatureError as error:
            result.refused[backup] = error
        except ManifestError as error:
            result.unreadable[backup] = f"store {store.name}: {backup}: {error.message}"
        else:
            result.copies[backup] = copy_of(store, manifest, parts)
    return result


def folders(listed: Iterable[StoredObject]) -> Folders:
    """A listing by backup; what guardian cannot have written is left out."""
    found: Folders = {}
    for stored in listed:
        parsed = parse_key(stored.key)
        if parsed is not None and started_at(parsed.id) is not None:
            found.setdefault((parsed.ref, parsed.id), {})[parsed.part] = stored
    return found


@lru_cache(maxsize=64)  # asked for each object of a folder in turn
def started_at(backup: BackupId) -> datetime | None:
    """The time in a backup's id; None for digits that are no time, so none of ours."""
    try:
        return datetime.strptime(backup[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def copy_of(store: Store, manifest: Manifest, parts: dict[str, StoredObject]) -> Copy:
    """A backup in one store, from what the listing of its folder shows.

    Raises:
        StoreError: a part that is not in the listing could not be asked for.
    """
    listed = {part.name for part in manifest.parts}
    ours = [name for name in parts if name in listed or is_ours(name)]
    ours.sort(key=lambda name: (name != MANIFEST_NAME, name == NOTES_NAME, name))
    return Copy(
        manifest=manifest,
        objects=tuple(parts[name] for name in ours),
        written_at=parts[MANIFEST_NAME].modified_at,
        damage=_damage(store, manifest, parts),
    )


def _damage(store: Store, manifest: Manifest, parts: dict[str, StoredObject]) -> str | None:
    for part in manifest.parts:
        stored = parts.get(part.name)
        if stored is None or stored.size != part.stored_bytes:
            # A listing takes a while: the backup may have been finished in the middle of it.
            stored = store.stat(backup_prefix(manifest.ref, manifest.id) + part.name)
        if stored is None:
            return f"{part.name} is missing"
        if stored.size != part.stored_bytes:
            return f"{part.name} has {stored.size} bytes instead of {part.stored_bytes}"
    return None
