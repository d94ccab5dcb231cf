"""What every store that stands over another one has in common: it passes things on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Self

from guardian.model import StoredObject
from guardian.ports import Readable, Store, StoreWriter


class PassingStore:
    """Another store, as it is. Whoever derives from it says what is otherwise."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"

    @property
    def name(self) -> str:
        """The inner store's name."""
        return self._inner.name

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """As the inner store."""
        return self._inner.open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)

    def open_reader(self, key: str) -> AbstractContextManager[Readable]:
        """As the inner store."""
        return self._inner.open_reader(key)

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


class PassingWriter:
    """Another store's writer, as it is."""

    def __init__(self, inner: StoreWriter) -> None:
        self._inner = inner

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
        """As the inner writer."""
        self._inner.write(data)

    def commit(self) -> StoredObject:
        """As the inner writer."""
        return self._inner.commit()
