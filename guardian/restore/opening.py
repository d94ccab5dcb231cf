"""Opening a stored part: fetch → SHA-256 → decrypt → decompress, as a stream.

A stage can fail long after it has passed bytes on: gpg tells of tampering at the end of a message,
a hash is known when the last byte came. So a stream that has not ended has proven nothing, and the
end is given only when every stage has ended well.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from guardian.backup.manifest import backup_prefix
from guardian.errors import (
    DamagedMessageError,
    DamagedPartError,
    EncryptionError,
    InterruptedRunError,
    KeyMissingError,
    StoreNotFoundError,
    UnrestorableError,
)
from guardian.model import Manifest, Part, PartKind
from guardian.ports import Compressor, Encryptor, Readable, Store
from guardian.restore.ahead import MOST, StreamsAhead
from guardian.restore.archive import UnknownArchiveError
from guardian.restore.joining import Head, Joined, JoinedStream, join, read_head
from guardian.restore.ports import ArchivePart

_BLOCK = 1 << 20
_QUEUED_BLOCKS = 8
_POLL_SECONDS = 0.2
_ENDING_SECONDS = 5.0


@dataclass
class FetchClock:
    """Seconds spent waiting for the store; streams run at once, so the longest counts."""

    longest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, seconds: float) -> None:
        """One stream's waiting."""
        with self._lock:
            self.longest = max(self.longest, seconds)


class BackupReader:
    """The parts of one backup in one store, readable as often as wanted.

    ``stop`` is asked before every block and may raise, to end all streams (a deadline).
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        encryptor: Encryptor,
        compressor: Compressor,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.manifest = manifest
        self.fetch = FetchClock()
        self._encryptor = encryptor
        self._compressor = compressor
        self._stop = stop

    def data(self, part: Part, limit: int = 1 << 30) -> bytes:
        """All of a small part, plain. Notes are stored as they are.

        Raises:
            DamagedPartError, KeyMissingError, EncryptionError, StoreError: see Archive.
        """
        if part.plain_bytes > limit:
            raise UnrestorableError(f"part {part.name} claims {part.plain_bytes} bytes")
        with self.open(part) as stream:
            return b"".join(iter(lambda: stream.read(_BLOCK), b""))

    @contextmanager
    def open(self, part: Part) -> Iterator[Readable]:
        """One part, plain, as a stream whose end says that all was well."""
        key = backup_prefix(self.manifest.ref, self.manifest.id) + part.name
        with self._fetching(key, part) as fetched:
            if part.kind is PartKind.NOTES:
                yield _Checked(fetched, part, fetched.drain)
                return
            decrypting = _Decrypting(fetched, self._encryptor, part, self._stop)
            try:
                decrypting.start()
                yield _Checked(self._compressor.decompress(decrypting), part, decrypting.drain)
            finally:
                decrypting.close()

    @contextmanager
    def _fetching(self, key: str, part: Part) -> Iterator[_Fetched]:
        began = time.monotonic()
        try:
            with self.store.open_reader(key) as reader:
                fetched = _Fetched(reader, part, self.store.name)
                fetched.seconds = time.monotonic() - began
                try:
                    yield fetched
                finally:
                    self.fetch.note(fetched.seconds)
        except StoreNotFoundError as error:
            raise DamagedPartError(
                f"part {part.name} is not in store {self.store.name} any more",
                mend="restore from another store, or from another backup",
            ) from error


class DumpArchive:
    """Implements the Archive port: the dump of a backup, whatever store it lies in.

    A dump in several parts can be read as one, in which each part comes to its end before the next
    begins; what belongs together is read from their heads, once.
    """

    def __init__(self, reader: BackupReader) -> None:
        self._reader = reader
        self._dumps = reader.manifest.parts_of(PartKind.DUMP)
        if not self._dumps:
            raise UnrestorableError(f"backup {reader.manifest.id} holds no dump")
        self._streams = StreamsAhead(reader.open)
        self._joined: Joined | None = None

    @contextmanager
    def ahead(self, streams: int) -> Iterator[None]:
        """Open so many streams now, to be used within the block, as soon as they are wanted."""
        few = (self._dumps * streams)[: min(max(streams, len(self._dumps)), MOST)]
        try:
            for part in few:
                self._streams.begin(part)
            yield
        finally:
            self._streams.close()

    def close(self) -> None:
        """Nobody reads it any more; what was opened for its head, and not read on, is closed."""
        self._streams.close()

    @property
    def plain_bytes(self) -> int:
        """How long the dump is."""
        return sum(part.plain_bytes for part in self._dumps)

    @property
    def parts(self) -> Sequence[ArchivePart]:
        """Its parts; none where it lies in one alone."""
        if len(self._dumps) == 1:
            return ()
        return [
            ArchivePart(partial(self._streams.open, part), part.plain_bytes, ids)
            for part, ids in zip(self._dumps, self._join().ids, strict=True)
        ]

    @contextmanager
    def open(self) -> Iterator[Readable]:
        """Read it from its start."""
        if len(self._dumps) == 1:
            with self._streams.open(self._dumps[0]) as stream:
                yield stream
            return
        joined = self._join()
        parts = [partial(self._streams.open, part) for part in self._dumps]
        with closing(JoinedStream(joined, parts)) as stream:
            yield stream

    def _join(self) -> Joined:
        if self._joined is None:
            heads = [self._streams.look(part, self._head) for part in self._dumps]
            try:
                self._joined = join(heads)
            except UnrestorableError:
                for part in self._dumps:
                    with self._streams.open(part) as stream:
                        _see_the_end(stream)
                raise
        return self._joined

    @staticmethod
    def _head(stream: Readable) -> Head:
        """A part's head. What is wrong with it may come of damage, which is told first."""
        try:
            return read_head(stream)
        except UnrestorableError:
            _see_the_end(stream)
            raise
        except UnknownArchiveError as error:
            raise UnrestorableError(
                f"{error.message}, and its rows lie in several parts",
                mend="upgrade guardian on this host, or follow RESTORE.txt",
            ) from error


