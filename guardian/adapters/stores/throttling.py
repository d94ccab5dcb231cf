"""A limit on bytes a second, over any store: for lines that others need too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from guardian.model import StoredObject
from guardian.ports import Clock, Readable, Store, StoreWriter


class ByteBudget:
    """So many bytes a second, over all that share it. An idle second is not saved up for later."""

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        if bytes_per_second <= 0:
            raise ValueError("a limit must be positive")
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()

    def spend(self, count: int) -> None:
        """Return when ``count`` more bytes are within the limit."""
        with self._lock:
            now = self._clock.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
            wait = start - now
        if wait > 0:
            self._clock.sleep(wait)


class ThrottledStore:
    """Another store, written and read no faster than ``bytes_per_second`` in total."""

    def __init__(self, inner: Store, bytes_per_second: int, clock: Clock) -> None:
        self._inner = inner
        self._budget = ByteBudget(bytes_per_second, clock)

    def __repr__(self) -> str:
        return f"ThrottledStore({self._inner!r})"

    @property
    def name(self) -> str:
        """The inner store's name."""
        return self._inner.name

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """Begin an object, written at the limited rate."""
        writer = self._inner.open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)
        return _ThrottledWriter(writer, self._budget)

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object at the limited rate."""
        with self._inner.open_reader(key) as reader:
            yield _ThrottledReader(reader, self._budget)

    def stat(self, key: str) -> StoredObject | None:
        """As the inner store."""
        return self._inner.stat(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """As the inner store."""
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        """As the inner store."""
        self._inner.delete(key)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """As the inner store."""
        return self._inner.sweep(prefix, older_than)

    def free_bytes(self) -> int | None:
        """As the inner store."""
        return self._inner.free_bytes()

    def lock_until(self, now: datetime) -> datetime | None:
        """As the inner store."""
        return self._inner.lock_until(now)

    def check(self) -> None:
        """As the inner store."""
        self._inner.check()


class _ThrottledWriter:
    """Waits before each write."""

    def __init__(self, inner: StoreWriter, budget: ByteBudget) -> None:
        self._inner = inner
        self._budget = budget

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def write(self, data: bytes) -> None:
        """Append, at the limited rate."""
        self._budget.spend(len(data))
        self._inner.write(data)

    def commit(self) -> StoredObject:
        """As the inner writer."""
        return self._inner.commit()


class _ThrottledReader:
    """Waits before it hands out what was read."""

    def __init__(self, inner: Readable, budget: ByteBudget) -> None:
        self._inner = inner
        self._budget = budget

    def read(self, size: int = -1, /) -> bytes:
        """As the inner reader, at the limited rate."""
        data = self._inner.read(size)
        self._budget.spend(len(data))
        return data
