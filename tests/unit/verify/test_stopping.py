"""What ends a drill from outside: too late, or another process took over."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import cast

import pytest

from guardian.errors import (
    ConnectionFailedError,
    GuardianError,
    InterruptedRunError,
    TimedOutError,
)
from guardian.restore.ports import RestoredDatabase
from guardian.verify.stopping import Stopping

LATE = "the drill took longer than 0.1s; raise verify.timeout"
ERROR = ConnectionFailedError("the connection broke off")


class Database:
    """Hears of being cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def database() -> Database:
    return Database()


def over(stopping: Stopping, database: Database) -> AbstractContextManager[None]:
    return stopping.over(cast("RestoredDatabase", database))


def test_in_time_nothing_happens(database: Database) -> None:
    for timeout in (None, timedelta(hours=1)):
        stopping = Stopping(timeout)
        with stopping, over(stopping, database):
            stopping.check()
        assert stopping.reason(ERROR) is ERROR
        assert not database.cancelled.is_set()


def test_when_it_is_late_what_runs_is_cancelled_and_the_reason_is_the_time(
    database: Database,
) -> None:
    stopping = Stopping(timedelta(seconds=0.1))
    with stopping:
        with pytest.raises(TimedOutError, match=r"longer than 0\.1s"), over(stopping, database):
            assert database.cancelled.wait(20)
        with pytest.raises(TimedOutError):
            stopping.check()
        # Whatever came of it: the connection that broke off, the tool that was stopped.
        for error in (ERROR, InterruptedRunError("the restore was stopped")):
            assert str(stopping.reason(error)) == LATE


def test_what_comes_after_does_not_begin(database: Database) -> None:
    stopping = Stopping(timedelta(seconds=0.01))
    with stopping:
        while True:
            try:
                stopping.check()
            except TimedOutError:
                break
        with pytest.raises(TimedOutError), over(stopping, database):
            raise AssertionError


def test_an_error_within_is_not_covered_up(database: Database) -> None:
    stopping = Stopping(None)
    with pytest.raises(ConnectionFailedError), over(stopping, database):
        raise ERROR


def test_a_lost_lease_is_an_interruption(database: Database) -> None:
    stopping = Stopping(timedelta(hours=1))
    with pytest.raises(InterruptedRunError, match="lease"), over(stopping, database):
        stopping.lose()
    assert database.cancelled.is_set()
    with pytest.raises(InterruptedRunError, match="lease"):
        stopping.check()
    with pytest.raises(InterruptedRunError, match="lease"):
        stopping.reason(ERROR)


def test_a_lease_that_is_lost_late_is_lost_all_the_same(database: Database) -> None:
    stopping = Stopping(timedelta(seconds=0.01))
    with stopping, pytest.raises(GuardianError), over(stopping, database):
        database.cancelled.wait(20)
    stopping.lose()
    with pytest.raises(InterruptedRunError, match="lease"):
        stopping.reason(ERROR)


def test_an_interruption_by_a_person_stays_one() -> None:
    with pytest.raises(InterruptedRunError, match="Ctrl-C"):
        Stopping(None).reason(InterruptedRunError("Ctrl-C"))


def test_the_time_counts_no_more_when_all_is_done(database: Database) -> None:
    stopping = Stopping(timedelta(seconds=0.1))
    with stopping:
        pass
    assert not database.cancelled.wait(0.2)
    assert stopping.reason(ERROR) is ERROR
