"""Backups for people and for scripts: the list, and one backup whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from guardian.backup.sizes import Comparison, figures_of, percent_text
from guardian.cli.console import age_text, console, escape, pairs, print_table, time_text
from guardian.units import counted, format_duration, format_size

if TYPE_CHECKING:
    from datetime import datetime

    from guardian.model import BackupRecord, Manifest, ProofRecord, StoreOutcome

_NUMBERS = ["DUMPED", "STORED", "TABLES", "ROWS", "FETCH", "RESTORE", "COMPARE"]
_SPARE = ["FETCH", "COMPARE", "TABLES", "STORED", "STORES", "ROWS", "DUMPED", "KEPT", "RESTORE"]
"""What a narrow terminal does without, the first first."""
_COLOURS = {
    "proven": "green",
    "mismatch": "red",
    "unrestorable": "red",
    "inconclusive": "yellow",
}
_DRILLS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is known of one backup. ``drills`` are the latest first.

    ``signed`` says of each store what the signature there is worth: ``yes``, ``no``, ``invalid``,
    ``unchecked`` where this host lacks the key, ``unknown`` where the store could not be asked.
    """

    record: BackupRecord
    manifest: Manifest | None
    drills: Sequence[ProofRecord]
    comparison: Comparison | None
    signed: Mapping[str, str] = field(default_factory=dict)


# --- for scripts ----------------------------------------------------------------------------------


def record_document(record: BackupRecord) -> dict[str, Any]:
    """A backup as ``backup list --json`` has it; the names are fixed by the contract."""
    figures, drill = figures_of(record), record.measured
    return {
        "id": record.id,
        "server": record.ref.server,
        "database": record.ref.database,
        "snapshot_at": time_text(record.snapshot_at),
        "finished_at": time_text(record.finished_at),
        "stored_bytes": record.stored_bytes,
        "dumped_bytes": record.dumped_bytes,
        "tables": figures.tables,
        "rows": figures.rows,
        "stores": list(record.stores),
        "proof": record.proof.value,
        "proven": record.proven,
        "proven_at": time_text(record.proven_at),
        "fetch_seconds": drill.fetch_seconds if drill else None,
        "restore_seconds": drill.restore_seconds if drill else None,
        "compare_seconds": drill.compare_seconds if drill else None,
        "kept": record.kept,
    }


def show_document(shown: Shown) -> dict[str, Any]:
    """A backup as ``backup show --json`` has it."""
    from guardian.backup.manifest import encode_manifest

    record, manifest = shown.record, shown.manifest
    warning = shown.comparison.warning if shown.comparison else None
    return record_document(record) | {
        "status": record.status.value,
        "started_at": time_text(record.started_at),
        "error": record.error,
        "manifest": None if manifest is None else json.loads(encode_manifest(manifest)),
        "signed": overall(shown.signed),
        "copies": [_copy_document(one, shown.signed) for one in record.outcomes],
        "drills": [_drill_document(one) for one in shown.drills],
        "previous_proven": comparison_document(shown.comparison),
        "warnings": [*(manifest.warnings if manifest else ()), *([warning] if warning else [])],
    }


def overall(signed: Mapping[str, str]) -> str:
    """One word for all copies: the worst."""
    worst_first = ("invalid", "no", "unchecked", "unknown", "yes")
    return next((word for word in worst_first if word in signed.values()), "unknown")


def _copy_document(outcome: StoreOutcome, signed: Mapping[str, str]) -> dict[str, Any]:
    return {
        "store": outcome.store,
        "status": outcome.status.value,
        "error": outcome.error,
        "locked_until": time_text(outcome.locked_until),
        "signed": signed.get(outcome.store),
    }


def comparison_document(comparison: Comparison | None) -> dict[str, Any] | None:
    """The last proven backup before this one, and by how many percent this one is bigger."""
    if comparison is None:
        return None
    before = comparison.before
    figures = figures_of(before)
    document: dict[str, Any] = {
        "id": before.id,
        "snapshot_at": time_text(before.snapshot_at),
        "dumped_bytes": figures.dumped_bytes,
        "tables": figures.tables,
        "rows": figures.rows,
    }
    for what in ("dumped", "tables", "rows"):
        change = comparison.change(what)
        percent = None if change is None else change.percent
        document[f"{what}_change_percent"] = None if percent is None else round(percent, 2)
    return document | {"severity": comparison.severity.value}


def _drill_document(drill: ProofRecord) -> dict[str, Any]:
    return {
        "at": time_text(drill.at),
        "store": drill.store,
        "result": drill.result.value,
        "tables": drill.tables,
        "rows": drill.rows,
        "seconds": drill.seconds,
        "fetch_seconds": drill.fetch_seconds,
        "restore_seconds": drill.restore_seconds,
        "compare_seconds": drill.compare_seconds,
        "differences": len(drill.differences),
        "reason": drill.reason,
    }


# --- for people -----------------------------------------------------------------------------------


def print_backups(records: Iterable[BackupRecord], at: datetime) -> None:
    """The list, a line each. RESTORE is the time that a drill needed to have the database back."""
    headings = ["ID", "DATABASE", "AGE", "DUMPED", "STORED", "TABLES", "ROWS", "STORES", "PROVEN"]
    print_table(
        [*headings, "FETCH", "RESTORE", "COMPARE", "KEPT"],
        (_row(record, at) for record in records),
        right=_NUMBERS,
        spare=_SPARE,
    )


