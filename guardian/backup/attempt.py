"""One try at a backup: in order, everything between the snapshot and the manifest."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.backup.fingerprint import encode_fingerprint
from guardian.backup.lanes import Fanout, Lane, no_store_left
from guardian.backup.manifest import (
    MANIFEST_NAME,
    NOTES_NAME,
    ROWS_STEM,
    STEMS,
    backup_prefix,
    encode_manifest,
)
from guardian.backup.notes import notes_part, restore_notes
from guardian.backup.recovery import take_back
from guardian.backup.seal import Sealing
from guardian.errors import GuardianError, InterruptedRunError, StoreError, TimedOutError
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Fingerprint,
    GlobalsLevel,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
)
from guardian.ports import (
    Clock,
    Compressor,
    DumpStream,
    Encryptor,
    Progress,
    Readable,
    Signer,
    Snapshot,
    Source,
)
from guardian.units import format_duration

_POLL_SECONDS = 0.05
_GROWTH = 1.25
"""How much bigger than the last backup one is expected to be at most."""


class Guard:
    """What may stop a run from outside: its deadline, and the loss of its lease."""

    def __init__(
        self,
        clock: Clock,
        timeout: timedelta | None,
        lost: threading.Event,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._renew = renew
        self._timeout = timeout
        self._lost = lost
        self._began = clock.monotonic()

    def check(self) -> None:
        """Raise when the run has to end.

        Raises:
            TimedOutError: ``backup.timeout`` is over.
            InterruptedRunError: another process took over (this one was suspended for too long).
        """
        if self._lost.is_set():
            raise InterruptedRunError("the lease was lost to another process")
        if self._timeout is None:
            return
        limit = self._timeout.total_seconds()
        if self._clock.monotonic() - self._began > limit:
            raise TimedOutError(
                f"the backup took longer than {format_duration(limit)}",
                mend="raise backup.timeout, or find what slows server or store",
            )

    def confirm(self) -> None:
        """Ask the catalog itself whether the lease is ours; what we remember of it may be old.

        After a clock that jumped, or a host that slept, another process may have taken it, and our
        parts away, before our next renewal tells us so.

        Raises:
            InterruptedRunError: it is not.
        """
        self._renew()
        if self._lost.is_set():
            raise InterruptedRunError("the lease was lost to another process")

    def sleep(self, seconds: float) -> None:
        """Wait, but not past what :meth:`check` would end."""
        until = self._clock.monotonic() + seconds
        while (rest := until - self._clock.monotonic()) > 0:
            self.check()
            self._clock.sleep(min(rest, 1.0))

    def seal(self, *sealings: Sealing) -> list[Part]:
        """Seal parts at once, watching; on any reason to end, one's failure too, let all end."""
        try:
            for sealing in sealings:
                sealing.start()
            while not all(sealing.wait(_POLL_SECONDS) for sealing in sealings):
                for sealing in sealings:
                    sealing.check()
                self.check()
        except BaseException:
            for sealing in sealings:
                sealing.cancel()
            for sealing in sealings:
                sealing.wait(60)
            raise
        return [sealing.result() for sealing in sealings]


@dataclass(frozen=True, slots=True)
class Making:
    """What a try is about, and what it works with."""

    id: BackupId
    ref: DatabaseRef
    started_at: datetime
    source: Source
    compressor: Compressor
    encryptor: Encryptor
    signer: Signer
    clock: Clock
    progress: Progress
    proof: ProofLevel
    with_globals: bool
    compression_level: int
    jobs: int
    version: str
    last: BackupRecord | None


