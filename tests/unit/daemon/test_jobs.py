"""The clockwork, with real threads and short intervals; what is waited for is what is to happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import apscheduler.schedulers.base
import pytest

from guardian.adapters.clock import SystemClock
from guardian.backup.schedule import parse_schedule
from guardian.daemon.jobs import Jobs, _ByTimetable, _Every
from guardian.daemon.state import JobNow
from guardian.daemon.timetable import History, Timetable
from guardian.errors import CatalogError
from guardian.testing import FakeClock

OFTEN = timedelta(milliseconds=20)
NEVER = timedelta(days=1)
NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def until(found: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Told:
    """What crashed, and what went well."""

    def __init__(self) -> None:
        self.crashes: list[tuple[str, str]] = []
        self.well: set[str] = set()

    def crashed(self, job: str, error: BaseException) -> None:
        self.crashes.append((job, str(error)))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def jobs(told: Told) -> Iterator[Jobs]:
    made = Jobs(SystemClock(), told.crashed, told.well.add)
    made.start()
    yield made
    made.stop()
    assert made.wait(10) == ()


def now(jobs: Jobs, name: str) -> JobNow:
    (found,) = [one for one in jobs.now() if one.name == name]
    return found


def test_a_job_runs_so_often(jobs: Jobs) -> None:
    ran = threading.Semaphore(0)
    jobs.every("a", OFTEN, ran.release)
    for _ in range(3):
        assert ran.acquire(timeout=10)
    until(lambda: now(jobs, "a").runs >= 3)
    assert now(jobs, "a").failures == 0


def test_one_that_raises_hurts_no_other_and_runs_again(jobs: Jobs, told: Told) -> None:
    tries = iter(range(100))

    def flaky() -> None:
        if next(tries) < 3:
            raise KeyError("oh")

    jobs.every("bad", OFTEN, flaky)
    jobs.every("good", OFTEN, lambda: None)
    until(lambda: "bad" in told.well and now(jobs, "good").runs > 3)
    assert told.crashes == [("bad", "'oh'")] * 3
    until(lambda: now(jobs, "bad").error is None)
    assert now(jobs, "bad").failures == 0


def test_an_error_of_ours_is_a_failure_and_no_crash(jobs: Jobs, told: Told) -> None:
    def away() -> None:
        raise CatalogError("catalog x: disk full", mend="make room")

    jobs.every("a", OFTEN, away)
    until(lambda: now(jobs, "a").failures > 2)
    assert now(jobs, "a").error == "catalog x: disk full; make room"
    assert told.crashes == []


def test_one_that_hangs_is_never_run_twice_is_seen_and_keeps_nobody(jobs: Jobs) -> None:
    release, runs = threading.Event(), []

    def hang() -> None:
        runs.append(1)
        release.wait(30)

    jobs.every("hangs", OFTEN, hang, allowance=timedelta(milliseconds=200))
    jobs.every("works", OFTEN, lambda: None)
    until(lambda: now(jobs, "hangs").stuck)
    assert runs == [1]
    seen = now(jobs, "works").runs
    until(lambda: now(jobs, "works").runs > seen + 2)
    assert now(jobs, "hangs").running_since is not None
    assert now(jobs, "hangs").skipped > 0
    assert jobs.wait(0.01) == ("hangs",)
    release.set()
    until(lambda: not now(jobs, "hangs").stuck)


def test_one_that_is_replaced_while_it_runs_does_not_run_beside_itself(jobs: Jobs) -> None:
    release, at_once, most = threading.Event(), [], []

    def work() -> None:
        at_once.append(1)
        most.append(len(at_once))
        release.wait(30)
        at_once.pop()

    jobs.every("a", OFTEN, work)
    until(lambda: at_once)
    jobs.every("a", OFTEN, work)
    until(lambda: now(jobs, "a").skipped > 2)
    release.set()
    until(lambda: len(most) > 3)
    assert max(most) == 1


def test_what_is_due_by_the_timetable_runs_at_once_and_then_by_it(jobs: Jobs) -> None:
    ran: list[datetime] = []
    table = Timetable(parse_schedule("every 1s"))
    long_ago = History(datetime.now(UTC) - timedelta(days=3))
    jobs.by("a", table, long_ago, lambda: ran.append(datetime.now(UTC)))
    until(lambda: len(ran) >= 3)
    assert ran[2] - ran[0] > timedelta(seconds=1), "the missed days are one run, not thousands"


def test_a_far_timetable_is_planned_and_not_run(jobs: Jobs) -> None:
    table = Timetable(parse_schedule("0 2 * * *"))
    jobs.by("a", table, History(datetime.now(UTC)), lambda: pytest.fail("not yet"))
    planned = now(jobs, "a").next_at
    assert planned is not None
    assert (planned.hour, planned.minute) == (2, 0)
    assert planned > datetime.now(UTC)


def test_run_now_and_remove(jobs: Jobs) -> None:
    ran = threading.Semaphore(0)
    jobs.every("a", NEVER, ran.release, first_in=NEVER)
    assert not ran.acquire(timeout=0.05)
    jobs.run_now("a")
    assert ran.acquire(timeout=10)
    jobs.remove("a")
    jobs.remove("a")
    jobs.run_now("a")
    assert jobs.names() == frozenset()
    assert jobs.now() == ()


def test_the_pulse_is_young_while_the_scheduler_lives(jobs: Jobs) -> None:
    until(lambda: (jobs.pulse_age or 99) < 5)
    assert "pulse" not in {one.name for one in jobs.now()}


class _Turned(datetime):
    """The scheduler's idea of the time, which a test may turn."""

    by = timedelta(0)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + cls.by


