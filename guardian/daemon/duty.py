"""What the active daemon does: all jobs, guards and tasks of one configuration.

A standby has none. Begun when the lease is had, ended when it is lost or the process is to end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

from guardian.config import Config
from guardian.daemon.alerting import Alerting
from guardian.daemon.app import App
from guardian.daemon.channels import make_heartbeat
from guardian.daemon.crew import Crew
from guardian.daemon.guards import ServerGuard, other_probe
from guardian.daemon.jobs import Jobs, Work
from guardian.daemon.monitors import ScheduleMonitors
from guardian.daemon.overview import database_statuses
from guardian.daemon.planner import Planner
from guardian.daemon.pulse import Pulse
from guardian.daemon.state import Snapshot, State, TaskNow
from guardian.daemon.telling import Telling
from guardian.daemon.troubles import troubles
from guardian.daemon.work import Kind, Task, Workload
from guardian.daemon.worker import Assignment, LogSettings, Outcome, Result
from guardian.errors import CatalogError
from guardian.escalate.model import Observation
from guardian.units import counted

_log = logging.getLogger(__name__)

VITALS_EVERY = timedelta(minutes=1)
_DRILLS_EVERY = timedelta(minutes=1)
_OVERVIEW_EVERY = timedelta(minutes=1)
_TIDY_EVERY = timedelta(days=1)
_TIDY_FIRST = timedelta(minutes=10)
_BACKUPS_EVERY = timedelta(minutes=1)
_STORES_EVERY = timedelta(minutes=5)
_DISKS_EVERY = timedelta(minutes=1)
_SELF_EVERY = timedelta(seconds=10)
_TICK_EVERY = timedelta(seconds=5)
_APART = timedelta(milliseconds=400)
_DISPATCH = "dispatch"
_DISPATCH_EVERY = timedelta(seconds=5)
"""For what is to be tried again; what is new is sent at once."""
_DISPATCH_ALLOWANCE = timedelta(minutes=5)
"""Many channels may be slow at once."""
_LOOK_ALLOWANCE = timedelta(minutes=5)
"""A round of the watch waits for the ends of those that it hit."""
_VITALS_ALLOWANCE = timedelta(minutes=15)
"""Hundreds of databases are asked one after the other."""
_LATE = timedelta(minutes=30)
"""How long beyond its own timeout a task may take before its process is ended."""


def scopes_of(config: Config) -> frozenset[str]:
    """Every scope that the daemon observes: the sensors' (guardian.daemon.sensors) and channels."""
    scopes = {"stores", "disks", "guardian"}
    if config.escalation.channels:
        scopes.add("channels")
    for name in config.servers:
        scopes |= {f"{kind}:{name}" for kind in ("outage", "watch", "vitals", "backups")}
    scopes |= {f"probe:{one.name}" for one in config.probes}
    return frozenset(scopes)


