"""How a backup is laid out in a store, and its manifest: names, keys, encoding and decoding.

A backup is a folder ``<server>/<database>/<id>/``. Server names are plain by configuration;
database names may be anything PostgreSQL allows, so they are percent-encoded. The manifest holds
the true names and is the only thing that order, time and identity are ever taken from.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from guardian.backup.fields import DAMAGE, Fields, reason
from guardian.errors import ManifestError
from guardian.model import (
    BackupId,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    EncryptionKind,
    Extension,
    GlobalsLevel,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
)

FORMAT = 1
"""Version of the manifest. A reader accepts its own and older ones; unknown fields are ignored."""

MANIFEST_NAME = "manifest.json"
NOTES_NAME = "RESTORE.txt"
STEMS = {
    PartKind.DUMP: "database.dump",
    PartKind.GLOBALS: "globals.sql",
    PartKind.FINGERPRINT: "fingerprint.json",
}

ROWS_STEM = "data-{:02d}.dump"
"""Of the dump's further parts, which hold the rows of some tables; counted from 1."""

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}", re.ASCII)
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
LARGEST = 16 * 1024 * 1024
"""Bytes of a manifest at most."""


class ParsedKey(NamedTuple):
    """A store key that is guardian's: whose backup, which one, and which part of it."""

    ref: DatabaseRef
    id: BackupId
    part: str


def new_backup_id(now: datetime, token: str) -> BackupId:
    """The id of a backup that starts at ``now``; ``token`` is six random hex digits."""
    return parse_backup_id(f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}")


def parse_backup_id(text: str) -> BackupId:
    """Check a full backup id.

    Raises:
        ValueError: when it is not one.
    """
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a backup id such as 20261123T020000Z-7f3a9c")
    return BackupId(text)


def is_backup_id(text: str) -> bool:
    """Whether the text is a whole backup id."""
    return _ID.fullmatch(text) is not None


def encode_database(name: str) -> str:
    """A database's name as one path segment: ASCII, never empty, ``.`` or ``..``, no slash."""
    encoded = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def decode_database(segment: str) -> str:
    """The reverse of :func:`encode_database`."""
    return unquote_to_bytes(segment).decode("utf-8", "surrogateescape")


def server_prefix(server: str) -> str:
    """The prefix of everything of one server."""
    return f"{server}/"


def database_prefix(ref: DatabaseRef) -> str:
    """The prefix of all backups of one database."""
    return f"{ref.server}/{encode_database(ref.database)}/"


def backup_prefix(ref: DatabaseRef, backup: BackupId) -> str:
    """The prefix of all parts of one backup."""
    return f"{database_prefix(ref)}{backup}/"


def manifest_key(ref: DatabaseRef, backup: BackupId) -> str:
    """The key of a backup's manifest, its commit point."""
    return backup_prefix(ref, backup) + MANIFEST_NAME


def parse_key(key: str) -> ParsedKey | None:
    """Whose this key is; None for anything that guardian cannot have written."""
    pieces = key.split("/")
    if len(pieces) != 4:
        return None
    server, segment, backup, part = pieces
    if not (_SERVER.fullmatch(server) and _ID.fullmatch(backup) and _PART_NAME.fullmatch(part)):
        return None
    if not segment.isascii():
        return None
    database = decode_database(segment)
    if not database or "\0" in database or encode_database(database) != segment:
        return None
    return ParsedKey(DatabaseRef(server, database), BackupId(backup), part)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON for people and machines, ending in a newline."""
    document = {
        "format": FORMAT,
        "id": manifest.id,
        "server": manifest.ref.server,
        "database": manifest.ref.database,
        "started_at": _time_text(manifest.started_at),
        "snapshot_at": _time_text(manifest.snapshot_at),
        "finished_at": _time_text(manifest.finished_at),
        "guardian_version": manifest.guardian_version,
        "dump": {"format": "custom", "pg_dump": manifest.dump_version},
        "compression": {"name": "zstd", "level": manifest.compression_level},
        "encryption": {
            "name": "openpgp",
            "kind": manifest.encryption.kind.value,
            "cipher": manifest.encryption.cipher,
            "key_ids": list(manifest.encryption.key_ids),
        },
        "signature": manifest.signature,
        "proof": manifest.proof.value,
        "globals": manifest.globals.value,
        "source": asdict(manifest.facts),
        "tables": manifest.tables,
        "rows": manifest.rows,
        "dumped_bytes": manifest.dumped_bytes,
        "stored_bytes": manifest.stored_bytes,
        "parts": [{**asdict(part), "kind": part.kind.value} for part in manifest.parts],
        "warnings": list(manifest.warnings),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Raises:
        ManifestError: not JSON, a field that is missing or of the wrong shape, part names that
            would leave the backup's folder, or a format newer than this guardian's.
    """
    if len(data) > LARGEST:
        raise ManifestError(f"a manifest of {len(data)} bytes is none of ours")
    try:
        document = json.loads(data)
        fields = Fields(document)
        if (found := fields.count("format")) > FORMAT:
            raise ManifestError(
                f"the manifest has format {found}, this guardian reads up to {FORMAT}",
                mend="upgrade guardian on this host",
            )
        return _manifest(fields)
    except DAMAGE as error:
        raise ManifestError(f"the manifest is damaged: {reason(error)}") from error


