"""A limit on bytes a second, over any store: for lines that others need too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from guardian.adapters.stores.passing import PassingStore, PassingWriter
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


class ThrottledStore(PassingStore):
    """Another store, written and read no faster than ``bytes_per_second`` in total."""

    def __init__(self, inner: Store, bytes_per_second: int, clock: Clock) -> None:
        super().__init__(inner)
        self._budget = ByteBudget(bytes_per_second, clock)

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


class _ThrottledWriter(PassingWriter):
    """Waits before each write."""

    def __init__(self, inner: StoreWriter, budget: ByteBudget) -> None:
        super().__init__(inner)
        self._budget = budget

    def write(self, data: bytes) -> None:
        """Append, at the limited rate."""
        self._budget.spend(len(data))
        self._inner.write(data)


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
