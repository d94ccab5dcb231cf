"""The note beside a pinned backup, so that a pin outlives the catalog: who, when and why.

Where object lock forbids to delete it, a pin is taken back by a note that says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from guardian.backup.fields import DAMAGE, Fields, reason
from guardian.backup.manifest import backup_prefix, parse_backup_id
from guardian.errors import ManifestError
from guardian.model import BackupId, DatabaseRef

FORMAT = 1
KEPT_NAME = "kept.json"
LARGEST = 64 * 1024
_LONGEST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class KeptNote:
    """Whether a backup is pinned, since (or until) when, by whom, and why.

    ``ref`` is whose backup it is; None in a note of an older guardian.
    """

    backup: BackupId
    kept: bool
    at: datetime
    by: str
    why: str | None = None
    ref: DatabaseRef | None = None


def kept_key(ref: DatabaseRef, backup: BackupId) -> str:
    """The key of the note beside one backup."""
    return f"{backup_prefix(ref, backup)}{KEPT_NAME}"


def encode_kept(note: KeptNote) -> bytes:
    """The note as JSON, ending in a newline."""
    document = {
        "format": FORMAT,
        "id": note.backup,
        "server": note.ref and note.ref.server,
        "database": note.ref and note.ref.database,
        "kept": note.kept,
        "at": note.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "by": note.by[:_LONGEST_TEXT],
        "reason": note.why and note.why[:_LONGEST_TEXT],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def decode_kept(data: bytes, backup: BackupId) -> KeptNote:
    """Read the note beside ``backup``, trusting nothing in it.

    Raises:
        ManifestError: it is damaged, that of another backup, or of a newer format.
    """
    if len(data) > LARGEST:
        raise ManifestError(f"a {KEPT_NAME} of {len(data)} bytes is none of ours")
    try:
        fields = Fields(json.loads(data))
        if (found := fields.count("format")) > FORMAT:
            raise ManifestError(
                f"{KEPT_NAME} has format {found}, this guardian reads up to {FORMAT}",
                mend="upgrade guardian on this host",
            )
        why = fields.optional_text("reason")
        note = KeptNote(
            backup=parse_backup_id(fields.text("id")),
            kept=fields.truth("kept"),
            at=fields.time("at"),
            by=fields.text("by")[:_LONGEST_TEXT],
            why=why and why[:_LONGEST_TEXT],
            ref=_ref(fields),
        )
    except DAMAGE as error:
        raise ManifestError(f"{KEPT_NAME} is damaged: {reason(error)}") from error
    if note.backup != backup:
        raise ManifestError(f"{KEPT_NAME} is that of {note.backup}")
    return note


def _ref(fields: Fields) -> DatabaseRef | None:
    server, database = fields.optional_text("server"), fields.optional_text("database")
    return None if server is None or database is None else DatabaseRef(server, database)