class Attempt:
    """Runs once; a second try is another object."""

    def __init__(self, making: Making, guard: Guard, lanes: Sequence[Lane]) -> None:
        self._making = making
        self._guard = guard
        self._lanes = lanes
        self._parts: list[Part] = []
        self._warnings: list[str] = []

    def make(self) -> Manifest:
        """Make the backup.

        Raises:
            GuardianError: nothing was committed; what lanes wrote is theirs to take back.
        """
        making = self._making
        encryption = making.encryptor.describe()
        making.encryptor.check()
        making.signer.check()  # or hours of dumping would come to nothing
        with making.source.snapshot(making.ref.database) as snapshot:
            level = self._seal_globals() if making.with_globals else GlobalsLevel.NONE
            fingerprint = self._seal_dump(snapshot)
            if fingerprint is not None:
                self._seal_bytes(PartKind.FINGERPRINT, encode_fingerprint(fingerprint))
            manifest = Manifest(
                id=making.id,
                ref=making.ref,
                started_at=making.started_at,
                snapshot_at=snapshot.taken_at,
                finished_at=making.clock.now(),
                parts=tuple(self._parts),
                encryption=encryption,
                compression_level=making.compression_level,
                proof=ProofLevel.NONE if fingerprint is None else fingerprint.level,
                globals=level,
                facts=snapshot.facts,
                dump_version=snapshot.dump_version,
                guardian_version=making.version,
                warnings=tuple(self._warnings),
                tables=None if fingerprint is None else len(fingerprint.tables),
                rows=None if fingerprint is None else fingerprint.rows,
                signature=making.signer.describe(),
            )
        return self._publish(manifest)

    def _seal_globals(self) -> GlobalsLevel:
        self._making.progress.begin(f"{self._making.ref}: roles and tablespaces")
        with self._making.source.open_globals() as (stream, level):
            sealing = self._sealing(
                PartKind.GLOBALS, stream, finish=stream.finish, stop=stream.cancel
            )
            self._parts += self._guard.seal(sealing)
        if level is GlobalsLevel.WITHOUT_PASSWORDS:
            self._warn("roles are saved without passwords: the role may not read pg_authid")
        return level

    def _seal_dump(self, snapshot: Snapshot) -> Fingerprint | None:
        """Dump, and fingerprint beside it; the fingerprint's failure costs the proof alone."""
        making = self._making
        total = making.last.dumped_bytes if making.last else snapshot.estimated_bytes
        making.progress.begin(str(making.ref), total or None)
        with snapshot.open_dumps(making.jobs) as streams:
            reading = _Reading(snapshot, making.proof)
            reading.start()
            try:
                self._seal_streams(streams, self._expected(snapshot))
                while not reading.wait(_POLL_SECONDS):
                    self._guard.check()
            finally:
                reading.stop()
        return self._judge_reading(reading, snapshot)

    def _judge_reading(self, reading: _Reading, snapshot: Snapshot) -> Fingerprint | None:
        try:
            fingerprint = reading.result()
            if fingerprint is None:
                return None
            fingerprint = snapshot.with_final_positions(fingerprint)
        except GuardianError as error:
            self._warn(f"there is no fingerprint, so this backup cannot be proven: {error.message}")
            return None
        if fingerprint.level is not self._making.proof:
            self._warn(
                "contents took longer than backup.snapshot_max_age: row counts alone were taken"
            )
        return fingerprint

    def _seal_streams(self, streams: Sequence[DumpStream], expected_bytes: int) -> None:
        """The dumps, the main one first; there must be room for all of them before any begins."""
        sealings = [
            self._sealing(
                PartKind.DUMP,
                stream,
                stem=ROWS_STEM.format(number) if number else STEMS[PartKind.DUMP],
                finish=stream.finish,
                stop=stream.cancel,
                advance=self._making.progress.advance,
                expected_bytes=expected_bytes,
            )
            for number, stream in enumerate(streams)
        ]
        self._parts += self._guard.seal(*sealings)

    def _seal_bytes(self, kind: PartKind, data: bytes) -> None:
        sealing = self._sealing(kind, io.BytesIO(data), expected_bytes=len(data))
        self._parts += self._guard.seal(sealing)

    def _sealing(
        self,
        kind: PartKind,
        source: Readable,
        *,
        stem: str | None = None,
        finish: Callable[[], None] = lambda: None,
        stop: Callable[[], None] = lambda: None,
        advance: Callable[[int], None] = lambda _: None,
        expected_bytes: int | None = None,
    ) -> Sealing:
        making = self._making
        name = (stem or STEMS[kind]) + making.compressor.suffix + making.encryptor.suffix
        return Sealing(
            source,
            kind=kind,
            key=backup_prefix(making.ref, making.id) + name,
            lanes=self._lanes,
            compressor=making.compressor,
            encryptor=making.encryptor,
            finish=finish,
            stop=stop,
            advance=advance,
            expected_bytes=expected_bytes,
        )

    def _expected(self, snapshot: Snapshot) -> int:
        """Bytes to be stored at most; negative where it is a guess (see lanes)."""
        last = self._making.last
        if last is not None and last.stored_bytes:
            return int(last.stored_bytes * _GROWTH)
        return -max(1, snapshot.estimated_bytes)

    def _publish(self, manifest: Manifest) -> Manifest:
        """Notes, then the manifest, in every store that is still in the race."""
        making = self._making
        prefix = backup_prefix(making.ref, making.id)
        notes = restore_notes(manifest, manifest.parts).encode()
        whole = notes_part(manifest, NOTES_NAME, notes)
        for name, data in ((NOTES_NAME, notes), (MANIFEST_NAME, encode_manifest(whole))):
            self._guard.check()
            self._guard.confirm()
            with Fanout(self._lanes, prefix + name, expected_bytes=len(data)) as fanout:
                fanout.write(data)
                fanout.commit(len(data))
        # Whoever took the lease before this found no manifest; whoever takes it later finds one.
        self._guard.confirm()
        now = making.clock.now()
        for lane in self._lanes:
            if lane.alive:
                lane.committed = True
                lane.locked_until = lane.store.lock_until(now)
            elif lane.written and not lane.hanging:
                self._take_back(lane)
        if not any(lane.committed for lane in self._lanes):
            raise no_store_left(self._lanes)
        return whole

    def _take_back(self, lane: Lane) -> None:
        """One store fell out on the way; its parts are no backup and need not stay."""
        try:
            take_back(lane.store, self._making.ref, self._making.id)
        except StoreError as error:
            self._making.progress.note(
                f"store {lane.store.name}: unfinished parts stay until the next sweep: "
                f"{error.message}"
            )

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._making.progress.note(f"{self._making.ref}: {text}")


class _Reading:
    """The fingerprint being read in a thread of its own, beside the dump."""

    def __init__(self, snapshot: Snapshot, level: ProofLevel) -> None:
        self._snapshot = snapshot
        self._level = level
        self._fingerprint: Fingerprint | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()  # not Thread.join: see seal.py
        self._thread = threading.Thread(target=self._run, name="fingerprint", daemon=True)

    def start(self) -> None:
        if self._level is ProofLevel.NONE:
            self._done.set()
        else:
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def stop(self) -> None:
        if self._thread.ident is not None and not self._done.is_set():
            self._snapshot.cancel()
            self._done.wait(30)

    def result(self) -> Fingerprint | None:
        if self._error is not None:
            raise self._error
        return self._fingerprint

    def _run(self) -> None:
        try:
            self._fingerprint = self._snapshot.fingerprint(self._level, lambda _: None)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            self._error = error
        finally:
            self._done.set()
