"""The daemon's clockwork: jobs that run every so often, or by a timetable, beside each other.

APScheduler keeps the time. What this room adds is what makes it fit to guard something:

- No job can hurt another. Each has a thread for as long as it runs, never two at once; what it
  raises is noted, told, and forgotten with its next run that goes well.
- A job that does not come back is seen: each notes when it began, and how long that may take.
- The scheduler itself is watched by its pulse, a job that does nothing else.
- A wall clock that jumps, by hand or with the host's sleep, stops nothing (:meth:`Jobs.realign`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor as Pool
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobExecutionEvent,
    JobSubmissionEvent,
)
from apscheduler.executors.pool import BasePoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from guardian.daemon.state import JobNow
from guardian.daemon.timetable import History, Timetable
from guardian.errors import GuardianError
from guardian.ports import Clock

_log = logging.getLogger(__name__)

PULSE = "pulse"
PULSE_EVERY = timedelta(seconds=2)
_MOST_THREADS = 1024
"""Far more than there are jobs: a thread is made only when a job is due and none is idle."""
_LEAST_ALLOWANCE = timedelta(minutes=1)
_RETRY = timedelta(hours=1)

Work = Callable[[], object]
Crashed = Callable[[str, BaseException], object]
"""Takes the name of a job and the unexpected error that it raised."""


class Jobs:
    """All jobs of the daemon. May be used from any thread."""

    def __init__(
        self, clock: Clock, crashed: Crashed, went_well: Callable[[str], object] = lambda _: None
    ) -> None:
        self._clock = clock
        self._crashed = crashed
        self._went_well = went_well
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._tracks: dict[str, _Track] = {}
        self._pulse_at: float | None = None
        for name in ("apscheduler.scheduler", "apscheduler.executors.default"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # we hear of it by the listener
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": _Executor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(
            self._heard, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        )

    def start(self) -> None:
        """Begin. Jobs may be added before and after."""
        self._pulse_at = self._clock.monotonic()
        self.every(PULSE, PULSE_EVERY, self._beat)
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no job any more; those that run go on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def wait(self, seconds: float) -> tuple[str, ...]:
        """Until none runs, for so long at most; returns those that still do."""
        deadline = self._clock.monotonic() + seconds
        while (running := self._running()) and self._clock.monotonic() < deadline:
            self._clock.sleep(0.05)
        return running

    def every(
        self,
        name: str,
        interval: timedelta,
        work: Work,
        *,
        allowance: timedelta | None = None,
        first_in: timedelta = timedelta(0),
    ) -> None:
        """Run ``work`` so often, in the place of a job of that name.

        ``allowance``: how long one run may take before it counts as stuck; by default three
        intervals, a minute at least. ``first_in``: the first run comes after so long.
        """
        allowed = allowance or max(3 * interval, _LEAST_ALLOWANCE)
        self._add(_Job(name, work, allowed, _Every(interval), lambda now: now), first_in)

    def by(
        self,
        name: str,
        table: Timetable,
        history: History,
        work: Work,
        *,
        allowance: timedelta = _LEAST_ALLOWANCE,
    ) -> None:
        """Run ``work`` by a timetable, in the place of a job of that name; what was missed, now."""
        trigger = _ByTimetable(table, lambda error: self._crashed(name, error))
        planned = max(table.next_start(history, self._clock.now()), self._clock.now())

        def replan(now: datetime) -> datetime:
            nonlocal planned
            last = trigger.last_fired or history.last_started
            if last is None and planned <= now:
                return now  # its first time of all was jumped over
            planned = max(table.next_start(History(last, resume=False), now), now)
            return planned

        job = _Job(name, work, allowance, trigger, replan)
        self._add(job, planned - self._clock.now())

    def run_now(self, name: str) -> None:
        """Let a job run at once, if there is one of that name; its rhythm begins anew."""
        self._set_next(name, self._clock.now())

    def remove(self, name: str) -> None:
        """Run it no more; fine when there is none."""
        with self._lock:
            self._jobs.pop(name, None)
        with suppress(JobLookupError):
            self._scheduler.remove_job(name)

    def names(self) -> frozenset[str]:
        """All jobs but the pulse."""
        with self._lock:
            return frozenset(self._jobs) - {PULSE}

    def realign(self) -> None:
        """The wall clock has jumped: plan every job anew from now on."""
        now = self._clock.now()
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self._set_next(job.name, job.replan(now))

    @property
    def pulse_age(self) -> float | None:
        """Seconds since the scheduler last did something; None before it was started."""
        return None if self._pulse_at is None else self._clock.monotonic() - self._pulse_at

    def now(self) -> tuple[JobNow, ...]:
        """How each does, in order of name; the pulse is left out."""
        planned = {one.id: one.next_run_time for one in self._scheduler.get_jobs()}
        at = self._clock.monotonic()
        with self._lock:
            return tuple(
                self._tracks[name].at(at, planned.get(name), self._jobs[name].allowance)
                for name in sorted(self._jobs)
                if name != PULSE
            )

    # --- within ---

    def _set_next(self, name: str, at: datetime) -> None:
        """Not asked first whether there is such a job: another thread may remove it in between."""
        with suppress(JobLookupError):
            self._scheduler.modify_job(name, next_run_time=at)

    def _add(self, job: _Job, first_in: timedelta) -> None:
        with self._lock:
            self._jobs[job.name] = job
            self._tracks.setdefault(job.name, _Track(JobNow(job.name)))
        self._scheduler.add_job(
            self._run,
            job.trigger,
            args=(job,),
            id=job.name,
            next_run_time=self._clock.now() + first_in,
            replace_existing=True,
        )

    def _run(self, job: _Job) -> None:
        track = self._tracks[job.name]
        known = track.seen.error
        with self._lock:
            track.begin(self._clock)
        error: str | None = None
        try:
            job.work()
        except GuardianError as failure:
            error = str(failure)
            if error != known:
                _log.warning("%s: %s", job.name, error)
        except Exception as failure:  # noqa: BLE001 - it must hurt no other job
            error = type(failure).__name__
            self._crashed(job.name, failure)
        else:
            self._went_well(job.name)
        finally:
            with self._lock:
                track.end(self._clock, error)

    def _beat(self) -> None:
        self._pulse_at = self._clock.monotonic()

    def _running(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(n for n, track in self._tracks.items() if track.began is not None)

    def _heard(self, event: JobExecutionEvent | JobSubmissionEvent) -> None:
        """What APScheduler tells. An error or a miss would be a fault of this room itself."""
        if event.code == EVENT_JOB_MAX_INSTANCES:
            with self._lock:
                track = self._tracks[event.job_id]
                track.seen = replace(track.seen, skipped=track.seen.skipped + 1)
            return
        error = getattr(event, "exception", None)
        self._crashed(event.job_id, error or RuntimeError("the scheduler missed a run"))


@dataclass(frozen=True, slots=True)
class _Job:
    """One job. ``replan`` says when it is to run next, when the wall clock has jumped."""

    name: str
    work: Work
    allowance: timedelta
    trigger: BaseTrigger
    replan: Callable[[datetime], datetime]


@dataclass(slots=True)
class _Track:
    """What is known of a job's runs; it outlives the job's replacement by another of that name.

    ``began`` is the monotonic time at which the run that is under way did.
    """

    seen: JobNow
    began: float | None = None

    def begin(self, clock: Clock) -> None:
        now = clock.now()
        self.began = clock.monotonic()
        self.seen = replace(self.seen, running_since=now, last_started_at=now)

    def end(self, clock: Clock, error: str | None) -> None:
        self.began = None
        self.seen = replace(
            self.seen,
            running_since=None,
            last_ended_at=clock.now(),
            runs=self.seen.runs + 1,
            failures=0 if error is None else self.seen.failures + 1,
            error=error,
        )

    def at(self, instant: float, next_at: datetime | None, allowance: timedelta) -> JobNow:
        stuck = self.began is not None and instant - self.began > allowance.total_seconds()
        return replace(self.seen, next_at=next_at, stuck=stuck)


class _Every(BaseTrigger):  # type: ignore[misc]
    """So often, counted from the last time; after a pause once, and not for each that was missed.

    APScheduler's own trigger would go through every missed instant, one by one.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """On the grid that ``previous`` began."""
        if previous is None:
            return now
        missed = (now - previous) // self._interval
        return previous + (max(missed, 0) + 1) * self._interval


class _ByTimetable(BaseTrigger):  # type: ignore[misc]
    """By a timetable. It must not raise: that would end the scheduler's thread."""

    def __init__(self, table: Timetable, failed: Callable[[BaseException], object]) -> None:
        self._table = table
        self._failed = failed
        self.last_fired: datetime | None = None

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """After ``previous`` or, where that was long ago, after now: what was missed is one."""
        if previous is None:
            return now
        self.last_fired = max(previous, now)
        try:
            return self._table.following(max(previous, now))
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error)
            return now + _RETRY


class _Executor(BasePoolExecutor):  # type: ignore[misc]
    """Threads as they are needed, so that a job that hangs keeps none from another."""

    def __init__(self) -> None:
        super().__init__(Pool(_MOST_THREADS, thread_name_prefix="job"))
