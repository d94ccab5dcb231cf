"""The catalog's tables. Their names start with ``guardian_``, so they may share a database.

Nothing outside of this folder sees them: the catalog gives records of guardian.model. They are of
SQLAlchemy's core: its ORM would cost each command a fifth of a second, and the daemon 5 MB.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from guardian.adapters.catalog.columns import Key, Prose, ShortKey, UtcDateTime

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names for constraints, so that migrations can speak of them on every database."""

_Serial = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only what is called INTEGER."""

METADATA = MetaData(naming_convention=CONVENTION)

BACKUPS = Table(
    "guardian_backups",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("id", Key, unique=True, nullable=False),
    Column("server", Key, nullable=False),
    Column("database", Key, nullable=False),
    Column("status", Key, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=True),
    Column("snapshot_at", UtcDateTime, nullable=True),
    Column("stored_bytes", BigInteger, default=0, nullable=False),
    Column("dumped_bytes", BigInteger, default=0, nullable=False),
    Column("proof", Key, nullable=False),
    Column("tables", BigInteger, nullable=True),
    Column("rows", BigInteger, nullable=True),
    Column("proven", Boolean, nullable=True),
    Column("proven_at", UtcDateTime, nullable=True),
    Column("cause", Key, nullable=True),
    Column("error", Prose, nullable=True),
    Column("lease_token", Key, nullable=True),
    Column("holder", Prose, nullable=True),
    Index(None, "server", "database", "started_at"),
    Index(None, "started_at"),
    Index(None, "status"),
)
"""One try. ``number`` is the order of arrival, which settles ties in time."""

MANIFESTS = Table(
    "guardian_manifests",
    METADATA,
    Column("backup_id", Key, ForeignKey("guardian_backups.id"), primary_key=True),
    Column("manifest", Text, nullable=False),
)
"""A backup's manifest as JSON. Apart, because lists never need it and it is big."""

