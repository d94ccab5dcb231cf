"""What is tried again, what is not, and that nothing is lost or doubled by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from guardian.adapters.stores.memory import _MemoryWriter
from guardian.adapters.stores.retrying import Patience, RetryingStore
from guardian.errors import DiskFullError, StoreError, StoreExistsError, StoreNotFoundError
from guardian.model import StoredObject
from guardian.ports import Readable
from guardian.testing import MemoryStore

AT_ONCE = Patience(attempts=4, first_wait=0, longest_wait=0, jitter=0)
BUSY = StoreError("busy", transient=True)
FULL = DiskFullError("full")


class FlakyStore(MemoryStore):
    """Fails ``failures`` times at ``place`` with ``error``, then works. Counts calls."""

    def __init__(self, place: str, failures: int, error: Exception = BUSY) -> None:
        super().__init__()
        self.place = place
        self.failures = failures
        self.error = error
        self.calls = 0

    def fail_at(self, place: str) -> None:
        if place == self.place:
            self.calls += 1
            if self.calls <= self.failures:
                raise self.error

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> _MemoryWriter:
        self.fail_at("open_writer")
        return super().open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)

    def fault_in_write(self, key: str, written: int) -> None:
        self.fail_at("write")
        super().fault_in_write(key, written)

    def publish(self, writer: _MemoryWriter, data: bytes, *, exclusive: bool) -> StoredObject:
        self.fail_at("commit")
        stored = super().publish(writer, data, exclusive=exclusive)
        self.fail_at("answer to commit")
        return stored

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        self.fail_at("open_reader")
        with super().open_reader(key) as reader:
            yield reader

    def stat(self, key: str) -> StoredObject | None:
        self.fail_at("stat")
        return super().stat(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for found in super().list(prefix):
            self.fail_at(f"list before {found.key}")
            yield found
        self.fail_at("end of list")

    def delete(self, key: str) -> None:
        self.fail_at("delete")
        super().delete(key)


def retrying(inner: FlakyStore, kept_bytes: int = 100) -> RetryingStore:
    return RetryingStore(inner, AT_ONCE, kept_bytes=kept_bytes)


def put(store: RetryingStore, data: bytes, *, exclusive: bool = False) -> None:
    with store.open_writer("a", exclusive=exclusive) as writer:
        for start in range(0, len(data), 10):
            writer.write(data[start : start + 10])
        writer.commit()


CALLS = {
    "stat": lambda store: store.stat("a"),
    "delete": lambda store: store.delete("a"),
    "open_reader": lambda store: store.open_reader("a").__enter__().read(),
    "list before b": lambda store: [found.key for found in store.list()],
    "end of list": lambda store: [found.key for found in store.list()],
    "open_writer": lambda store: put(store, b"x" * 50),
    "write": lambda store: put(store, b"x" * 50),
    "commit": lambda store: put(store, b"x" * 50),
}


@pytest.mark.parametrize("place", CALLS)
def test_what_may_pass_is_tried_again_so_often_and_no_oftener(place: str) -> None:
    patient = FlakyStore(place, failures=3)
    for key in ("a", "b", "c"):
        patient.plant(key, b"1")
    CALLS[place](retrying(patient))
    assert patient.calls >= 4

    hopeless = FlakyStore(place, failures=99)
    for key in ("a", "b", "c"):
        hopeless.plant(key, b"1")
    with pytest.raises(StoreError, match="busy"):
        CALLS[place](retrying(hopeless))
    assert hopeless.calls == 4


@pytest.mark.parametrize("place", CALLS)
def test_what_cannot_pass_is_told_at_once(place: str) -> None:
    inner = FlakyStore(place, failures=1, error=FULL)
    for key in ("a", "b", "c"):
        inner.plant(key, b"1")
    with pytest.raises(DiskFullError):
        CALLS[place](retrying(inner))
    assert inner.calls == 1


def test_a_listing_goes_on_after_the_last_key() -> None:
    inner = FlakyStore("list before c", failures=3)
    for key in ("a", "b", "c", "d"):
        inner.plant(key, b"1")
    assert [found.key for found in retrying(inner).list()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("place", ["write", "commit", "open_writer"])
def test_a_small_object_is_written_again_whole(place: str) -> None:
    inner = FlakyStore(place, failures=2)
    data = bytes(range(95))
    put(retrying(inner), data)
    assert inner.contents() == {"a": data}
    assert inner.unfinished == 0


@pytest.mark.parametrize("place", ["write", "commit"])
def test_a_large_object_is_not_tried_again_and_leaves_nothing(place: str) -> None:
    inner = FlakyStore(place, failures=0)

    def write_and_fail() -> None:
        with retrying(inner).open_writer("a") as writer:
            writer.write(b"x" * 101)
            inner.failures, inner.calls = 99, 0
            writer.write(b"x")
            writer.commit()

    with pytest.raises(StoreError, match="busy"):
        write_and_fail()
    assert inner.calls == 1
    assert inner.contents() == {}
    assert inner.unfinished == 0


def test_an_object_that_grows_large_keeps_its_beginning() -> None:
    inner = FlakyStore("", failures=0)
    data = bytes(range(250))
    put(retrying(inner), data)
    assert inner.contents() == {"a": data}


def test_an_exclusive_write_whose_answer_was_lost_is_a_success() -> None:
    inner = FlakyStore("answer to commit", failures=1)
    put(retrying(inner), b"ours", exclusive=True)
    assert inner.contents() == {"a": b"ours"}


def test_an_exclusive_write_that_finds_somebody_elses_object_fails() -> None:
    inner = FlakyStore("commit", failures=1)
    inner.plant("a", b"them")
    with pytest.raises(StoreExistsError):
        put(retrying(inner), b"ours", exclusive=True)
    assert inner.contents() == {"a": b"them"}


def test_leaving_without_a_commit_never_opens_the_store_again() -> None:
    inner = FlakyStore("write", failures=99)
    store = retrying(inner)
    with pytest.raises(StoreError, match="busy"), store.open_writer("a") as writer:
        writer.write(b"x")
    assert inner.unfinished == 0
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"x")


def test_what_is_missing_is_no_reason_to_wait() -> None:
    with pytest.raises(StoreNotFoundError):
        retrying(FlakyStore("", 0)).open_reader("nope").__enter__()
