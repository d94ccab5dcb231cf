from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from guardian.backup.lanes import Fanout, Lane, no_store_left
from guardian.errors import Cause, DiskFullError, StoreError
from guardian.testing import MemoryStore

KEY = "main/mina/20261123T020000Z-7f3a9c/database.dump.zst.gpg"
SOON = timedelta(seconds=0.3)
BLOCKS = [bytes([n]) * 1000 for n in range(40)]


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


class Hanging(MemoryStore):
    """Stands still at one step until it is let go."""

    def __init__(self, where: str) -> None:
        super().__init__("hanging")
        self.where = where
        self.released = threading.Event()

    def _hang(self, where: str) -> None:
        if where == self.where:
            self.released.wait(30)

    def open_writer(self, key: str, **options: Any) -> Any:
        self._hang("open")
        return super().open_writer(key, **options)

    def free_bytes(self) -> int | None:
        self._hang("free")
        return super().free_bytes()

    def fault_in_write(self, key: str, written: int) -> None:
        self._hang("write")
        if written > 35_000:
            self._hang("last write")
        super().fault_in_write(key, written)

    def publish(self, writer: Any, data: bytes, *, exclusive: bool) -> Any:
        self._hang("commit")
        return super().publish(writer, data, exclusive=exclusive)


@pytest.fixture
def hanging(request: pytest.FixtureRequest) -> Iterator[Hanging]:
    store = Hanging(request.param)
    yield store
    store.released.set()


def lanes_of(*stores: MemoryStore) -> list[Lane]:
    return [Lane(store) for store in stores]


def send(lanes: list[Lane], *, expected: int | None = None) -> None:
    with Fanout(lanes, KEY, expected_bytes=expected, stall_timeout=SOON) as fanout:
        for block in BLOCKS:
            fanout.write(block)
        fanout.commit(40_000)


def test_every_store_gets_every_byte_in_order() -> None:
    stores = [MemoryStore(name) for name in "abc"]
    lanes = lanes_of(*stores)
    send(lanes)
    for store, lane in zip(stores, lanes, strict=True):
        assert store.contents() == {KEY: b"".join(BLOCKS)}
        assert (lane.alive, lane.written, store.unfinished) == (True, [KEY], 0)


def test_nothing_is_visible_before_the_commit_nor_without_it() -> None:
    stores = [MemoryStore("a"), MemoryStore("b")]
    with Fanout(lanes_of(*stores), KEY) as fanout:
        for block in BLOCKS:
            fanout.write(block)
        assert not any(store.contents() for store in stores)
    assert not any(store.contents() for store in stores)
    assert not any(store.unfinished for store in stores)


def test_an_exception_in_the_block_publishes_nothing() -> None:
    stores = [MemoryStore("a"), MemoryStore("b")]
    lanes = lanes_of(*stores)
    with contextlib.suppress(KeyError), Fanout(lanes, KEY) as fanout:
        fanout.write(b"x")
        raise KeyError
    assert not any(store.contents() or store.unfinished for store in stores)
    assert all(lane.alive and not lane.written for lane in lanes)


@pytest.mark.parametrize("step", ["open_writer", "write", "commit"])
@pytest.mark.parametrize("error", [DiskFullError("store bad: full"), OSError("odd"), KeyError("x")])
def test_one_that_fails_leaves_the_others(step: str, error: Exception) -> None:
    good, bad = MemoryStore("good"), MemoryStore("bad")
    setattr(bad.faults, step, error)
    lanes = lanes_of(bad, good)
    send(lanes)
    assert good.contents() == {KEY: b"".join(BLOCKS)}
    assert lanes[1].alive
    assert not bad.contents()
    assert bad.unfinished == 0
    assert lanes[0].error is not None
    assert "store bad" in str(lanes[0].error)


def test_one_that_cannot_tell_its_room_leaves_the_others() -> None:
    class Closed(MemoryStore):
        def free_bytes(self) -> int | None:
            raise StoreError("store bad: stale file handle")

    good = MemoryStore("good")
    lanes = lanes_of(Closed("bad"), good)
    send(lanes, expected=-5)
    assert good.contents()
    assert str(lanes[0].error) == "store bad: stale file handle"


def test_a_failed_lane_is_not_tried_again() -> None:
    store, good = MemoryStore("failed"), MemoryStore("good")
    lanes = lanes_of(store, good)
    lanes[0].fail(StoreError("first"))
    lanes[0].fail(StoreError("second"))
    send(lanes)
    assert not store.contents()
    assert str(lanes[0].error) == "first"


