from __future__ import annotations

import threading

import pytest

from guardian.adapters.deadline import SingleFlight


def test_it_gives_what_the_work_gives() -> None:
    flight = SingleFlight("test")
    assert flight.run(lambda: 42, 60) == 42
    with pytest.raises(ValueError, match="lost"):
        flight.run(lambda: int("lost"), 60)
    assert flight.run(lambda: None, 60) is None


def test_a_call_that_hangs_is_left_and_no_other_starts_beside_it() -> None:
    flight = SingleFlight("test")
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hang() -> str:
        begun.release()
        go_on.wait(60)
        return "late"

    with pytest.raises(TimeoutError):
        flight.run(hang, 0.05)
    with pytest.raises(TimeoutError, match="still hangs"):
        flight.run(hang, 0.05)
    assert begun.acquire(blocking=False)
    assert not begun.acquire(blocking=False), "only one was ever begun"
    go_on.set()
    assert flight.run(lambda: "next", 60) == "next"
