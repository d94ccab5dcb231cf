"""A store in memory: for tests, and for trying things out. It fails when told to.

It keeps the whole contract of :class:`guardian.ports.Store`, so a service that works with it works
with the others; ``tests/conformance`` holds it to that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from guardian.adapters.stores.keys import checked_key
from guardian.errors import (
    DiskFullError,
    StoreError,
    StoreExistsError,
    StoreLockedError,
    StoreNotFoundError,
)
from guardian.model import StoredObject
from guardian.ports import Clock, Readable


@dataclass(slots=True)
class Faults:
    """What a :class:`MemoryStore` shall get wrong, from now on, until it is set back.

    An exception given here is raised as it is. ``write_after`` and ``read_after`` count bytes from
    the start of each object: so many pass, then the exception comes. ``list_after`` counts objects.
    ``keys`` limits writes, commits, reads and deletes that fail to keys ending so.
    """

    open_writer: Exception | None = None
    write: Exception | None = None
    write_after: int = 0
    commit: Exception | None = None
    stat: Exception | None = None
    list: Exception | None = None
    list_after: int = 0
    open_reader: Exception | None = None
    read: Exception | None = None
    read_after: int = 0
    delete: Exception | None = None
    sweep: Exception | None = None
    check: Exception | None = None
    keys: str = ""


@dataclass(slots=True)
class _Held:
    """One committed object."""

    data: bytes
    modified_at: datetime
    locked_until: datetime | None = None

    def described(self, key: str) -> StoredObject:
        """As the port tells it."""
        return StoredObject(key, len(self.data), self.modified_at, self.locked_until)


class MemoryStore:
    """Objects in a dictionary. ``faults`` makes it fail, ``crash`` leaves writes unfinished.

    ``capacity`` in bytes makes it fill up; ``lock_for`` locks what is committed, as S3 object lock
    does; ``missing`` set to true makes every call fail as an unmounted folder would.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        clock: Clock | None = None,
        capacity: int | None = None,
        lock_for: timedelta | None = None,
    ) -> None:
        self._name = name
        self._clock = clock
        self._capacity = capacity
        self._lock_for = lock_for
        self._mutex = threading.Lock()
        self._objects: dict[str, _Held] = {}
        self._open: set[_MemoryWriter] = set()
        self._unfinished: list[tuple[str, datetime]] = []
        self.faults = Faults()
        self.missing = False

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r}, {len(self._objects)} objects)"

    @property
    def name(self) -> str:
        """The config's name for this store."""
        return self._name

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> _MemoryWriter:
        """Begin an object. See :meth:`guardian.ports.Store.open_writer`."""
        self._require(self.faults.open_writer, key)
        if expected_bytes is not None and self._capacity is not None:
            self._require_room(expected_bytes)
        writer = _MemoryWriter(self, checked_key(self._name, key), exclusive=exclusive)
        with self._mutex:
            self._open.add(writer)
        return writer

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object from its start. See :meth:`guardian.ports.Store.open_reader`."""
        self._require(self.faults.open_reader, key)
        with self._mutex:
            held = self._objects.get(checked_key(self._name, key))
        if held is None:
            raise StoreNotFoundError(f"store {self._name}: there is no {key}")
        yield _MemoryReader(held.data, self, key)

    def stat(self, key: str) -> StoredObject | None:
        """Size and time of one object, or None."""
        self._require(self.faults.stat, key)
        with self._mutex:
            held = self._objects.get(checked_key(self._name, key))
        return held.described(key) if held else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with ``prefix``, in order of key."""
        self._require(None, "")
        with self._mutex:
            found = sorted((key, held) for key, held in self._listable(prefix))
        for count, (key, held) in enumerate(found):
            if self.faults.list is not None and count >= self.faults.list_after:
                raise self.faults.list
            yield held.described(key)
        if self.faults.list is not None:
            raise self.faults.list

    def delete(self, key: str) -> None:
        """Remove one object; fine when it is already gone."""
        self._require(self.faults.delete, key)
        with self._mutex:
            held = self._objects.get(checked_key(self._name, key))
            if held is not None and held.locked_until and held.locked_until > self.now():
                raise StoreLockedError(
                    f"store {self._name}: {key} is locked until {held.locked_until:%Y-%m-%d %H:%M}Z"
                )
            self._objects.pop(key, None)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """Forget writes that a :meth:`crash` left, begun before that instant."""
        self._require(self.faults.sweep, "")
        with self._mutex:
            kept = [
                (key, begun)
                for key, begun in self._unfinished
                if begun >= older_than or not key.startswith(prefix)
            ]
            swept = len(self._unfinished) - len(kept)
            self._unfinished = kept
        return swept

    def free_bytes(self) -> int | None:
        """Room left, None without a capacity."""
        if self._capacity is None:
            return None
        with self._mutex:
            return max(0, self._capacity - self._used())

    def lock_until(self, now: datetime) -> datetime | None:
        """Until when an object committed now cannot be deleted."""
        return now + self._lock_for if self._lock_for is not None else None

    def check(self) -> None:
        """Raise what :attr:`faults` says, else nothing."""
        self._require(self.faults.check, "")

    def crash(self) -> None:
        """Leave every open write unfinished, as ``kill -9`` would. Their writers are then dead."""
        with self._mutex:
            for writer in self._open:
                self._unfinished.append((writer.key, writer.begun_at))
                writer.close()
            self._open.clear()

    @property
    def unfinished(self) -> int:
        """How many unfinished writes there are, open ones and crashed ones."""
        with self._mutex:
            return len(self._open) + len(self._unfinished)

    def contents(self) -> dict[str, bytes]:
        """All objects, for comparing before and after."""
        with self._mutex:
            return {key: held.data for key, held in self._objects.items()}

    def plant(self, key: str, data: bytes, modified_at: datetime | None = None) -> None:
        """Put an object there without any check: a foreign file, a damaged part."""
        with self._mutex:
            self._objects[key] = _Held(data, modified_at or self.now())

    def now(self) -> datetime:
        """The instant by this store's clock."""
        return self._clock.now() if self._clock else datetime.now(UTC)

    def publish(self, writer: _MemoryWriter, data: bytes, *, exclusive: bool) -> StoredObject:
        """Make a writer's content visible."""
        self._require(self.faults.commit, writer.key)
        with self._mutex:
            if exclusive and writer.key in self._objects:
                raise StoreExistsError(f"store {self._name}: {writer.key} is already there")
            now = self.now()
            held = _Held(data, now, self.lock_until(now))
            self._objects[writer.key] = held
            self._open.discard(writer)
        return held.described(writer.key)

    def forget(self, writer: _MemoryWriter) -> None:
        """Drop an open write."""
        with self._mutex:
            self._open.discard(writer)

    def fault_in_write(self, key: str, written: int) -> None:
        """Raise when a write shall fail after ``written`` bytes, or when the store is full."""
        if written > self.faults.write_after:
            self._require(self.faults.write, key)
        if self._capacity is not None:
            self._require_room(written)

    def fault_in_read(self, key: str, offset: int) -> int | None:
        """How many more bytes may be read at ``offset``; raises when that is none."""
        if self.faults.read is None or not key.endswith(self.faults.keys):
            return None
        if offset >= self.faults.read_after:
            raise self.faults.read
        return self.faults.read_after - offset

    def _listable(self, prefix: str) -> Iterator[tuple[str, _Held]]:
        return ((key, held) for key, held in self._objects.items() if key.startswith(prefix))

    def _require(self, fault: Exception | None, key: str) -> None:
        if self.missing:
            raise StoreError(f"store {self._name}: it is not there", mend="mount it")
        if fault is not None and key.endswith(self.faults.keys):
            raise fault

    def _require_room(self, size: int) -> None:
        with self._mutex:
            fits = self._capacity is None or self._used() + size <= self._capacity
        if not fits:
            raise DiskFullError(f"store {self._name}: no room for {size} bytes", mend="make room")

    def _used(self) -> int:
        return sum(len(held.data) for held in self._objects.values())


