"""The catalog's tables. Their names start with ``guardian_``, so they may share a database.

Nothing outside of this folder sees these classes: the catalog gives records of guardian.model.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

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


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        str: Prose,
        int: BigInteger,
    }


class Backup(Base):
    """One try. ``number`` is the order of arrival, which settles ties in time."""

    __tablename__ = "guardian_backups"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Key, unique=True)
    server: Mapped[str] = mapped_column(Key)
    database: Mapped[str] = mapped_column(Key)
    status: Mapped[str] = mapped_column(Key)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    snapshot_at: Mapped[datetime | None]
    stored_bytes: Mapped[int] = mapped_column(default=0)
    dumped_bytes: Mapped[int] = mapped_column(default=0)
    proof: Mapped[str] = mapped_column(Key)
    tables: Mapped[int | None]
    rows: Mapped[int | None]
    proven: Mapped[bool | None]
    proven_at: Mapped[datetime | None]
    cause: Mapped[str | None] = mapped_column(Key)
    error: Mapped[str | None]
    lease_token: Mapped[str | None] = mapped_column(Key)
    holder: Mapped[str | None]
    """Who made it, for people. Whether they live is asked of the lease."""

    __table_args__ = (
        Index(None, "server", "database", "started_at"),
        Index(None, "started_at"),
        Index(None, "status"),
    )


class StoredManifest(Base):
    """A backup's manifest as JSON. Apart, because lists never need it and it is big."""

    __tablename__ = "guardian_manifests"

    backup_id: Mapped[str] = mapped_column(Key, ForeignKey(Backup.id), primary_key=True)
    manifest: Mapped[str] = mapped_column(Text)


class Copy(Base):
    """What became of one backup in one store, and whether it still lies there."""

    __tablename__ = "guardian_copies"

    backup_id: Mapped[str] = mapped_column(Key, ForeignKey(Backup.id), primary_key=True)
    store: Mapped[str] = mapped_column(Key, primary_key=True)
    position: Mapped[int]
    status: Mapped[str] = mapped_column(Key)
    error: Mapped[str | None]
    cause: Mapped[str | None] = mapped_column(Key)
    locked_until: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class Pin(Base):
    """A backup that retention may not touch."""

    __tablename__ = "guardian_pins"

    backup_id: Mapped[str] = mapped_column(Key, ForeignKey(Backup.id), primary_key=True)
    pinned_at: Mapped[datetime]
    pinned_by: Mapped[str]
    reason: Mapped[str | None]


class Proof(Base):
    """One drill. ``details`` is JSON: the differences and the checks."""

    __tablename__ = "guardian_proofs"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    backup_id: Mapped[str] = mapped_column(Key, ForeignKey(Backup.id), index=True)
    store: Mapped[str] = mapped_column(Key)
    result: Mapped[str] = mapped_column(Key)
    at: Mapped[datetime] = mapped_column(index=True)
    tables: Mapped[int]
    rows: Mapped[int]
    seconds: Mapped[float]
    fetch_seconds: Mapped[float]
    restore_seconds: Mapped[float]
    compare_seconds: Mapped[float]
    reason: Mapped[str | None]
    details: Mapped[str] = mapped_column(Text)


class LoggedEvent(Base):
    """Something that happened. No foreign key: it may be about a backup that is long gone."""

    __tablename__ = "guardian_events"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(Key, index=True)
    message: Mapped[str]
    server: Mapped[str | None] = mapped_column(Key)
    database: Mapped[str | None] = mapped_column(Key)
    backup_id: Mapped[str | None] = mapped_column(Key)
    data: Mapped[str] = mapped_column(Text)


class HeldLease(Base):
    """Who may do some named work alone, and until when. ``token`` is new with each taking."""

    __tablename__ = "guardian_leases"

    name: Mapped[str] = mapped_column(Key, primary_key=True)
    token: Mapped[str] = mapped_column(Key)
    host: Mapped[str]
    boot: Mapped[str]
    pid: Mapped[int]
    pid_started: Mapped[str]
    command: Mapped[str]
    acquired_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Kill(Base):
    """One entry of the audit. ``evidence`` is JSON."""

    __tablename__ = "guardian_kills"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    server: Mapped[str] = mapped_column(Key)
    policy: Mapped[str | None]
    pid: Mapped[int]
    backend_start: Mapped[datetime | None]
    username: Mapped[str | None]
    database: Mapped[str | None]
    application: Mapped[str | None]
    query: Mapped[str | None]
    action: Mapped[str] = mapped_column(Key)
    mode: Mapped[str] = mapped_column(Key)
    outcome: Mapped[str] = mapped_column(Key)
    reason: Mapped[str]
    evidence: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index(None, "server", "at"),)