class Duty:
    """All that runs. ``begin`` once, ``reload`` at will, ``stop`` once, all from one thread."""

    def __init__(
        self,
        app: App,
        jobs: Jobs,
        state: State,
        tell: Telling,
        log: LogSettings,
        snapshot: Callable[[], Snapshot],
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._state = state
        self._tell = tell
        self._log = log
        self._snapshot = snapshot
        self.alerting = Alerting(app, state, tell.crash, lambda: jobs.run_now(_DISPATCH))
        self._monitors = ScheduleMonitors(app.config, app.clock)
        self._pulses: list[Pulse] = []
        self._workload = Workload()
        self._crew = Crew(
            self._workload, app.clock, assign=self._assign, ended=self._ended, crashed=tell.crash
        )
        self._planner = Planner(app, jobs, self._crew)
        self._guards: list[ServerGuard] = []
        self._own: set[str] = set()

    def begin(self) -> None:
        """Begin everything; first of all, settle what an earlier life left unfinished.

        Raises:
            CatalogError: the catalog cannot be used; nothing runs then.
        """
        try:
            self._plan(self._app)
        except CatalogError:
            self.stop()
            raise
        self._crew.offer(Task(Kind.RECOVER))

    def reload(self, app: App, log: LogSettings) -> None:
        """Go on under another configuration. What runs goes on as it was begun.

        Raises:
            CatalogError: it cannot be used, half is planned anew; there is only :meth:`stop` now.
        """
        self._log = log
        before, names = self._guards, self._own | self._planner.names
        for guard in before:
            guard.retire()
        self.alerting.reconfigure(app)
        self._monitors.close()
        self._monitors = ScheduleMonitors(app.config, app.clock)
        try:
            self._plan(app)
        except CatalogError:
            self._own |= names  # they are still there
            raise
        finally:
            for guard in before:
                guard.close()

    def stop(self) -> None:
        """Begin nothing any more, let workers undo what they began; see :meth:`wait`."""
        for name in self._own | self._planner.names:
            self._jobs.remove(name)
        count = self._crew.stop()
        if count:
            _log.info("%s running: to be cancelled", counted(count, "task"))

    def wait(self, seconds: float) -> bool:
        """Until the last worker has ended, for so long at most; whether that is so."""
        return self._crew.wait(seconds)

    def kill(self) -> None:
        """End the workers at once; the next start settles what they leave."""
        self._crew.kill()

    def close(self) -> None:
        """Write recordings to their end and hang up."""
        with ExitStack() as stack:
            stack.callback(self._monitors.close)
            stack.callback(self.alerting.close)
            for pulse in self._pulses:
                stack.callback(pulse.close)
            for guard in self._guards:
                stack.callback(guard.close)

    def offer(self, task: Task) -> bool:
        """Put a task in the queue, for a person; False when the same is at hand already."""
        return self._crew.offer(task)

    def tasks(self) -> Sequence[TaskNow]:
        """What runs and what waits."""
        return self._crew.now()

    # --- planning ---

    def _plan(self, app: App) -> None:
        """Jobs as this configuration has them, in the place of those that were."""
        config = app.config
        guards = [ServerGuard(app, name, self._state, self.alerting) for name in config.servers]
        probes = [other_probe(app, one, self._state, self.alerting) for one in config.probes]
        before = self._own | self._planner.names
        self._app, self._guards, self._own = app, guards, set()
        owes = self._planner.owes_recovery
        self._planner = Planner(app, self._jobs, self._crew, owes_recovery=owes)
        self._planner.begin()
        self._workload.resize(
            config.service.tasks_at_once,
            {name: server.backup.at_once for name, server in config.servers.items()},
        )
        self._workload.withdraw(frozenset(config.servers))
        self._state.keep_only(config.servers, [one.name for one in config.probes])
        self._plan_servers(guards)
        for probe, section in zip(probes, config.probes, strict=True):
            self._every(f"probe of {section.name}", section.interval, probe.round)
        self._every("drills", _DRILLS_EVERY, self._planner.catch_up, first_in=2 * _APART)
        self._every("overview", _OVERVIEW_EVERY, self.look_over)
        self._every("tidy", _TIDY_EVERY, self._tidy, first_in=_TIDY_FIRST)
        self._plan_alarms()
        self._plan_heartbeats()
        for name in before - self._own - self._planner.names:
            self._jobs.remove(name)
        self._crew.begin()

    def _plan_servers(self, guards: Sequence[ServerGuard]) -> None:
        for place, guard in enumerate(guards):
            name, section = guard.name, self._app.server(guard.name)
            share = place / len(guards)  # not all at the same instant
            every = section.outage.interval
            self._every(f"probe:{name}", every, guard.probe, first_in=share * every)
            every = section.watch.interval
            self._every(
                f"watch:{name}",
                every,
                guard.watch,
                first_in=share * every,
                allowance=_LOOK_ALLOWANCE,
            )
            self._every(
                f"vitals:{name}",
                VITALS_EVERY,
                guard.read_vitals,
                first_in=_APART + share * VITALS_EVERY / 4,
                allowance=_VITALS_ALLOWANCE,
            )

    def _plan_alarms(self) -> None:
        sensors = self.alerting.sensors
        for name in self._app.config.servers:
            self._sense(f"backups:{name}", _BACKUPS_EVERY, partial(sensors.backups, name))
        # One after the other at first: threads that are made for a moment stay for ever.
        self._sense("stores", _STORES_EVERY, sensors.stores)
        self._sense("disks", _DISKS_EVERY, sensors.disks)
        self._sense("guardian", _SELF_EVERY, lambda: sensors.guardian(troubles(self._snapshot())))
        self._every("alarms", _TICK_EVERY, self._tick)
        if self._app.config.escalation.channels:
            self._every(
                _DISPATCH, _DISPATCH_EVERY, self.alerting.deliver, allowance=_DISPATCH_ALLOWANCE
            )
        self._end_unwatched()

    def _end_unwatched(self) -> None:
        self.alerting.end_unwatched(scopes_of(self._app.config))

    def _plan_heartbeats(self) -> None:
        before, self._pulses = self._pulses, []
        for number, section in enumerate(self._app.config.heartbeat, start=1):
            name = f"heartbeat {number}"
            pulse = Pulse(make_heartbeat(name, section), self._state, self._snapshot)
            self._pulses.append(pulse)
            self._every(name, section.every, pulse.round)
        for one in before:
            one.close()

    def _sense(self, scope: str, interval: timedelta, look: Callable[[], Observation]) -> None:
        apart = _APART * (1 + sum(name.startswith("sense:") for name in self._own))
        self._every(
            f"sense:{scope}",
            interval,
            lambda: self.alerting.observed(look()),
            first_in=min(apart, interval),
        )

    def _tick(self) -> None:
        self.alerting.tick()
        self.alerting.refresh()

    def _every(
        self,
        name: str,
        interval: timedelta,
        work: Work,
        *,
        first_in: timedelta = timedelta(0),
        allowance: timedelta | None = None,
    ) -> None:
        self._own.add(name)
        self._jobs.every(name, interval, work, first_in=first_in, allowance=allowance)

    def _tidy(self) -> None:
        self._crew.offer(Task(Kind.PRUNE))
        self._end_unwatched()  # what could not be ended while the catalog was away

    # --- tasks ---

    def _assign(self, task: Task) -> tuple[Assignment, timedelta | None]:
        if task.kind is Kind.BACKUP and task.server is not None:
            self._monitors.began(task.server)
        return Assignment(task, self._app.config, self._log), self._limit(task)

    def _limit(self, task: Task) -> timedelta | None:
        """A task has a timeout of its own; where it does not keep to that, its process is ended."""
        section = None if task.server is None else self._app.config.servers.get(task.server)
        if section is None:
            return None
        if task.kind is Kind.BACKUP:
            own, tries = section.backup.timeout, section.backup.attempts
            return None if own is None else own * tries + _LATE
        if task.kind is Kind.DRILL:
            return None if section.verify.timeout is None else section.verify.timeout + _LATE
        return None

    def _ended(self, outcome: Outcome) -> None:
        """A task has ended, on its worker's thread."""
        task = outcome.task
        self._state.count_task(task.kind, task.ref, outcome.result)
        if task.ref is not None and outcome.proof is not None:
            self._state.drilled(task.ref, outcome.proof)
        text = f"{task}: {outcome.result}" + (f": {outcome.message}" if outcome.message else "")
        good = outcome.result in {Result.DONE, "succeeded", "proven"}
        _log.log(logging.INFO if good else logging.WARNING, "%s", text)
        if outcome.result == Result.CRASHED:
            self._tell.died(str(task), outcome.message, task.ref)
        else:
            self._state.went_well(str(task))
        if task.kind is Kind.BACKUP and task.server is not None:
            more = any(
                one.task.kind is Kind.BACKUP and one.task.server == task.server
                for one in self._workload.waiting
            )
            self._monitors.ended(task.server, ok=good, more=more)
        self._follow_up(outcome)
        if task.kind is Kind.PRUNE:
            self._jobs.run_now("sense:stores")
        self._jobs.run_now("overview")
        if task.server is not None:
            self._jobs.run_now(f"sense:backups:{task.server}")
            self._jobs.run_now("sense:stores")

    def _follow_up(self, outcome: Outcome) -> None:
        """Offer what follows from a task's end; without the catalog, the next round does it."""
        try:
            self._planner.ended(outcome)
        except CatalogError as error:
            _log.warning("%s: what follows has to wait: %s", outcome.task, error)
            self._state.catalog_failed(self._app.clock.now(), str(error))
        if outcome.result == Result.CRASHED and outcome.task.kind is not Kind.RECOVER:
            self._crew.offer(Task(Kind.RECOVER))

    def look_over(self) -> None:
        """Read from the catalog how each database stands."""
        self._state.change(databases=tuple(database_statuses(self._app)))