def test_a_clock_that_goes_back_stops_nothing(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(SystemClock):
        def now(self) -> datetime:
            turned: datetime = _Turned.now(UTC)
            return turned

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", _Turned)
    monkeypatch.setattr(_Turned, "by", timedelta(0))
    jobs = Jobs(Clock(), told.crashed)
    jobs.start()
    try:
        jobs.every("a", OFTEN, lambda: None)
        table = Timetable(parse_schedule("0 2 * * *"))
        jobs.by("b", table, History(_Turned.now(UTC)), lambda: None)
        planned = now(jobs, "b").next_at
        until(lambda: now(jobs, "a").runs > 1)
        _Turned.by = -timedelta(days=2)
        until(lambda: now(jobs, "a").running_since is None)
        stalled = now(jobs, "a").runs
        time.sleep(0.2)
        assert now(jobs, "a").runs <= stalled + 1, "without help it waits for the old time"
        jobs.realign()
        until(lambda: now(jobs, "a").runs > stalled + 3)
        again = now(jobs, "b").next_at
        assert planned is not None
        assert again is not None
        assert again <= planned - timedelta(days=1), "nights that come again are not left out"
    finally:
        jobs.stop()
        jobs.wait(10)


def test_a_first_time_of_all_that_is_jumped_over_is_made_up_for(told: Told) -> None:
    """The host slept through the first night after the daemon was installed."""
    clock = FakeClock(NOW - timedelta(hours=1))
    jobs = Jobs(clock, told.crashed)
    jobs.by("b", Timetable(parse_schedule("0 2 * * *")), History(), lambda: None)
    replan = jobs._jobs["b"].replan
    assert replan(NOW - timedelta(minutes=30)) == NOW
    assert replan(NOW + timedelta(hours=5)) == NOW + timedelta(hours=5), "due at once"
    assert replan(NOW - timedelta(days=2, hours=1)) == NOW - timedelta(days=2), "set back"


def test_missed_intervals_are_one() -> None:
    trigger = _Every(timedelta(seconds=5))
    assert trigger.get_next_fire_time(None, NOW) == NOW
    assert trigger.get_next_fire_time(NOW, NOW) == NOW + timedelta(seconds=5)
    late = NOW + timedelta(hours=5, seconds=2)
    assert trigger.get_next_fire_time(NOW, late) == NOW + timedelta(hours=5, seconds=5)
    early = NOW - timedelta(hours=1)
    assert trigger.get_next_fire_time(NOW, early) == NOW + timedelta(seconds=5)


def test_a_timetable_that_raises_does_not_end_the_scheduler() -> None:
    class Broken(Timetable):
        def following(self, started: datetime) -> datetime:
            raise ValueError("never comes again")

    failed: list[BaseException] = []
    trigger = _ByTimetable(Broken(parse_schedule("0 2 * * *")), failed.append)
    assert trigger.get_next_fire_time(NOW, NOW) == NOW + timedelta(hours=1)
    assert str(failed[0]) == "never comes again"


def test_a_job_that_another_thread_removes_at_that_moment(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is there and what is done to it are one step, or a jump of the clock ends us."""
    jobs.every("a", NEVER, lambda: None, first_in=NEVER)
    scheduler = jobs._scheduler
    really = scheduler.modify_job

    def removed_first(name: str, **changes: Any) -> object:
        scheduler.remove_job(name)
        return really(name, **changes)

    monkeypatch.setattr(scheduler, "modify_job", removed_first)
    jobs.realign()
    jobs.run_now("a")
    jobs.remove("a")