def _row(record: BackupRecord, at: datetime) -> tuple[str, ...]:
    figures, drill = figures_of(record), record.measured
    return (
        record.id,
        escape(str(record.ref)),
        age_text(record.snapshot_at or record.started_at, at).removesuffix(" ago"),
        format_size(record.dumped_bytes),
        format_size(record.stored_bytes),
        _count_text(figures.tables),
        _count_text(figures.rows),
        escape(", ".join(record.stores)),
        proven_text(record),
        _seconds_text(drill.fetch_seconds) if drill else "",
        _seconds_text(drill.restore_seconds) if drill else "",
        _seconds_text(drill.compare_seconds) if drill else "",
        "kept" if record.kept else "",
    )


def proven_text(record: BackupRecord) -> str:
    """What drills said of a backup."""
    if record.proven is None:
        return "[dim]not yet[/]"
    return "[green]yes[/]" if record.proven else "[red]NO[/]"


def print_backup(shown: Shown, at: datetime) -> None:
    """One backup whole."""
    record, manifest = shown.record, shown.manifest
    facts = {
        "backup": record.id,
        "database": escape(str(record.ref)),
        "shows": f"{time_text(record.snapshot_at)} ({age_text(record.snapshot_at, at)})",
        "stores": escape(", ".join(record.stores)) or "none any more",
        "proven": proven_text(record),
        "kept": "yes" if record.kept else "no",
        "signed": _signed_text(shown.signed),
    }
    if record.error:
        facts["error"] = escape(record.error)
    facts |= _figures(shown)
    if manifest is not None:
        facts |= _made(manifest)
    pairs(facts)
    warning = shown.comparison.warning if shown.comparison else None
    for text in (*(manifest.warnings if manifest else ()), *([warning] if warning else [])):
        console().print(f"[yellow]warning[/]  {escape(text)}")
    _print_drills(shown.drills, at)
    if manifest is not None:
        _print_parts(manifest)


def _signed_text(signed: Mapping[str, str]) -> str:
    """One word where all stores agree, else each with its own."""
    words = {store: "[red]INVALID[/]" if one == "invalid" else one for store, one in signed.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{word} in {escape(store)}" for store, word in words.items()) or "unknown"


def _figures(shown: Shown) -> dict[str, str]:
    """How big it is, beside the last proven one; how long it takes to have it back."""
    record, manifest = shown.record, shown.manifest
    figures, drill, comparison = figures_of(manifest or record), record.measured, shown.comparison
    facts = {
        "size": f"{format_size(record.dumped_bytes)} dumped, "
        f"{format_size(record.stored_bytes)} stored"
    }
    if figures.rows is None:
        figures = figures_of(record)
    if figures.tables is not None and figures.rows is not None:
        facts["holds"] = f"{counted(figures.tables, 'table')}, {counted(figures.rows, 'row')}"
    if comparison is not None:
        changes = ", ".join(f"{one.what} {percent_text(one.percent)}" for one in comparison.changes)
        facts["before"] = f"{comparison.before.id}: {changes}"
    if drill is not None and record.proven:
        facts["recovery"] = (
            f"{_seconds_text(drill.restore_seconds)} to restore, "
            f"{_seconds_text(drill.fetch_seconds)} of it waiting for the store"
        )
    return facts


def _made(manifest: Manifest) -> dict[str, str]:
    """What it came from, and how."""
    encryption = manifest.encryption
    return {
        "took": format_duration(manifest.finished_at - manifest.started_at),
        "from": f"PostgreSQL {escape(manifest.facts.server_version)}",
        "made by": f"pg_dump {escape(manifest.dump_version)}, "
        f"guardian {escape(manifest.guardian_version)}",
        "encrypted": f"{escape(encryption.cipher)}, {encryption.kind.value} "
        f"{escape(' '.join(encryption.key_ids))}".strip(),
        "proof": manifest.proof.value,
        "globals": manifest.globals.value.replace("_", " "),
    }


def _print_drills(drills: Sequence[ProofRecord], at: datetime) -> None:
    if not drills:
        return
    click.echo()
    headings = ["DRILLED", "RESULT", "FROM", "TABLES", "ROWS", "FETCH", "RESTORE", "COMPARE", "ALL"]
    print_table(
        headings,
        [
            (
                age_text(one.at, at),
                f"[{_COLOURS[one.result.value]}]{one.result.value}[/]",
                escape(one.store),
                f"{one.tables:,}",
                f"{one.rows:,}",
                _seconds_text(one.fetch_seconds),
                _seconds_text(one.restore_seconds),
                _seconds_text(one.compare_seconds),
                _seconds_text(one.seconds),
            )
            for one in drills[:_DRILLS_SHOWN]
        ],
        right=[*_NUMBERS, "ALL"],
        spare=["FROM", "TABLES", "FETCH", "COMPARE"],
    )
    if len(drills) > _DRILLS_SHOWN:
        click.echo(f"… and {len(drills) - _DRILLS_SHOWN} earlier; --json lists them all")
    for one in drills[:1]:
        if one.reason:
            console().print(f"[yellow]reason[/]  {escape(one.reason)}")


def _print_parts(manifest: Manifest) -> None:
    click.echo()
    print_table(
        ["PART", "STORED", "PLAIN", "SHA-256"],
        [
            (escape(p.name), format_size(p.stored_bytes), format_size(p.plain_bytes), p.sha256)
            for p in manifest.parts
        ],
        right=["STORED", "PLAIN"],
        spare=["SHA-256"],
    )


def _count_text(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _seconds_text(seconds: float) -> str:
    return format_duration(round(seconds, 1))
