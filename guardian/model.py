"""Frozen records that every floor shares. No I/O, no clock, no behaviour beyond their own shape.

Times are timezone-aware UTC datetimes, durations seconds (``float``), sizes bytes (``int``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from guardian.errors import Cause

BackupId = NewType("BackupId", str)
"""``20261123T020000Z-7f3a9c``: UTC second of the start, and six random hex digits."""


@dataclass(frozen=True, slots=True, order=True)
class DatabaseRef:
    """One database of one configured server, written ``main/mina``.

    ``server`` is the config's name for it (no slash); ``database`` is any name PostgreSQL allows.
    """

    server: str
    database: str

    def __str__(self) -> str:
        return f"{self.server}/{self.database}"


class ProofLevel(StrEnum):
    """How much a fingerprint says: a hash of every table's content, row counts only, or nothing."""

    CONTENT = "content"
    COUNTS = "counts"
    NONE = "none"


class PartKind(StrEnum):
    """What a part of a backup holds."""

    DUMP = "dump"
    GLOBALS = "globals"
    FINGERPRINT = "fingerprint"
    NOTES = "notes"


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a backup in a store.

    ``stored_bytes`` and ``sha256`` (lower-case hex) are of the object as stored; ``plain_bytes`` is
    the size before compression and encryption.
    """

    name: str
    kind: PartKind
    stored_bytes: int
    plain_bytes: int
    sha256: str


class EncryptionKind(StrEnum):
    """How parts are encrypted: by a passphrase, or for public keys."""

    SYMMETRIC = "symmetric"
    RECIPIENTS = "recipients"


@dataclass(frozen=True, slots=True)
class Encryption:
    """How parts are encrypted; ``key_ids`` are full key fingerprints, empty for a passphrase."""

    kind: EncryptionKind
    cipher: str = "AES256"
    key_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension installed in a database, and its version there."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a restore must know about where a backup came from. Holds no row data.

    ``server_version_num`` is libpq's integer (150018 for 15.18). ``locale_provider`` is ``libc``,
    ``icu`` or ``builtin``. ``system_identifier`` is None where the role may not read it.
    ``database_bytes`` is ``pg_database_size``, 0 when unknown.
    """

    server_version: str
    server_version_num: int
    system_identifier: str | None
    encoding: str
    collate: str
    ctype: str
    locale_provider: str
    locale: str | None = None
    database_bytes: int = 0
    in_recovery: bool = False
    extensions: tuple[Extension, ...] = ()

    @property
    def major(self) -> int:
        """The server's major version, such as 15."""
        return self.server_version_num // 10000


class GlobalsLevel(StrEnum):
    """What the globals part holds: roles with password hashes, without them, or there is none."""

    FULL = "full"
    WITHOUT_PASSWORDS = "without_passwords"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The commit point of a backup: written last. Without it there is no backup.

    ``snapshot_at`` is the instant that the backup shows. ``dumped_bytes`` is what pg_dump wrote,
    ``stored_bytes`` the sum over all parts. ``dump_version`` is pg_dump's, ``guardian_version``
    ours. ``warnings`` are for people. ``tables`` and ``rows`` are what the fingerprint counted,
    None where there is none, or an older guardian did not write them. ``signature`` tells how the
    one beside it was made (:mod:`guardian.backup.signature`): a hint for people, never believed.
    """

    id: BackupId
    ref: DatabaseRef
    started_at: datetime
    snapshot_at: datetime
    finished_at: datetime
    parts: tuple[Part, ...]
    encryption: Encryption
    compression_level: int
    proof: ProofLevel
    globals: GlobalsLevel
    facts: DatabaseFacts
    dump_version: str
    guardian_version: str
    warnings: tuple[str, ...] = ()
    tables: int | None = None
    rows: int | None = None
    signature: str | None = None

    @property
    def dumped_bytes(self) -> int:
        """Bytes that pg_dump wrote, before compression."""
        return sum(part.plain_bytes for part in self.parts if part.kind is PartKind.DUMP)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the backup takes in one store, without the manifest itself."""
        return sum(part.stored_bytes for part in self.parts)

    def parts_of(self, kind: PartKind) -> tuple[Part, ...]:
        """The parts that hold ``kind``, in order."""
        return tuple(part for part in self.parts if part.kind is kind)


@dataclass(frozen=True, slots=True)
class TableFingerprint:
    """One table at the snapshot. ``content`` is 32 hex digits, None at level ``counts``."""

    schema: str
    name: str
    rows: int
    content: str | None = None