COPIES = Table(
    "guardian_copies",
    METADATA,
    Column("backup_id", Key, ForeignKey("guardian_backups.id"), primary_key=True),
    Column("store", Key, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("status", Key, nullable=False),
    Column("error", Prose, nullable=True),
    Column("cause", Key, nullable=True),
    Column("locked_until", UtcDateTime, nullable=True),
    Column("deleted_at", UtcDateTime, nullable=True),
)
"""What became of one backup in one store, and whether it still lies there."""

PINS = Table(
    "guardian_pins",
    METADATA,
    Column("backup_id", Key, ForeignKey("guardian_backups.id"), primary_key=True),
    Column("pinned_at", UtcDateTime, nullable=False),
    Column("pinned_by", Prose, nullable=False),
    Column("reason", Prose, nullable=True),
)
"""A backup that retention may not touch."""

PROOFS = Table(
    "guardian_proofs",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("backup_id", Key, ForeignKey("guardian_backups.id"), index=True, nullable=False),
    Column("store", Key, nullable=False),
    Column("result", Key, nullable=False),
    Column("at", UtcDateTime, index=True, nullable=False),
    Column("tables", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("fetch_seconds", Double, nullable=False),
    Column("restore_seconds", Double, nullable=False),
    Column("compare_seconds", Double, nullable=False),
    Column("reason", Prose, nullable=True),
    Column("details", Text, nullable=False),
)
"""One drill. ``details`` is JSON: the differences and the checks."""

EVENTS = Table(
    "guardian_events",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, index=True, nullable=False),
    Column("kind", Key, index=True, nullable=False),
    Column("message", Prose, nullable=False),
    Column("server", Key, nullable=True),
    Column("database", Key, nullable=True),
    Column("backup_id", Key, nullable=True),
    Column("data", Text, nullable=False),
)
"""Something that happened. No foreign key: it may be about a backup that is long gone."""

LEASES = Table(
    "guardian_leases",
    METADATA,
    Column("name", Key, primary_key=True),
    Column("token", Key, nullable=False),
    Column("host", Prose, nullable=False),
    Column("boot", Prose, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("pid_started", Prose, nullable=False),
    Column("command", Prose, nullable=False),
    Column("acquired_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)
"""Who may do some named work alone, and until when. ``token`` is new with each taking."""

KILLS = Table(
    "guardian_kills",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, index=True, nullable=False),
    Column("server", Key, nullable=False),
    Column("policy", Prose, nullable=True),
    Column("pid", BigInteger, nullable=False),
    Column("backend_start", UtcDateTime, nullable=True),
    Column("username", Prose, nullable=True),
    Column("database", Prose, nullable=True),
    Column("application", Prose, nullable=True),
    Column("query", Prose, nullable=True),
    Column("action", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("outcome", Key, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("evidence", Text, nullable=False),
    Index(None, "server", "at"),
)
"""One entry of the audit. ``evidence`` is JSON."""

WATCH_MEMORY = Table(
    "guardian_watch_memory",
    METADATA,
    Column("server", Key, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("memory", Text, nullable=False),
)
"""What the next look at a server must know of those before it, as JSON."""

RECORDING = Table(
    "guardian_recording",
    METADATA,
    Column("server", Key, primary_key=True),
    Column("first_at", UtcDateTime, primary_key=True),
    Column("last_at", UtcDateTime, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary((1 << 24) - 1), nullable=False),
)
"""A few minutes of what was seen on a server, as guardian.watch.recording packs it."""

INCIDENTS = Table(
    "guardian_incidents",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("id", Key, unique=True, nullable=False),
    Column("key", Key, index=True, nullable=False),
    Column("open_key", Key, unique=True, nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("kind", Key, nullable=False),
    Column("scope", Key, nullable=False),
    Column("severity", Key, nullable=False),
    Column("state", Key, nullable=False),
    Column("title", Prose, nullable=False),
    Column("opened_at", UtcDateTime, index=True, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime, nullable=True),
    Column("body", Text, nullable=False),
)
"""An incident. ``body`` is the whole of it as JSON; the columns are what is asked for.

    ``open_key`` is its key while it is open and NULL afterwards, and unique: so no two are open of
    one key, on every database (NULLs do not equal each other).
    """

TIMELINE = Table(
    "guardian_timeline",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("incident_id", Key, index=True, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Key, nullable=False),
    Column("text", Prose, nullable=False),
    Column("by", Prose, nullable=True),
)
"""One line of an incident's timeline.

    No foreign key: a message that left while the catalog was away is noted before its incident.
    """

OUTBOX = Table(
    "guardian_outbox",
    METADATA,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("incident_id", Key, index=True, nullable=True),
    Column("dedup_key", Key, nullable=False),
    Column("channel", Key, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("rung", Key, nullable=False),
    Column("kind", Key, nullable=False),
    Column("severity", Key, nullable=False),
    Column("title", Prose, nullable=False),
    Column("standing", Key, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime, nullable=True),
    Column("attempts", BigInteger, nullable=False),
    Column("error", Prose, nullable=True),
    Column("told_in", Key, index=True, nullable=True),
    Column("others", Text, nullable=False),
    Column("tried", Text, nullable=False),
    Column("refused", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "standing", "dedup_key", "channel"),
)
"""A message on its way through one channel. ``body`` is the message as JSON.

    Of one ``dedup_key`` and channel they go in the order of ``position``, the message's number.
    ``others``, ``tried`` and ``refused`` are JSON lists.
    """

MEMOS = Table(
    "guardian_channel_memos",
    METADATA,
    Column("dedup_key", Key, primary_key=True),
    Column("channel", Key, primary_key=True),
    Column("memo", Prose, nullable=False),
)
"""What a channel wants to know again with the next message of the same dedup key."""

CHANNELS = Table(
    "guardian_channels",
    METADATA,
    Column("channel", Key, primary_key=True),
    Column("failing_since", UtcDateTime, nullable=True),
    Column("failures", BigInteger, nullable=False),
    Column("last_success_at", UtcDateTime, nullable=True),
    Column("last_error", Prose, nullable=True),
)
"""How a channel does."""

SILENCES = Table(
    "guardian_silences",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("made_by", Prose, nullable=False),
    Column("match", Text, nullable=False),
)
"""Nobody is told of what matches, for a while. ``match`` is JSON."""

OCCASIONS = Table(
    "guardian_occasions",
    METADATA,
    Column("name", Key, primary_key=True),
    Column("told_at", UtcDateTime, nullable=False),
)
"""When something that is told at set times, such as the digest, was told last."""

WATCHERS = Table(
    "guardian_watchers",
    METADATA,
    Column("name", Key, primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("scopes", Text, nullable=False),
)
"""Who observes what. ``scopes`` is a JSON list."""

VITALS = Table(
    "guardian_vitals",
    METADATA,
    Column("server", Key, primary_key=True),
    Column("vital", ShortKey, primary_key=True),
    Column("subject", Key, primary_key=True),
    Column("at", UtcDateTime, primary_key=True),
    Column("seconds", BigInteger, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("last", Double, nullable=False),
    Column("severity", ShortKey, nullable=False),
    Index(None, "server", "at"),
)
"""What one vital was like for a while; ``subject`` is empty where it is the server itself."""
