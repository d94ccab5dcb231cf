"""Large objects are fetched once and read as often as wanted, while they come."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import pytest

from guardian.adapters.stores import spooling
from guardian.adapters.stores.spooling import SpoolingStore
from guardian.errors import StoreError, StoreNotFoundError
from guardian.ports import Readable
from guardian.testing import Faults, MemoryStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BIG = os.urandom(3 << 20) + os.urandom(12345)
KEY = "main/mina/part"


class Counting(MemoryStore):
    """Counts how often an object is opened, and can be held up in the middle."""

    def __init__(self) -> None:
        super().__init__("offsite")
        self.opened = 0
        self.hold_after: int | None = None
        self.go_on = threading.Event()

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        self.opened += 1
        with super().open_reader(key) as reader:
            yield _Held(reader, self)


class _Held:
    def __init__(self, inner: Readable, store: Counting) -> None:
        self._inner = inner
        self._store = store
        self._given = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._store.hold_after is not None and self._given >= self._store.hold_after:
            self._store.go_on.wait(20)
        block = self._inner.read(size)
        self._given += len(block)
        return block


@pytest.fixture
def inner() -> Iterator[Counting]:
    store = Counting()
    store.plant(KEY, BIG, NOW)
    yield store
    store.go_on.set()


@pytest.fixture
def store(inner: Counting, tmp_path: Path) -> Iterator[SpoolingStore]:
    with SpoolingStore(inner, tmp_path, worth_bytes=1 << 20) as spooling_store:
        yield spooling_store
    assert list(tmp_path.iterdir()) == []


def get(store: SpoolingStore, step: int = 1 << 20) -> bytes:
    with store.open_reader(KEY) as reader:
        return b"".join(iter(lambda: reader.read(step), b""))


def test_fetched_once_however_often_and_by_whomever(inner: Counting, store: SpoolingStore) -> None:
    assert get(store) == get(store, step=4093) == BIG
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: get(store), range(8))) == {BIG}
    with store.open_reader(KEY) as one, store.open_reader(KEY) as other:
        assert one.read() == BIG
        assert other.read(10) == BIG[:10]
        assert other.read(0) == b""
        assert other.read() == BIG[10:]
        assert other.read() == other.read(5) == b""
    assert inner.opened == 1


def test_small_objects_are_read_each_time(inner: Counting, store: SpoolingStore) -> None:
    inner.plant(KEY, b"x" * ((1 << 20) - 1), NOW)
    get(store)
    get(store)
    assert inner.opened == 2


def test_its_file_has_no_name(store: SpoolingStore, tmp_path: Path) -> None:
    with store.open_reader(KEY) as reader:
        reader.read(10)
        assert list(tmp_path.iterdir()) == []


def test_readers_follow_what_comes(inner: Counting, store: SpoolingStore) -> None:
    inner.hold_after = 1 << 20
    with store.open_reader(KEY) as reader:
        begin = reader.read(1 << 20)
        assert begin == BIG[: 1 << 20], "it waited for the whole object"
        inner.go_on.set()
        assert begin + reader.read() == BIG


def test_what_is_no_more_as_it_was_is_fetched_anew(inner: Counting, store: SpoolingStore) -> None:
    assert get(store) == BIG
    other = os.urandom(2 << 20)
    inner.plant(KEY, other, NOW)
    assert get(store) == other
    inner.delete(KEY)
    with pytest.raises(StoreNotFoundError):
        get(store)


def no_room(monkeypatch: pytest.MonkeyPatch, folder: Path, free: int) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))


@pytest.mark.parametrize(("free", "opened"), [(2 * len(BIG) - 1, 2), (2 * len(BIG), 1)])
def test_without_room_it_is_read_each_time(
    inner: Counting,
    store: SpoolingStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    opened: int,
) -> None:
    no_room(monkeypatch, tmp_path, free)
    assert get(store) == get(store) == BIG
    assert inner.opened == opened


def test_a_disk_that_runs_full_meanwhile(
    store: SpoolingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        full = FileIO(os.open("/dev/full", os.O_RDWR), "r+b")
        patch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(StoreError, match=r"cannot be kept in .*: No space left on device"):
            get(store)
    assert get(store) == BIG, "a failure must not stay"


@pytest.mark.parametrize("after", [0, 2 << 20])
def test_a_store_that_fails_is_told_to_all_and_tried_again(
    inner: Counting, store: SpoolingStore, after: int
) -> None:
    inner.faults = Faults(read=StoreError("the bucket is away"), read_after=after)
    with ThreadPoolExecutor(3) as pool:
        for told in [pool.submit(get, store) for _ in range(3)]:
            with pytest.raises(StoreError, match="the bucket is away"):
                told.result(20)
    inner.faults = Faults()
    assert get(store) == BIG


@pytest.mark.parametrize("kind", [StoreError, StoreNotFoundError])
def test_what_cannot_be_opened_is_told_at_once(
    inner: Counting, store: SpoolingStore, kind: type[StoreError]
) -> None:
    inner.faults = Faults(open_reader=kind("no"))
    with pytest.raises(kind), store.open_reader(KEY):
        raise AssertionError


def test_leaving_ends_the_fetching_and_whoever_reads(
    inner: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "_ENDING_SECONDS", 0.1)
    inner.hold_after = 1 << 20
    told: list[str] = []

    def read() -> None:
        try:
            get(leaving)
        except StoreError as error:
            told.append(str(error))

    with SpoolingStore(inner, tmp_path, worth_bytes=1) as leaving:
        thread = threading.Thread(target=read)
        thread.start()
        while not inner.opened:
            pass
    thread.join(20)
    assert len(told) == 1
    assert "given up" in told[0]
    inner.go_on.set()  # the store goes on: the thread ends, and closes its file
    _await(lambda: all(one.name != "fetch" for one in threading.enumerate()))


def _await(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came true")


def test_a_folder_that_is_not_there_keeps_nothing(inner: Counting, tmp_path: Path) -> None:
    with SpoolingStore(inner, tmp_path / "gone", worth_bytes=1 << 20) as store:
        assert get(store) == BIG
        assert get(store) == BIG
    assert inner.opened == 2


def test_a_disk_that_fails_while_what_it_keeps_is_read(
    store: SpoolingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StoreError, match=f"{KEY} cannot be kept in .*: Input/output error"):
        get(store)
