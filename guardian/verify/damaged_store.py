"""A store as a drill of the drill sees it: nothing can be written, and one object is damaged.

The damage is done while the object is read, so that no copy of a large dump is needed, and what
lies in the store stays as it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

from guardian.errors import StoreError, StoreNotFoundError
from guardian.model import StoredObject
from guardian.ports import Readable, Store, StoreWriter

Opening = Callable[[Store], AbstractContextManager[Readable]]
"""Opens an object of a store otherwise than the store would."""


class ReadOnlyStore:
    """A store that refuses to be changed."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        """The store's."""
        return self._inner.name

    def open_reader(self, key: str) -> AbstractContextManager[Readable]:
        """As the inner store."""
        return self._inner.open_reader(key)

    def stat(self, key: str) -> StoredObject | None:
        """As the inner store."""
        return self._inner.stat(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """As the inner store."""
        return self._inner.list(prefix)

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """Refused."""
        del expected_bytes, exclusive
        raise self._refusal(key)

    def delete(self, key: str) -> None:
        """Refused."""
        raise self._refusal(key)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """Removes nothing."""
        del prefix, older_than
        return 0

    def free_bytes(self) -> int | None:
        """As the inner store."""
        return self._inner.free_bytes()

    def lock_until(self, now: datetime) -> datetime | None:
        """As the inner store."""
        return self._inner.lock_until(now)

    def check(self) -> None:
        """Refused: it would write."""
        raise self._refusal("anything")

    def _refusal(self, key: str) -> StoreError:
        return StoreError(f"store {self.name}: {key} is not written, a self-test changes nothing")


class DamagedStore(ReadOnlyStore):
    """A store that gives one object otherwise than it lies there. Sizes are told as they were."""

    def __init__(self, inner: Store, key: str, opening: Opening) -> None:
        super().__init__(inner)
        self._key = key
        self._opening = opening

    def open_reader(self, key: str) -> AbstractContextManager[Readable]:
        """As the inner store, but for the damaged object."""
        return self._opening(self._inner) if key == self._key else self._inner.open_reader(key)


def flipped(key: str, offset: int) -> Opening:
    """One bit of the byte at ``offset`` is another."""

    @contextmanager
    def opening(store: Store) -> Iterator[Readable]:
        with store.open_reader(key) as reader:
            yield _Flipped(reader, offset)

    return opening


def cut_short(key: str, size: int) -> Opening:
    """Only the first ``size`` bytes are there."""

    @contextmanager
    def opening(store: Store) -> Iterator[Readable]:
        with store.open_reader(key) as reader:
            yield _CutShort(reader, size)

    return opening


def missing(key: str) -> Opening:
    """It is not there."""

    def opening(store: Store) -> AbstractContextManager[Readable]:
        raise StoreNotFoundError(f"store {store.name}: there is no {key}")

    return opening


def replaced(other: Store, key: str) -> Opening:
    """In its place lies what ``other`` has under ``key``."""
    return lambda _store: other.open_reader(key)


def rewritten(data: bytes) -> Opening:
    """In its place lies this."""

    @contextmanager
    def opening(_store: Store) -> Iterator[Readable]:
        yield io.BytesIO(data)

    return opening


class _Flipped:
    def __init__(self, reader: Readable, offset: int) -> None:
        self._reader = reader
        self._left = offset

    def read(self, size: int = -1, /) -> bytes:
        block = self._reader.read(size)
        if 0 <= self._left < len(block):
            damaged = bytearray(block)
            damaged[self._left] ^= 1
            block = bytes(damaged)
        self._left -= len(block)
        return block


class _CutShort:
    def __init__(self, reader: Readable, size: int) -> None:
        self._reader = reader
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        block = self._reader.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(block)
        return block
