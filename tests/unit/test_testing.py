"""The public fakes do what their names say."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from guardian.errors import DeliveryError, DiskFullError, StoreError, StoreLockedError
from guardian.escalate.model import Message, MessageKind, Receipt, Severity
from guardian.testing import FakeChannel, FakeClock, MemoryStore


def put(store: MemoryStore, key: str, data: bytes = b"data") -> None:
    with store.open_writer(key) as writer:
        writer.write(data)
        writer.commit()


def test_a_clock_stands_still_until_it_is_turned() -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    before = clock.monotonic()
    assert clock.now() == clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    clock.sleep(90)
    clock.advance(timedelta(hours=1))
    assert clock.now() == datetime(2026, 1, 1, 1, 1, 30, tzinfo=UTC)
    assert clock.monotonic() - before == 3690
    assert clock.slept == [90]


def test_only_the_wall_clock_jumps() -> None:
    clock = FakeClock()
    before = clock.monotonic()
    clock.jump_to(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2020
    assert clock.monotonic() == before
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="timezone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("fault", ["open_writer", "write", "commit"])
def test_a_store_fails_to_write_where_told(fault: str) -> None:
    store = MemoryStore()
    put(store, "older")
    setattr(store.faults, fault, DiskFullError("full"))
    store.faults.keys = "manifest.json"
    put(store, "a/data")
    with pytest.raises(DiskFullError):
        put(store, "a/manifest.json")
    assert set(store.contents()) == {"older", "a/data"}
    assert store.unfinished == 0


def test_a_store_fails_after_so_many_bytes() -> None:
    store = MemoryStore()
    store.faults.write = StoreError("cut")
    store.faults.write_after = 4
    put(store, "a", b"1234")
    with pytest.raises(StoreError, match="cut"):
        put(store, "b", b"12345")
    store.faults.read = StoreError("cut")
    store.faults.read_after = 3
    with store.open_reader("a") as reader:
        assert reader.read(10) == b"123"
        with pytest.raises(StoreError, match="cut"):
            reader.read(10)


def test_a_store_fails_in_the_middle_of_a_listing() -> None:
    store = MemoryStore()
    put(store, "a")
    put(store, "b")
    store.faults.list = StoreError("cut")
    store.faults.list_after = 1
    listing = store.list()
    assert next(listing).key == "a"
    with pytest.raises(StoreError, match="cut"):
        next(listing)


def test_a_store_fills_up() -> None:
    store = MemoryStore(capacity=10)
    put(store, "a", b"123456")
    assert store.free_bytes() == 4
    with pytest.raises(DiskFullError):
        put(store, "b", b"12345")
    with pytest.raises(DiskFullError):
        store.open_writer("b", expected_bytes=5)
    assert set(store.contents()) == {"a"}


def test_a_store_locks_for_a_while() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock, lock_for=timedelta(days=1))
    put(store, "a")
    with pytest.raises(StoreLockedError, match="locked until 2026-11-24"):
        store.delete("a")
    clock.advance(timedelta(days=1))
    store.delete("a")
    assert store.contents() == {}


def test_a_store_that_is_missing_is_not_empty() -> None:
    store = MemoryStore()
    store.missing = True
    with pytest.raises(StoreError):
        list(store.list())
    with pytest.raises(StoreError):
        store.stat("a")


def message(number: int) -> Message:
    return Message(MessageKind.TEST, Severity.P3, "a test", datetime.now(UTC), "k", number=number)


def test_a_channel_answers_as_told_and_keeps_what_it_took() -> None:
    channel = FakeChannel("pager", DeliveryError("503"), Receipt("202", memo="thread"))
    with pytest.raises(DeliveryError, match="503"):
        channel.send(message(1))
    assert channel.send(message(1)).memo == "thread"
    assert channel.send(message(2), "thread").detail == "taken"
    assert [one.number for one in channel.sent] == [1, 2]
    assert [(one.number, memo) for one, memo in channel.tries] == [
        (1, None),
        (1, None),
        (2, "thread"),
    ]
    channel.otherwise = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        channel.send(message(3))
    channel.close()
    assert channel.closed


def test_a_channel_hangs_until_it_is_released() -> None:
    channel = FakeChannel()
    channel.hang()
    sending = threading.Thread(target=channel.send, args=(message(1),))
    sending.start()
    while not channel.tries:
        sending.join(0.01)
    assert sending.is_alive()
    assert channel.sent == []
    channel.release()
    sending.join(10)
    assert len(channel.sent) == 1
