"""Between the catalog's rows and guardian's records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from guardian.adapters.catalog.rules import printable
from guardian.errors import CatalogError, Cause
from guardian.model import (
    BackupId,
    BackupRecord,
    CheckOutcome,
    DatabaseRef,
    Difference,
    Event,
    Holder,
    Lease,
    Manifest,
    Measured,
    ProofLevel,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)


def backup_record(row: Any, copies: Sequence[Any]) -> BackupRecord:
    """One try, from its row (with ``pinned``) and the rows of its copies, in order."""
    status = RunStatus(row.status)
    return BackupRecord(
        id=BackupId(row.id),
        ref=DatabaseRef(row.server, row.database),
        status=status,
        started_at=row.started_at,
        finished_at=row.finished_at,
        snapshot_at=row.snapshot_at,
        stored_bytes=row.stored_bytes,
        dumped_bytes=row.dumped_bytes,
        proof=ProofLevel(row.proof),
        stores=tuple(copy.store for copy in copies if is_there(status, copy)),
        outcomes=tuple(outcome(copy) for copy in copies),
        proven=row.proven,
        proven_at=row.proven_at,
        kept=row.pinned,
        cause=Cause(row.cause) if row.cause else None,
        error=row.error,
        tables=row.tables,
        rows=row.rows,
        measured=_measured(row),
    )


def _measured(row: Any) -> Measured | None:
    if row.drilled_seconds is None:
        return None
    return Measured(
        fetch_seconds=row.fetch_seconds,
        restore_seconds=row.restore_seconds,
        compare_seconds=row.compare_seconds,
        seconds=row.drilled_seconds,
        tables=row.drilled_tables,
        rows=row.drilled_rows,
    )


def is_there(status: RunStatus, copy: Any) -> bool:
    """Whether the backup lies in that store, whole."""
    return (
        status is RunStatus.SUCCEEDED
        and copy.status == StoreStatus.SUCCEEDED
        and copy.deleted_at is None
    )


def outcome(copy: Any) -> StoreOutcome:
    """What became of the backup in one store."""
    return StoreOutcome(
        store=copy.store,
        status=StoreStatus(copy.status),
        error=copy.error,
        cause=Cause(copy.cause) if copy.cause else None,
        locked_until=copy.locked_until,
    )


def copy_values(position: int, found: StoreOutcome) -> dict[str, Any]:
    """The columns of one copy, but for its backup. Whatever was there before is gone."""
    return {
        "store": found.store,
        "position": position,
        "status": found.status.value,
        "error": found.error,
        "cause": found.cause.value if found.cause else None,
        "locked_until": found.locked_until,
        "deleted_at": None,
    }


def manifest_values(manifest: Manifest) -> dict[str, Any]:
    """The columns of a try that succeeded, as its manifest tells them."""
    return {
        "server": manifest.ref.server,
        "database": manifest.ref.database,
        "status": RunStatus.SUCCEEDED.value,
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "snapshot_at": manifest.snapshot_at,
        "stored_bytes": manifest.stored_bytes,
        "dumped_bytes": manifest.dumped_bytes,
        "proof": manifest.proof.value,
        "tables": manifest.tables,
        "rows": manifest.rows,
        "cause": None,
        "error": None,
    }


def lease(row: Any) -> Lease:
    """A lease from its row."""
    holder = Holder(row.host, row.boot, row.pid, row.pid_started, row.command)
    return Lease(row.name, row.token, holder, row.acquired_at, row.expires_at)


def lease_values(held: Lease) -> dict[str, Any]:
    """The columns of a lease."""
    return {
        "name": held.name,
        "token": held.token,
        **asdict(held.holder),
        "acquired_at": held.acquired_at,
        "expires_at": held.expires_at,
    }


def event(row: Any) -> Event:
    """An event from its row."""
    ref = DatabaseRef(row.server, row.database) if row.database is not None else None
    backup = BackupId(row.backup_id) if row.backup_id else None
    return Event(row.at, row.kind, row.message, ref, row.server, backup, json.loads(row.data))


def event_values(happened: Event) -> dict[str, Any]:
    """The columns of an event."""
    return {
        "at": happened.at,
        "kind": happened.kind,
        "message": happened.message,
        "server": happened.server,
        "database": happened.ref.database if happened.ref else None,
        "backup_id": happened.backup,
        "data": json.dumps(dict(happened.data)),
    }


def proof(row: Any) -> ProofRecord:
    """A drill from its row."""
    try:
        details = json.loads(row.details)
        differences = tuple(Difference(**one) for one in details["differences"])
        checks = tuple(CheckOutcome(**one) for one in details["checks"])
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogError(f"the drill of {row.backup_id} in the catalog is damaged") from error
    return ProofRecord(
        backup=BackupId(row.backup_id),
        store=row.store,
        result=ProofResult(row.result),
        at=row.at,
        tables=row.tables,
        rows=row.rows,
        seconds=row.seconds,
        fetch_seconds=row.fetch_seconds,
        restore_seconds=row.restore_seconds,
        compare_seconds=row.compare_seconds,
        differences=differences,
        checks=checks,
        reason=row.reason,
    )


def proof_values(drill: ProofRecord) -> dict[str, Any]:
    """The columns of a drill."""
    values = asdict(drill)
    details = {name: _plain(values.pop(name)) for name in ("differences", "checks")}
    values["backup_id"] = values.pop("backup")
    values["result"] = drill.result.value
    return {**values, "details": json.dumps(details)}


def _plain(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