class _MemoryWriter:
    """One object being written to a :class:`MemoryStore`."""

    def __init__(self, store: MemoryStore, key: str, *, exclusive: bool) -> None:
        self.key = key
        self.begun_at = store.now()
        self._store = store
        self._exclusive = exclusive
        self._data = bytearray()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._store.forget(self)

    def write(self, data: bytes) -> None:
        """Append."""
        self._require_open()
        self._store.fault_in_write(self.key, len(self._data) + len(data))
        self._data += data

    def commit(self) -> StoredObject:
        """Make it visible."""
        self._require_open()
        stored = self._store.publish(self, bytes(self._data), exclusive=self._exclusive)
        self.close()
        return stored

    def close(self) -> None:
        """No more writes."""
        self._closed = True
        self._data = bytearray()

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self.key} is closed")


class _MemoryReader:
    """Reads one object; fails where the store's faults say."""

    def __init__(self, data: bytes, store: MemoryStore, key: str) -> None:
        self._data = data
        self._offset = 0
        self._store = store
        self._key = key

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that remain when negative."""
        allowed = self._store.fault_in_read(self._key, self._offset)
        end = len(self._data) if size < 0 else min(self._offset + size, len(self._data))
        if allowed is not None:
            end = min(end, self._offset + allowed)
        piece = self._data[self._offset : end]
        self._offset += len(piece)
        return piece
