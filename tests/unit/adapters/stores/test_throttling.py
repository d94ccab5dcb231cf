"""A limit on bytes a second, shared by all that write and read."""

from __future__ import annotations

import pytest

from guardian.adapters.stores.throttling import ByteBudget, ThrottledStore
from guardian.testing import FakeClock, MemoryStore


def test_writing_takes_as_long_as_the_limit_says() -> None:
    clock = FakeClock()
    store = ThrottledStore(MemoryStore(), 1000, clock)
    start = clock.monotonic()
    with store.open_writer("a") as writer:
        for _ in range(11):
            writer.write(b"x" * 500)
        writer.commit()
    assert clock.monotonic() - start == pytest.approx(5.0)  # the last one's wait is the next one's


def test_reading_and_writing_share_the_limit() -> None:
    clock = FakeClock()
    inner = MemoryStore()
    inner.plant("a", b"x" * 1000)
    store = ThrottledStore(inner, 1000, clock)
    with store.open_reader("a") as reader:
        reader.read()
    with store.open_writer("b") as writer:
        writer.write(b"x" * 500)
        writer.write(b"x")
    assert clock.slept == [pytest.approx(1.0), pytest.approx(0.5)]


def test_idle_time_is_not_saved_up() -> None:
    clock = FakeClock()
    budget = ByteBudget(100, clock)
    clock.advance(3600)
    budget.spend(100)
    budget.spend(100)
    assert clock.slept == [pytest.approx(1.0)]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ByteBudget(0, FakeClock())