@dataclass(frozen=True, slots=True)
class SequencePosition:
    """A sequence's position. Sequences are not transactional, so it is known as a range.

    ``before`` was read at the snapshot, ``after`` when the dump had ended; a restored sequence lies
    between them. Both count *values handed out so far*: ``last_value`` if it was called, else the
    value before the first.
    """

    schema: str
    name: str
    before: int
    after: int
    increment: int = 1


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """All large objects of a database: how many, and one hash over their contents."""

    count: int
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that an object is made of, in a server's own words.

    ``kind`` and ``identity`` are the object's, as in an inventory; ``aspect`` is which of several
    things it is, empty for the object's definition itself. ``how`` tells how to ask a server what
    it makes of the ``text``, and where; empty where the text holds no expression.
    """

    kind: str
    identity: str
    aspect: str
    text: str
    how: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a database held at the instant of a backup.

    ``seed`` makes the content hashes unplannable and is only ever stored encrypted. ``objects``
    maps a kind (``table``, ``index``, ``grant`` …) to sorted identities; kinds that begin with
    ``hint`` are not compared. ``roles`` are those that ownership and grants refer to. ``left_out``
    names tables whose rows are deliberately not dumped, and the sequences and materialized views
    that the same patterns leave out. ``settings`` are the ``ALTER DATABASE … SET`` items as
    ``name=value`` (a restore without ``--create`` skips them); they may hold secrets, so they are
    nowhere but in here, encrypted.
    """

    level: ProofLevel
    seed: int
    tables: tuple[TableFingerprint, ...]
    objects: Mapping[str, tuple[str, ...]]
    sequences: tuple[SequencePosition, ...]
    large_objects: LargeObjects
    roles: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows over all tables."""
        return sum(table.rows for table in self.tables)


class RunStatus(StrEnum):
    """State of one attempt to make a backup."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StoreStatus(StrEnum):
    """What became of a backup in one store."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of one backup in one store; ``error`` is one line without secrets."""

    store: str
    status: StoreStatus
    error: str | None = None
    cause: Cause | None = None
    locked_until: datetime | None = None
    """Earliest deletion date under object lock."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a drill measured, and counted in the restored database.

    Fetching and decrypting go on while rows are restored, so ``restore_seconds`` are the time that
    it takes to have the database back; ``fetch_seconds`` are how long the store was waited for.
    """

    fetch_seconds: float
    restore_seconds: float
    compare_seconds: float
    seconds: float
    tables: int
    rows: int


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """One backup, or one failed try, as the catalog knows it.

    ``stores`` names those where it now lies, complete. ``proven`` is the result of the latest
    conclusive drill, ``measured`` what that one measured, None when there was none. ``tables`` and
    ``rows`` are the manifest's.
    """

    id: BackupId
    ref: DatabaseRef
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    snapshot_at: datetime | None = None
    stored_bytes: int = 0
    dumped_bytes: int = 0
    proof: ProofLevel = ProofLevel.NONE
    stores: tuple[str, ...] = ()
    outcomes: tuple[StoreOutcome, ...] = ()
    proven: bool | None = None
    proven_at: datetime | None = None
    kept: bool = False
    cause: Cause | None = None
    error: str | None = None
    tables: int | None = None
    rows: int | None = None
    measured: Measured | None = None


class ProofResult(StrEnum):
    """What a drill found. The values are fixed by the contract (``verify``'s ``result``)."""

    PROVEN = "proven"
    MISMATCH = "mismatch"
    UNRESTORABLE = "unrestorable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that a restored database holds otherwise than the source did. No row data."""

    object: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One of the user's checks on a restored database; ``found`` is what its query gave."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class ProofRecord:
    """One drill: which backup, from which store, and what came of it.

    ``at`` is when it ended, ``seconds`` how long all of it took. ``reason`` is one line for every
    result but ``proven``.
    """

    backup: BackupId
    store: str
    result: ProofResult
    at: datetime
    tables: int = 0
    rows: int = 0
    seconds: float = 0.0
    fetch_seconds: float = 0.0
    restore_seconds: float = 0.0
    compare_seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    reason: str | None = None

    @property
    def proven(self) -> bool | None:
        """Whether the backup is good; None when the drill could not tell."""
        if self.result is ProofResult.INCONCLUSIVE:
            return None
        return self.result is ProofResult.PROVEN

    @property
    def measured(self) -> Measured:
        """Its numbers alone."""
        return Measured(
            fetch_seconds=self.fetch_seconds,
            restore_seconds=self.restore_seconds,
            compare_seconds=self.compare_seconds,
            seconds=self.seconds,
            tables=self.tables,
            rows=self.rows,
        )


class DatabaseDamage(StrEnum):
    """What the drill of the drill does to a copy of a restored database, one thing each."""

    ROW_LOST = "a row lost"
    ROW_CHANGED = "a row changed"
    TABLE_MISSING = "a table missing"
    INDEX_MISSING = "an index missing"
    SEQUENCE_BEHIND = "a sequence behind"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: enough to name it to a person, and to see that it is dead.

    ``boot`` identifies one boot of one machine (or one container's pid space) and ``pid_started``
    the process among those that had this pid, so a holder on our own host can be checked for life.
    """

    host: str
    boot: str
    pid: int
    pid_started: str
    command: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid} on {self.host})"


@dataclass(frozen=True, slots=True)
class Lease:
    """A named right to do some work alone, until ``expires_at`` unless renewed."""

    name: str
    token: str
    holder: Holder
    acquired_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the record: what, to whom, in one line."""

    at: datetime
    kind: str
    message: str
    ref: DatabaseRef | None = None
    server: str | None = None
    backup: BackupId | None = None
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a store. ``key`` is relative to the store's root or prefix."""

    key: str
    size: int
    modified_at: datetime
    locked_until: datetime | None = None