class WatchMemory(Base):
    """What the next look at a server must know of those before it, as JSON."""

    __tablename__ = "guardian_watch_memory"

    server: Mapped[str] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime]
    memory: Mapped[str] = mapped_column(Text)


class Segment(Base):
    """A few minutes of what was seen on a server, as guardian.watch.recording packs it."""

    __tablename__ = "guardian_recording"

    server: Mapped[str] = mapped_column(Key, primary_key=True)
    first_at: Mapped[datetime] = mapped_column(primary_key=True)
    last_at: Mapped[datetime]
    size: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary((1 << 24) - 1))


class StoredIncident(Base):
    """An incident. ``body`` is the whole of it as JSON; the columns are what is asked for.

    ``open_key`` is its key while it is open and NULL afterwards, and unique: so no two are open of
    one key, on every database (NULLs do not equal each other).
    """

    __tablename__ = "guardian_incidents"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Key, unique=True)
    key: Mapped[str] = mapped_column(Key, index=True)
    open_key: Mapped[str | None] = mapped_column(Key, unique=True)
    version: Mapped[int]
    kind: Mapped[str] = mapped_column(Key)
    scope: Mapped[str] = mapped_column(Key)
    severity: Mapped[str] = mapped_column(Key)
    state: Mapped[str] = mapped_column(Key)
    title: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    body: Mapped[str] = mapped_column(Text)


class TimelineEntry(Base):
    """One line of an incident's timeline.

    No foreign key: a message that left while the catalog was away is noted before its incident.
    """

    __tablename__ = "guardian_timeline"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    incident_id: Mapped[str] = mapped_column(Key, index=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(Key)
    text: Mapped[str]
    by: Mapped[str | None]


class OutboxRow(Base):
    """A message on its way through one channel. ``body`` is the message as JSON.

    Of one ``dedup_key`` and channel they go in the order of ``position``, the message's number.
    ``others``, ``tried`` and ``refused`` are JSON lists.
    """

    __tablename__ = "guardian_outbox"

    number: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    incident_id: Mapped[str | None] = mapped_column(Key, index=True)
    dedup_key: Mapped[str] = mapped_column(Key)
    channel: Mapped[str] = mapped_column(Key)
    position: Mapped[int]
    rung: Mapped[str] = mapped_column(Key)
    kind: Mapped[str] = mapped_column(Key)
    severity: Mapped[str] = mapped_column(Key)
    title: Mapped[str]
    standing: Mapped[str] = mapped_column(Key)
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    attempts: Mapped[int]
    error: Mapped[str | None]
    told_in: Mapped[str | None] = mapped_column(Key, index=True)
    others: Mapped[str] = mapped_column(Text)
    tried: Mapped[str] = mapped_column(Text)
    refused: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index(None, "standing", "dedup_key", "channel"),)


class ChannelMemo(Base):
    """What a channel wants to know again with the next message of the same dedup key."""

    __tablename__ = "guardian_channel_memos"

    dedup_key: Mapped[str] = mapped_column(Key, primary_key=True)
    channel: Mapped[str] = mapped_column(Key, primary_key=True)
    memo: Mapped[str]


class ChannelState(Base):
    """How a channel does."""

    __tablename__ = "guardian_channels"

    channel: Mapped[str] = mapped_column(Key, primary_key=True)
    failing_since: Mapped[datetime | None]
    failures: Mapped[int]
    last_success_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class StoredSilence(Base):
    """Nobody is told of what matches, for a while. ``match`` is JSON."""

    __tablename__ = "guardian_silences"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    reason: Mapped[str]
    made_by: Mapped[str]
    match: Mapped[str] = mapped_column(Text)


class VitalSample(Base):
    """What one vital was like for a while; ``subject`` is empty where it is the server itself."""

    __tablename__ = "guardian_vitals"

    server: Mapped[str] = mapped_column(Key, primary_key=True)
    vital: Mapped[str] = mapped_column(ShortKey, primary_key=True)
    subject: Mapped[str] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    seconds: Mapped[int]
    low: Mapped[float]
    high: Mapped[float]
    last: Mapped[float]
    severity: Mapped[str] = mapped_column(ShortKey)

    __table_args__ = (Index(None, "server", "at"),)