def _see_the_end(stream: Readable) -> None:
    while stream.read(_BLOCK):
        pass


class _Fetched:
    """What the store gives, hashed and counted on the way."""

    def __init__(self, reader: Readable, part: Part, store: str) -> None:
        self._reader = reader
        self._part = part
        self._store = store
        self._sha256 = hashlib.sha256()
        self._size = 0
        self.seconds = 0.0

    def read(self, size: int = -1, /) -> bytes:
        """As the store; at the end the hash is compared."""
        began = time.monotonic()
        block = self._reader.read(size)
        self.seconds += time.monotonic() - began
        if block:
            self._sha256.update(block)
            self._size += len(block)
            if self._size > self._part.stored_bytes:
                self._refuse(f"it is longer than {self._part.stored_bytes} bytes")
            return block
        if self._size != self._part.stored_bytes:
            self._refuse(f"it has {self._size} bytes of {self._part.stored_bytes}")
        if self._sha256.hexdigest() != self._part.sha256:
            self._refuse("its SHA-256 is not the manifest's")
        return b""

    def drain(self) -> None:
        """Read on to the end, for the sake of the hash."""
        while self.read(_BLOCK):
            pass

    def _refuse(self, why: str) -> NoReturn:
        raise DamagedPartError(
            f"part {self._part.name} in store {self._store} is damaged: {why}",
            mend="restore from another store, or from another backup",
        )


class _Checked:
    """The plain bytes, whose number the manifest knows.

    What a later stage finds wrong may come of damage in the store, which is known only when the
    last stored byte was seen: so all is read (``drain``) before it is told.
    """

    def __init__(self, source: Readable, part: Part, drain: Callable[[], None]) -> None:
        self._source = source
        self._part = part
        self._drain = drain
        self._size = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            block = self._source.read(size)
            self._size += len(block)
            self._check(is_end=not block and size != 0)
        except DamagedPartError:
            raise
        except UnrestorableError:
            self._drain()
            raise
        return block

    def _check(self, *, is_end: bool) -> None:
        if self._size > self._part.plain_bytes or (is_end and self._size != self._part.plain_bytes):
            raise UnrestorableError(
                f"part {self._part.name} does not hold the {self._part.plain_bytes} bytes that "
                "the manifest tells of"
            )


class _Closed(Exception):
    """The reader went away."""


class _Decrypting:
    """gpg pushes, the decompressor pulls: a thread and a short queue between the two."""

    def __init__(
        self, fetched: _Fetched, encryptor: Encryptor, part: Part, stop: Callable[[], None]
    ) -> None:
        self._fetched = fetched
        self._encryptor = encryptor
        self._part = part
        self._stop = stop
        self._blocks: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED_BLOCKS)
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._over: BaseException | bool = False
        self._rest = b""
        self._thread = threading.Thread(target=self._run, name=f"open {part.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; raises what any stage raised, as often as it is asked."""
        if not self._rest and not self._over:
            self._take()
        if isinstance(self._over, BaseException) and not self._rest:
            raise self._over
        if size < 0 or size >= len(self._rest):
            given, self._rest = self._rest, b""
            return given
        given, self._rest = self._rest[:size], self._rest[size:]
        return given

    def drain(self) -> None:
        """Take and forget the rest, up to its end or to what a stage raises."""
        while self.read():
            pass

    def _take(self) -> None:
        while True:
            self._stop()
            if self._closed.is_set():
                raise InterruptedRunError(f"the reading of {self._part.name} was given up")
            try:
                item = self._blocks.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if item is None:
                self._over = True
            elif isinstance(item, BaseException):
                self._over = item
            else:
                self._rest = item
            return

    def close(self) -> None:
        """Nobody reads any more: let gpg end, and wait for it, but not for a store that stalls.

        Waits on an event: Thread.join, broken off by Ctrl-C, would take the thread for ended.
        """
        self._closed.set()
        if self._thread.ident is not None:
            self._ended.wait(_ENDING_SECONDS)

    def _run(self) -> None:
        try:
            self._decrypt()
        except _Closed:
            pass
        except BaseException as error:  # noqa: BLE001 - carried over to the reader's thread
            self._put_quietly(error)
        else:
            self._put_quietly(None)
        finally:
            self._ended.set()

    def _decrypt(self) -> None:
        try:
            self._encryptor.decrypt(self._fetched, self._put)
            self._fetched.drain()
        except KeyMissingError:
            self._fetched.drain()  # damage would look the same: it is told first
            raise
        except EncryptionError as error:
            self._fetched.drain()
            if isinstance(error, DamagedMessageError):
                raise DamagedPartError(
                    f"part {self._part.name} is what was stored, but it cannot be decrypted: "
                    f"{error.message}",
                    mend="restore from another backup",
                ) from error
            raise

    def _put(self, block: bytes) -> None:
        while not self._closed.is_set():
            try:
                self._blocks.put(block, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
        raise _Closed

    def _put_quietly(self, item: BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                self._blocks.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