@pytest.mark.parametrize("step", ["open_writer", "write", "commit"])
def test_all_failing_raises_with_the_words_of_each(step: str) -> None:
    stores = [MemoryStore("a"), MemoryStore("b")]
    for store in stores:
        setattr(store.faults, step, DiskFullError(f"store {store.name}: full", mend="make room"))
    with pytest.raises(StoreError) as raised:
        send(lanes_of(*stores))
    assert str(raised.value) == "store a: full; store b: full; make room"
    assert raised.value.cause is Cause.DISK_FULL
    assert not any(store.contents() or store.unfinished for store in stores)


HANGS = ["open", "free", "write", "last write", "commit"]


@pytest.mark.parametrize("hanging", HANGS, indirect=True)
def test_one_that_hangs_is_dropped_and_blocks_nobody(hanging: Hanging) -> None:
    good = MemoryStore("good")
    lanes = lanes_of(hanging, good)
    send(lanes, expected=-5)  # returns, while the store still hangs
    assert not hanging.released.is_set()
    assert good.contents() == {KEY: b"".join(BLOCKS)}
    assert lanes[0].error is not None
    assert lanes[0].error.transient
    assert "took no data" in str(lanes[0].error)


@pytest.mark.parametrize("hanging", HANGS, indirect=True)
def test_one_that_hangs_in_its_commit_is_still_landing(hanging: Hanging) -> None:
    (lane,) = lanes = lanes_of(hanging)
    with pytest.raises(StoreError, match="took no data"):
        send(lanes, expected=-5)
    assert (lane.hanging, lane.landing) == (True, hanging.where == "commit")


@pytest.mark.parametrize("hanging", HANGS[:-1], indirect=True)
def test_one_that_wakes_up_too_late_publishes_nothing(hanging: Hanging) -> None:
    with pytest.raises(StoreError, match="took no data"):
        send(lanes_of(hanging), expected=-5)
    hanging.released.set()
    for thread in threading.enumerate():
        if thread.name == "store hanging":
            thread.join(10)
    assert not hanging.contents()
    assert hanging.unfinished == 0


def test_one_that_kept_another_number_of_bytes_is_out() -> None:
    class Short(MemoryStore):
        def publish(self, writer: Any, data: bytes, *, exclusive: bool) -> Any:
            return super().publish(writer, data[:-1], exclusive=exclusive)

    lanes = lanes_of(Short("short"), MemoryStore("good"))
    send(lanes)
    assert "kept 39999 of 40000 bytes" in str(lanes[0].error)
    assert lanes[0].written == [KEY]  # so that it is taken back
    assert lanes[1].alive


def test_a_commit_of_another_size_than_was_written_fails_everywhere() -> None:
    store = MemoryStore("a")
    with Fanout(lanes_of(store), KEY) as fanout:
        fanout.write(b"x")
        with pytest.raises(StoreError, match="kept 1 of 2 bytes"):
            fanout.commit(2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_just_ends_is_no_success() -> None:
    class Quitting(MemoryStore):
        def publish(self, writer: Any, data: bytes, *, exclusive: bool) -> Any:
            raise SystemExit

    with pytest.raises(StoreError, match="did not finish"):
        send(lanes_of(Quitting("quitting")))


def test_without_lanes() -> None:
    with pytest.raises(StoreError, match="no store is configured"), Fanout([], KEY) as fanout:
        fanout.write(b"x")
    dead = lanes_of(MemoryStore("dead"))
    dead[0].fail(StoreError("store dead: gone"))
    with pytest.raises(StoreError, match="store dead: gone"), Fanout(dead, KEY) as fanout:
        fanout.commit(0)


def test_the_estimate_is_a_promise_or_a_guess() -> None:
    tight = MemoryStore("tight", capacity=50_000)
    send(lanes_of(tight), expected=-10_000_000)  # a guess keeps nobody out
    assert tight.contents()
    lanes = lanes_of(MemoryStore("tight", capacity=50_000), MemoryStore("good"))
    send(lanes, expected=60_000)
    assert isinstance(lanes[0].error, DiskFullError)
    assert lanes[1].alive


def test_different_causes_are_called_store() -> None:
    lanes = lanes_of(MemoryStore("a"), MemoryStore("b"))
    lanes[0].fail(DiskFullError("a: full"))
    lanes[1].fail(StoreError("b: slow", transient=True))
    error = no_store_left(lanes)
    assert (error.cause, error.transient, str(error)) == (Cause.STORE, True, "a: full; b: slow")
