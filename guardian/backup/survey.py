"""What really lies in a store: whole backups, damaged ones, and parts without a manifest.

The stores are the truth about what backups there are; the catalog only remembers. Nothing here
changes anything, and an error is never taken for "there is nothing".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from guardian.backup.manifest import (
    MANIFEST_NAME,
    NOTES_NAME,
    STEMS,
    backup_prefix,
    database_prefix,
    parse_key,
)
from guardian.backup.recovery import read_manifest
from guardian.errors import ManifestError
from guardian.model import BackupId, DatabaseRef, Manifest, StoredObject
from guardian.ports import Store

_OURS = re.compile(
    rf"(?:{'|'.join(map(re.escape, STEMS.values()))}|data-\d+|proof-)[A-Za-z0-9._-]*"
    rf"|{re.escape(NOTES_NAME)}|{re.escape(MANIFEST_NAME)}"
)


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
        """Until when object lock forbids to delete it, as far as the listing tells."""
        return max((one.locked_until for one in self.objects if one.locked_until), default=None)


@dataclass(frozen=True, slots=True)
class Survey:
    """All of one database in one store.

    ``leftovers`` are parts without a manifest. ``unreadable`` says of each backup whose manifest
    could not be understood why; whatever such a folder holds is to be left alone. ``latest`` is the
    newest time of any object: what the store's own clock has certainly reached.
    """

    store: Store
    copies: dict[BackupId, Copy]
    leftovers: dict[BackupId, tuple[StoredObject, ...]]
    unreadable: dict[BackupId, str]
    latest: datetime | None


def survey(
    store: Store, ref: DatabaseRef, remembered: Callable[[BackupId], Manifest | None]
) -> Survey:
    """Look at everything of one database in one store.

    ``remembered`` gives the manifest of a backup that the catalog knows, which spares reading
    hundreds of them from a bucket each night.

    Raises:
        StoreError: the listing or the reading of a manifest failed. There is no partial answer.
    """
    found: dict[BackupId, dict[str, StoredObject]] = {}
    latest = None
    for stored in store.list(database_prefix(ref)):
        latest = stored.modified_at if latest is None else max(latest, stored.modified_at)
        parsed = parse_key(stored.key)
        if parsed is not None and parsed.ref == ref and started_at(parsed.id) is not None:
            found.setdefault(parsed.id, {})[parsed.part] = stored
    result = Survey(store, {}, {}, {}, latest)
    for backup, parts in found.items():
        if MANIFEST_NAME not in parts:
            ours = tuple(stored for name, stored in parts.items() if _OURS.fullmatch(name))
            if ours:
                result.leftovers[backup] = ours
            continue
        try:
            manifest = remembered(backup) or read_manifest(store, ref, backup)
        except ManifestError as error:
            result.unreadable[backup] = f"store {store.name}: {backup}: {error.message}"
        else:
            result.copies[backup] = _copy(store, manifest, parts)
    return result


def started_at(backup: BackupId) -> datetime | None:
    """The time in a backup's id; None for digits that are no time, so none of ours."""
    try:
        return datetime.strptime(backup[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _copy(store: Store, manifest: Manifest, parts: dict[str, StoredObject]) -> Copy:
    listed = {part.name for part in manifest.parts}
    ours = [name for name in parts if name in listed or _OURS.fullmatch(name)]
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
