"""The Protocols through which services speak to the world.

Each method states its contract: what it returns, what it raises, what holds after a failure.
Adapters implement them, ``guardian.testing`` has public in-memory ones, and ``tests/conformance``
holds one suite that every implementation of a port passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from guardian.errors import Cause
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    Event,
    Fingerprint,
    GlobalsLevel,
    Holder,
    Lease,
    Manifest,
    ProofLevel,
    ProofRecord,
    RunStatus,
    StoredObject,
    StoreOutcome,
)


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def now(self) -> datetime:
        """The current instant, timezone-aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class Readable(Protocol):
    """A source of bytes: any binary file object, and our streams."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, fewer only when no more are at hand, ``b""`` only at the end."""


Sink = Callable[[bytes], object]
"""Takes the next bytes of a stream; raising stops the stream."""


class StoreWriter(AbstractContextManager["StoreWriter"], Protocol):
    """One object being written. It does not exist for readers before :meth:`commit` was called.

    Leaving the ``with`` block without a commit aborts: nothing remains in the store, or, where the
    connection is gone, nothing that a later :meth:`Store.sweep` does not remove. For one thread at
    a time; after a commit or the block's end every call raises ValueError.
    """

    def write(self, data: bytes) -> None:
        """Append. Raises StoreError (DiskFullError when the disk is full)."""

    def commit(self) -> StoredObject:
        """Make the object durable, then visible, in one step, and see that all of it is there.

        Raises StoreError; then leaving the block removes the object again, should the store have
        made it all the same. An object of that name from before is replaced.
        """


class Store(Protocol):
    """Named objects of bytes: a folder, a bucket.

    Keys are relative, ``/``-separated, printable ASCII without empty, ``.`` and ``..`` segments,
    at most 1,000 characters, 200 a segment; one cannot be both an object and a folder of objects.
    All methods raise StoreError (or a subclass), also for an impossible key, and may be called from
    several threads at once. ``transient`` tells whether trying again may help.
    """

    @property
    def name(self) -> str:
        """The config's name for this store."""

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """Begin an object. ``expected_bytes`` is an estimate, for sizing (parts, free space).

        With ``exclusive`` the commit raises StoreExistsError when the key is already taken, where
        the store can tell. Raises DiskFullError at once when the estimate cannot fit.
        """

    def open_reader(self, key: str) -> AbstractContextManager[Readable]:
        """Read an object from its start. Raises StoreNotFoundError. A read that is cut raises."""

    def stat(self, key: str) -> StoredObject | None:
        """Size and time of one object, None when it certainly does not exist."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every committed object whose key starts with ``prefix``, in order of key.

        Never partial: an error raises, even after some objects were yielded. An empty store yields
        nothing; a store that is not there (folder missing, bucket unknown) raises. The order is
        that of ``sorted``. Foreign files are listed too, unless their names are impossible keys.
        """

    def delete(self, key: str) -> None:
        """Remove one object; fine when it is already gone. Raises StoreError, also on a lock."""

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """Remove unfinished writes (temporary files, multipart uploads) begun before that instant.

        Returns how many. Never touches a committed object, nor one that this process is writing,
        nor, in a folder, one that another living process is writing; in a bucket only age can tell.
        """

    def free_bytes(self) -> int | None:
        """Room left for us, None where there is no such number."""

    def lock_until(self, now: datetime) -> datetime | None:
        """Until when an object committed now cannot be deleted (object lock), else None."""

    def check(self) -> None:
        """Raise StoreError unless the store is there and lets us write, read, list and delete."""


class Compressor(Protocol):
    """Compression that stock tools undo, with a checksum of the content in the stream."""

    @property
    def suffix(self) -> str:
        """What it appends to a file's name, such as ``.zst``."""

    def compress(self, source: Readable) -> Readable:
        """The compressed bytes of ``source``, lazily, in constant memory."""

    def decompress(self, source: Readable) -> Readable:
        """The plain bytes. Reading raises UnrestorableError on damage or a missing end."""


