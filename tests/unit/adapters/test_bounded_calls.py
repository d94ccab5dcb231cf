"""Calls with a deadline, several at once, until too many hang."""

import threading

import pytest

from guardian.adapters.deadline import BoundedCalls


def test_what_a_call_returns_or_raises() -> None:
    calls = BoundedCalls("test")
    assert calls.run(lambda: 3, 5) == 3
    with pytest.raises(KeyError):
        calls.run(lambda: {"a": 1}["x"], 5)


def test_calls_do_not_wait_for_each_other() -> None:
    calls = BoundedCalls("test")
    both = threading.Barrier(2)
    other = threading.Thread(target=lambda: calls.run(lambda: both.wait(5), 6))
    other.start()
    calls.run(lambda: both.wait(5), 6)
    other.join()


def test_hanging_calls_are_left_behind_but_never_pile_up() -> None:
    calls, over, begun = BoundedCalls("test", most_hanging=2), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        over.wait(30)

    for _ in range(4):
        with pytest.raises(TimeoutError):
            calls.run(hang, 0.05)
    assert len(begun) == 2
    with pytest.raises(TimeoutError, match="2 tries before still hang"):
        calls.run(lambda: 3, 5)
    over.set()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(5)
    assert calls.run(lambda: 3, 5) == 3
