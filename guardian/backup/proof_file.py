"""The record of a drill that lies beside the backup it judged: its name, encoding and decoding.

A catalog that was lost learns from these files which backups were proven. Who can read the store
can read them, so they hold no row and no words of PostgreSQL, which quotes rows in its errors:
names, counts and hashes of what differed, and which of the user's checks passed, not what they
found. Each says who signed it off, and the SHA-256 of the very manifest that was judged, so it
speaks for no other backup.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from guardian.backup.fields import DAMAGE, Fields, reason
from guardian.backup.manifest import backup_prefix, parse_backup_id
from guardian.errors import ManifestError
from guardian.model import (
    BackupId,
    CheckOutcome,
    DatabaseRef,
    Difference,
    ProofRecord,
    ProofResult,
)

FORMAT = 1
LARGEST = 4 * 1024 * 1024
MOST_ENTRIES = 100
"""Differences, and checks, that one file lists; of more it says how many."""

_LONGEST_TEXT = 300
_NAME = re.compile(r"proof-\d{8}T\d{6}\.\d{6}Z\.json", re.ASCII)
_STORE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A drill as it is told beside the backup, and who signed it off.

    ``more_differences`` and ``more_checks`` count what the file does not list.
    """

    record: ProofRecord
    manifest_sha256: str
    guardian_version: str
    host: str
    more_differences: int = 0
    more_checks: int = 0


def proof_name(at: datetime) -> str:
    """The file's name: the drill's end to the microsecond, so that names sort as time does."""
    return f"proof-{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.json"


def proof_key(ref: DatabaseRef, backup: BackupId, at: datetime) -> str:
    """The key of the record of a drill that ended at that instant."""
    return backup_prefix(ref, backup) + proof_name(at)


def is_proof_name(part: str) -> bool:
    """Whether an object of this name in a backup's folder is the record of a drill."""
    return _NAME.fullmatch(part) is not None


def encode_proof(
    record: ProofRecord, *, manifest_sha256: str, guardian_version: str, host: str
) -> bytes:
    """The record as JSON for people and machines, ending in a newline.

    Left out are ``reason`` and what checks found, which may quote rows. Long lists and texts are
    cut.
    """
    differences, checks = record.differences, record.checks
    document: dict[str, Any] = {
        "format": FORMAT,
        "id": record.backup,
        "manifest_sha256": manifest_sha256,
        "store": record.store,
        "result": record.result.value,
        "at": record.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "signed_off_by": {"guardian_version": guardian_version, "host": host},
        "tables": record.tables,
        "rows": record.rows,
        "seconds": record.seconds,
        "fetch_seconds": record.fetch_seconds,
        "restore_seconds": record.restore_seconds,
        "compare_seconds": record.compare_seconds,
        "differences": [_difference_values(one) for one in differences[:MOST_ENTRIES]],
        "more_differences": max(0, len(differences) - MOST_ENTRIES),
        "checks": [_check_values(one) for one in checks[:MOST_ENTRIES]],
        "more_checks": max(0, len(checks) - MOST_ENTRIES),
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def decode_proof(data: bytes, backup: BackupId) -> ProofFile:
    """Read the record of a drill of ``backup``, trusting nothing in it.

    ``reason`` of the record says in our words what the file knows.

    Raises:
        ManifestError: not JSON, a field that is missing or of the wrong shape, a result that its
            own differences contradict, the drill of another backup, or a newer format.
    """
    if len(data) > LARGEST:
        raise ManifestError(f"a drill's record of {len(data)} bytes is none of ours")
    try:
        fields = Fields(json.loads(data))
        if (found := fields.count("format")) > FORMAT:
            raise ManifestError(
                f"the drill's record has format {found}, this guardian reads up to {FORMAT}",
                mend="upgrade guardian on this host",
            )
        proof = _proof(fields)
    except DAMAGE as error:
        raise ManifestError(f"the drill's record is damaged: {reason(error)}") from error
    if proof.record.backup != backup:
        raise ManifestError(f"the drill's record is that of {proof.record.backup}")
    return proof


def _proof(fields: Fields) -> ProofFile:
    signed = fields.section("signed_off_by")
    record = ProofRecord(
        backup=parse_backup_id(fields.text("id")),
        store=_matching(_STORE, fields.text("store"), "a store's name"),
        result=ProofResult(fields.text("result")),
        at=fields.time("at"),
        tables=fields.count("tables"),
        rows=fields.count("rows"),
        seconds=fields.seconds("seconds"),
        fetch_seconds=fields.seconds("fetch_seconds"),
        restore_seconds=fields.seconds("restore_seconds"),
        compare_seconds=fields.seconds("compare_seconds"),
        differences=tuple(_difference(Fields(one)) for one in _entries(fields, "differences")),
        checks=tuple(_check(Fields(one)) for one in _entries(fields, "checks")),
    )
    proof = ProofFile(
        record=record,
        manifest_sha256=_matching(_SHA256, fields.text("manifest_sha256"), "a SHA-256"),
        guardian_version=_cut(signed.text("guardian_version")),
        host=_cut(signed.text("host")),
        more_differences=fields.count("more_differences"),
        more_checks=fields.count("more_checks"),
    )
    return replace(proof, record=replace(record, reason=_reason(proof)))


def _reason(proof: ProofFile) -> str | None:
    record = proof.record
    differences = len(record.differences) + proof.more_differences
    failed = sum(not check.passed for check in record.checks)
    if record.result is ProofResult.PROVEN:
        if differences or failed:
            raise ValueError("it says proven, and lists what was wrong")
        return None
    where = f"{proof.host}, at {record.at:%Y-%m-%d %H:%M}Z"
    if record.result is ProofResult.UNRESTORABLE:
        return f"it could not be restored on {where}"
    if record.result is ProofResult.INCONCLUSIVE:
        return f"it could not be told on {where}"
    return f"{differences} differences and {failed} failed checks were found on {where}"


def _difference_values(found: Difference) -> dict[str, str]:
    return {
        "object": _cut(found.object),
        "expected": _cut(found.expected),
        "found": _cut(found.found),
    }


def _difference(fields: Fields) -> Difference:
    return Difference(
        _cut(fields.text("object")), _cut(fields.text("expected")), _cut(fields.text("found"))
    )


def _check_values(check: CheckOutcome) -> dict[str, str | bool]:
    return {"name": _cut(check.name), "passed": check.passed}


def _check(fields: Fields) -> CheckOutcome:
    return CheckOutcome(_cut(fields.text("name")), fields.truth("passed"), found="")


def _entries(fields: Fields, name: str) -> list[Any]:
    entries = fields.items(name)
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"{name!r} lists more than {MOST_ENTRIES}")
    return entries


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text!r} is not {what}")
    return text


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