class Encryptor(Protocol):
    """Encryption that stock tools undo."""

    @property
    def suffix(self) -> str:
        """What it appends to a file's name, such as ``.gpg``."""

    def describe(self) -> Encryption:
        """How it encrypts, for the manifest. Raises EncryptionError when the keys are unusable."""

    def check(self) -> None:
        """Raise EncryptionError unless every key is there, valid and able to encrypt."""

    def encrypt(self, source: Readable, sink: Sink) -> None:
        """Pass the encrypted ``source`` on to ``sink``, to its end.

        Raises EncryptionError; what ``source`` or ``sink`` raise comes out unchanged. When it
        returns, the message is complete.
        """

    def decrypt(self, source: Readable, sink: Sink) -> None:
        """The reverse. The sink may have seen plaintext of a damaged message before this raises."""


class Signer(Protocol):
    """Signatures that stock tools check. Errors say what is wrong; the caller says with what."""

    def describe(self) -> str | None:
        """How it signs, for the manifest; None where this host signs nothing."""

    def check(self) -> None:
        """Raise EncryptionError unless it could sign now, or signs nothing."""

    def get_ready(self) -> None:
        """Begin what takes long about a signature, if anything does, and come back at once."""

    def sign(self, document: bytes) -> bytes | None:
        """A detached signature of these bytes, None where this host signs nothing.

        Raises EncryptionError.
        """

    def verify(self, document: bytes, signature: bytes) -> None:
        """Return if the signature is of these bytes, and by a key that counts.

        Raises ForgedError if it is not, UncheckedSignatureError where it cannot be told here.
        """


class DumpStream(Readable, Protocol):
    """The output of a running dump tool."""

    def finish(self) -> None:
        """Wait for the tool's end, after the last byte was read.

        Raises the GuardianError that tells why when its status was not 0.
        """

    def cancel(self) -> None:
        """Kill the tool; a blocked read then ends. May be called from any thread, many times."""


class Snapshot(Protocol):
    """One instant of one database, all of its tables locked against DDL (ACCESS SHARE)."""

    @property
    def facts(self) -> DatabaseFacts:
        """Where we are."""

    @property
    def taken_at(self) -> datetime:
        """The instant, by the server's clock."""

    @property
    def dump_version(self) -> str:
        """The version of the pg_dump that will be used."""

    @property
    def estimated_bytes(self) -> int:
        """About how many bytes the dump will have, from table sizes."""

    def open_dumps(self, streams: int) -> AbstractContextManager[Sequence[DumpStream]]:
        """Start pg_dump of this very snapshot, at most so many times; leaving kills what runs yet.

        The first dump holds everything but the rows that the others hold, each of some tables that
        no other has. Small databases have one dump, whatever is asked for.
        """

    def fingerprint(self, level: ProofLevel, advance: Callable[[int], None]) -> Fingerprint:
        """Read every table in this snapshot. ``advance`` hears of bytes read.

        Sequence positions are taken at the snapshot; :meth:`with_final_positions` completes them.
        """

    def with_final_positions(self, fingerprint: Fingerprint) -> Fingerprint:
        """The fingerprint with the sequences' positions after the dump has ended."""

    def cancel(self) -> None:
        """Stop a running :meth:`fingerprint` from another thread."""


class Source(Protocol):
    """One server, as the place to back up from."""

    def databases(self) -> Sequence[str]:
        """The databases that the config selects, discovered where it says ``"*"``."""

    def snapshot(self, database: str) -> AbstractContextManager[Snapshot]:
        """Lock all tables, then take a snapshot of ``database``.

        Raises ConnectionFailedError, PermissionDeniedError (names the tables and the GRANT),
        LockedError, VersionMismatchError.
        """

    def open_globals(self) -> AbstractContextManager[tuple[DumpStream, GlobalsLevel]]:
        """Roles and tablespaces as SQL, with password hashes where the role may read them."""


class Progress(Protocol):
    """Where long work has got to, for a person who waits."""

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """A new piece of work, with its size where that can be guessed."""

    def advance(self, done_bytes: int) -> None:
        """So many more bytes are done. May be called from any thread."""

    def note(self, text: str) -> None:
        """A line worth reading: a warning, a retry."""

    def end(self, summary: str) -> None:
        """The piece of work ended; one line about it."""


