"""What backups a store holds, read from the store itself."""

from __future__ import annotations

from guardian.backup.manifest import MANIFEST_NAME, database_prefix, parse_key, server_prefix
from guardian.backup.recovery import read_manifest
from guardian.errors import ManifestError
from guardian.model import BackupRecord, DatabaseRef, Manifest, RunStatus
from guardian.ports import Catalog, Store


def stored_manifests(
    store: Store, server: str | None = None, database: str | None = None
) -> list[Manifest]:
    """Every readable manifest of a store. A backup without one is none; a damaged one is left out.

    Raises:
        StoreError: the listing or a read failed; nothing is concluded from half a listing.
    """
    found = []
    for stored in store.list(_prefix(server, database)):
        key = parse_key(stored.key)
        if key is None or key.part != MANIFEST_NAME:
            continue
        try:
            found.append(read_manifest(store, key.ref, key.id))
        except ManifestError:
            continue
    return found


def stored_backups(
    store: Store, catalog: Catalog, server: str | None = None, database: str | None = None
) -> list[BackupRecord]:
    """As records, newest first; pins and proofs are what the catalog knows of them."""
    records = [
        _record(manifest, store.name, catalog.backup(manifest.id))
        for manifest in stored_manifests(store, server, database)
    ]
    return sorted(records, key=lambda record: record.snapshot_at or record.started_at, reverse=True)


def _prefix(server: str | None, database: str | None) -> str:
    if server is None:
        return ""
    if database is None:
        return server_prefix(server)
    return database_prefix(DatabaseRef(server, database))


def _record(manifest: Manifest, store: str, known: BackupRecord | None) -> BackupRecord:
    return BackupRecord(
        id=manifest.id,
        ref=manifest.ref,
        status=RunStatus.SUCCEEDED,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        snapshot_at=manifest.snapshot_at,
        stored_bytes=manifest.stored_bytes,
        dumped_bytes=manifest.dumped_bytes,
        proof=manifest.proof,
        stores=(store,),
        proven=known.proven if known else None,
        proven_at=known.proven_at if known else None,
        kept=known.kept if known else False,
        tables=manifest.tables,
        rows=manifest.rows,
        measured=known.measured if known else None,
    )