def _manifest(fields: Fields) -> Manifest:
    encryption = fields.section("encryption")
    parts = tuple(_part(Fields(part)) for part in fields.items("parts"))
    names = [part.name for part in parts]
    if len(set(names)) != len(names):
        raise ValueError("two parts have the same name")
    if not any(part.kind is PartKind.DUMP for part in parts):
        raise ValueError("it lists no dump")
    return Manifest(
        id=parse_backup_id(fields.text("id")),
        ref=DatabaseRef(_server(fields.text("server")), _database(fields.text("database"))),
        started_at=fields.time("started_at"),
        snapshot_at=fields.time("snapshot_at"),
        finished_at=fields.time("finished_at"),
        parts=parts,
        encryption=Encryption(
            kind=EncryptionKind(encryption.text("kind")),
            cipher=encryption.text("cipher"),
            key_ids=encryption.texts("key_ids"),
        ),
        compression_level=fields.section("compression").integer("level"),
        proof=ProofLevel(fields.text("proof")),
        globals=GlobalsLevel(fields.text("globals")),
        facts=_facts(fields.section("source")),
        dump_version=fields.section("dump").text("pg_dump"),
        guardian_version=fields.text("guardian_version"),
        warnings=fields.texts("warnings"),
        tables=fields.optional_count("tables"),
        rows=fields.optional_count("rows"),
        signature=fields.optional_text("signature"),
    )


def _part(fields: Fields) -> Part:
    name = fields.text("name")
    if not _PART_NAME.fullmatch(name) or name == MANIFEST_NAME:
        raise ValueError(f"{name!r} is not the name of a part")
    sha256 = fields.text("sha256")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256")
    return Part(
        name=name,
        kind=PartKind(fields.text("kind")),
        stored_bytes=fields.count("stored_bytes"),
        plain_bytes=fields.count("plain_bytes"),
        sha256=sha256,
    )


def _facts(fields: Fields) -> DatabaseFacts:
    return DatabaseFacts(
        server_version=fields.text("server_version"),
        server_version_num=fields.count("server_version_num"),
        system_identifier=fields.optional_text("system_identifier"),
        encoding=fields.text("encoding"),
        collate=fields.text("collate"),
        ctype=fields.text("ctype"),
        locale_provider=fields.text("locale_provider"),
        locale=fields.optional_text("locale"),
        database_bytes=fields.count("database_bytes"),
        in_recovery=fields.truth("in_recovery"),
        extensions=tuple(
            Extension(Fields(item).text("name"), Fields(item).text("version"))
            for item in fields.items("extensions")
        ),
    )


def _server(name: str) -> str:
    if not _SERVER.fullmatch(name):
        raise ValueError(f"{name!r} is not a server's name")
    return name


def _database(name: str) -> str:
    if not name or "\0" in name or decode_database(encode_database(name)) != name:
        raise ValueError(f"{name!r} is not a database's name")
    return name


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