class Catalog(Protocol):
    """Guardian's own memory. All methods raise CatalogError when it cannot be read or written."""

    def begin_backup(self, backup: BackupId, ref: DatabaseRef, at: datetime, lease: Lease) -> None:
        """Note a try that begins now, owned by the holder of ``lease``.

        Raises CatalogError when the id is taken.
        """

    def commit_backup(self, manifest: Manifest, outcomes: Sequence[StoreOutcome]) -> None:
        """The try succeeded: a manifest lies in at least one store.

        Also of a try that was marked interrupted meanwhile, or is unknown: the stores are right.
        """

    def fail_backup(
        self,
        backup: BackupId,
        status: RunStatus,
        at: datetime,
        cause: Cause,
        message: str,
        outcomes: Sequence[StoreOutcome] = (),
    ) -> None:
        """The try failed or was interrupted. One that was committed stays so.

        Raises NotFoundError when it is unknown.
        """

    def recover_runs(self, at: datetime, ref: DatabaseRef | None = None) -> Sequence[BackupRecord]:
        """Mark tries whose lease is gone or dead as interrupted; return those.

        Never one that is alive: its lease is held, and neither lapsed nor is its process dead.
        A lease that lapsed is removed with it, so that its holder hears of it at the next renewal.
        """

    def backups(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Backups that lie in at least one store, newest snapshot first."""

    def each_backup(
        self, server: str | None = None, database: str | None = None
    ) -> Iterator[BackupRecord]:
        """The same one after another, in bounded memory: as they are when their turn comes.

        No transaction is open while the caller has one in its hands.
        """

    def newest_backups(self, server: str | None = None) -> Sequence[BackupRecord]:
        """The newest snapshot of each database that lies in at least one store, newest first."""

    def tries(
        self, server: str | None = None, database: str | None = None, limit: int | None = None
    ) -> Sequence[BackupRecord]:
        """Every try, also running, failed and pruned ones, newest start first."""

    def backup(self, backup: BackupId) -> BackupRecord | None:
        """One try or backup by its id."""

    def records(self, wanted: Sequence[BackupId]) -> Sequence[BackupRecord]:
        """Those of these tries and backups that are known, in no particular order."""

    def proven_before(self, ref: DatabaseRef, instant: datetime) -> BackupRecord | None:
        """The newest proven backup of an earlier snapshot that lies in at least one store."""

    def manifest(self, backup: BackupId) -> Manifest | None:
        """The manifest as committed, None for a try that never got one."""

    def find_backups(self, id_prefix: str) -> Sequence[BackupRecord]:
        """Backups whose id starts so, for commands that take an abbreviated id."""

    def forget_copy(self, backup: BackupId, store: str, at: datetime) -> None:
        """The backup no longer lies in that store."""

    def consecutive_failures(self, ref: DatabaseRef) -> int:
        """Finished tries that failed since the last that succeeded (interruptions left out)."""

    def pin(self, backup: BackupId, at: datetime, by: str, reason: str | None = None) -> None:
        """Keep this backup whatever retention says. Raises NotFoundError when it is unknown."""

    def unpin(self, backup: BackupId) -> None:
        """Let retention decide again."""

    def import_manifest(
        self, manifest: Manifest, store: str, locked_until: datetime | None = None
    ) -> None:
        """Take in what a store holds: this backup lies there, whole.

        Makes the record where it is missing (``catalog rebuild``), and a success of a try that was
        given up: its manifest is there. Fine when all of it is known already.
        """

    def record_proof(self, proof: ProofRecord) -> None:
        """Note a drill; the latest conclusive one decides ``BackupRecord.proven``.

        Raises NotFoundError when the backup is unknown.
        """

    def proofs(self, backup: BackupId) -> Sequence[ProofRecord]:
        """The drills of one backup, the latest first."""

    def drills(self, ref: DatabaseRef, limit: int | None = None) -> Sequence[ProofRecord]:
        """The drills of all backups of one database, the latest first."""

    def record_event(self, event: Event) -> None:
        """Append to the log of what happened. ``server`` is filled in from ``ref``."""

    def events(self, limit: int = 100, kind: str | None = None) -> Sequence[Event]:
        """The newest events first."""

    def acquire(self, name: str, holder: Holder, ttl: timedelta) -> Lease:
        """Take the lease, also from a holder that is dead or has not renewed in time.

        Raises AlreadyRunningError that names the live holder. Atomic between processes and hosts.
        """

    def renew(self, lease: Lease, ttl: timedelta) -> Lease:
        """Prolong. Raises AlreadyRunningError when it was lost to another holder."""

    def release(self, lease: Lease) -> None:
        """Give back; fine when it is already lost."""

    def leases(self, name_prefix: str = "") -> Sequence[Lease]:
        """Live leases whose name starts so."""

    def close(self) -> None:
        """Let go of connections."""
