from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from guardian.backup.small_objects import read_small, write_small
from guardian.errors import ManifestError, StoreError, StoreNotFoundError
from guardian.testing import MemoryStore


class Endless:
    """What whoever writes to a store might have put there."""

    def read(self, size: int = -1, /) -> bytes:
        return b" " * size


def test_what_is_written_is_read() -> None:
    store = MemoryStore()
    write_small(store, "a/b", b"first")
    write_small(store, "a/b", b"second")
    assert read_small(store, "a/b", 6) == b"second"


def test_it_never_reads_endlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    @contextmanager
    def open_reader(key: str) -> Iterator[Endless]:
        yield Endless()

    monkeypatch.setattr(store, "open_reader", open_reader)
    with pytest.raises(ManifestError, match="too large"):
        read_small(store, "a/b", 1000)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(StoreNotFoundError):
        read_small(MemoryStore(), "a/b", 10)


def test_a_write_that_fails_leaves_what_was_there() -> None:
    store = MemoryStore()
    write_small(store, "a/b", b"first")
    store.faults.commit = StoreError("full")
    with pytest.raises(StoreError):
        write_small(store, "a/b", b"second")
    assert read_small(store, "a/b", 10) == b"first"
