"""What backups a store holds, read from the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guardian.backup.manifest import MANIFEST_NAME, database_prefix, parse_key, server_prefix
from guardian.backup.recovery import read_manifest
from guardian.errors import ManifestError, SignatureError
from guardian.model import BackupId, BackupRecord, DatabaseRef, Manifest, RunStatus
from guardian.ports import Catalog, Store


@dataclass(frozen=True, slots=True)
class Inventory:
    """The backups of one store, newest first.

    ``refused`` says of each whose manifest is not signed as it must be, or forged, why.
    """

    records: list[BackupRecord]
    refused: dict[BackupId, SignatureError]

    def require(self, id_prefix: str) -> None:
        """Raise the SignatureError of a backup whose id begins so, if one was refused."""
        for backup, error in self.refused.items():
            if backup.startswith(id_prefix):
                raise error


def stored_backups(
    store: Store, catalog: Catalog, server: str | None = None, database: str | None = None
) -> Inventory:
    """Every backup whose manifest can be read; pins and proofs are what the catalog knows of them.

    A backup without manifest is none; a damaged one is left out.

    Raises:
        StoreError: the listing or a read failed; nothing is concluded from half a listing.
    """
    found: list[BackupRecord] = []
    refused: dict[BackupId, SignatureError] = {}
    for ref, backup in _listed(store, _prefix(server, database)):
        try:
            manifest = read_manifest(store, ref, backup)
        except SignatureError as error:
            refused[backup] = error
        except ManifestError:
            continue
        else:
            found.append(_record(manifest, store.name, catalog.backup(manifest.id)))
    found.sort(key=lambda record: record.snapshot_at or record.started_at, reverse=True)
    return Inventory(found, refused)


def _listed(store: Store, prefix: str) -> Iterator[tuple[DatabaseRef, BackupId]]:
    for stored in store.list(prefix):
        key = parse_key(stored.key)
        if key is not None and key.part == MANIFEST_NAME:
            yield key.ref, key.id


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
