"""What the pages read, made of the running daemon: implements guardian.web.ports.

Nothing here asks a server or waits: it is the daemon's snapshot, put into the pages' words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from guardian import __version__
from guardian.daemon.app import App
from guardian.daemon.doctor import examine
from guardian.daemon.health import Health
from guardian.daemon.metrics import Metrics
from guardian.daemon.overview import DatabaseStatus
from guardian.daemon.state import Snapshot, TaskNow
from guardian.daemon.work import Kind
from guardian.escalate.engine import Escalator
from guardian.escalate.model import IncidentId
from guardian.watch.audit import KillRecord
from guardian.watch.model import Action, Mode, Observation
from guardian.watch.outage import Availability
from guardian.web import ports

_RUNS = ("backup", "drill")
_DOING = {
    Kind.BACKUP: "backing up",
    Kind.DRILL: "being drilled",
    Kind.PRUNE: "being pruned",
    Kind.RECOVER: "being settled",
}


class Live(Protocol):
    """The running daemon. All of it may be called from any thread."""

    @property
    def app(self) -> App:
        """Configuration and catalog as of now."""

    def snapshot(self) -> Snapshot:
        """What is known at this moment."""

    def health(self) -> Health:
        """Whether the daemon itself is well."""

    def escalator(self) -> Escalator:
        """What keeps incidents; a standby has one for people's words alone."""

    def urge(self) -> None:
        """There are messages to deliver."""

    def count_kill(self, kill: KillRecord) -> None:
        """A person has ended a session."""


def make_sources(
    live: Live,
    crashed: Callable[[str, BaseException], object],
    went_well: Callable[[str], object],
) -> ports.Sources:
    """All that the pages read. The catalog stays the same for as long as the daemon runs."""
    app = live.app
    return ports.Sources(
        clock=app.clock,
        catalog=app.catalog,
        schedules=_Schedules(live),
        watch=_Watch(live),
        health=_Health(live),
        metrics=Metrics(live.snapshot),
        desk=_Desk(live),
        hand=_Hand(live),
        doctor=_Doctor(live, crashed, went_well),
        version=__version__,
        query_text=app.config.escalation.query_text,
        heading=app.config.service.heading or "",
    )


class _Schedules:
    def __init__(self, live: Live) -> None:
        self._live = live

    def plans(self) -> Sequence[ports.DatabasePlan]:
        snapshot = self._live.snapshot()
        found = snapshot.memory.databases
        return [self._plan(one, snapshot) for one in found if one.configured]

    def next_runs(self, limit: int) -> Sequence[ports.NextRun]:
        return sorted(self._runs(), key=lambda one: one.at)[:limit]

    def _plan(self, status: DatabaseStatus, snapshot: Snapshot) -> ports.DatabasePlan:
        ref = status.ref
        section = self._live.app.config.servers.get(ref.server)
        planned = {one.name: one.next_at for one in snapshot.jobs}
        return ports.DatabasePlan(
            ref=ref,
            schedule=None if section is None else section.backup.schedule,
            timezone="UTC" if section is None else section.backup.timezone,
            next_backup_at=planned.get(f"backup:{ref}") or status.next_at,
            overdue=status.overdue,
            running=next((_doing(one) for one in snapshot.tasks if one.task.ref == ref), None),
        )

    def _runs(self) -> Iterator[ports.NextRun]:
        for job in self._live.snapshot().jobs:
            kind, _, subject = job.name.partition(":")
            if kind in _RUNS and job.next_at is not None:
                yield ports.NextRun(job.next_at, kind, subject)


class _Watch:
    def __init__(self, live: Live) -> None:
        self._live = live

    def servers(self) -> Sequence[ports.ServerNow]:
        known = self._live.snapshot().memory.servers
        found = []
        for name, section in self._live.app.config.servers.items():
            server = known.get(name)
            mode = Mode(section.watch.mode)
            if server is None:
                found.append(ports.ServerNow(name, Availability.UNKNOWN, mode=mode))
                continue
            outage = server.outage
            failed = outage.last_failure if outage.failures or outage.down_since else None
            found.append(
                ports.ServerNow(
                    name,
                    outage.availability,
                    since=outage.down_since or outage.since,
                    checked_at=None if outage.last is None else outage.last.at,
                    latency_seconds=outage.latency_seconds,
                    detail="" if failed is None else failed.text,
                    mode=mode,
                )
            )
        return found

    def look(self, server: str) -> ports.Look | None:
        now = self._live.snapshot().memory.servers.get(server)
        if now is None or now.looked_at is None or now.observation is None:
            return None
        if now.decisions is None:
            return None
        return ports.Look(
            now.looked_at, now.observation, now.decisions, now.shortcomings, now.watch_error
        )

    def vitals(self, server: str) -> ports.VitalsNow | None:
        now = self._live.snapshot().memory.servers.get(server)
        section = self._live.app.config.servers.get(server)
        if now is None or now.vitals_at is None or section is None:
            return None
        return ports.VitalsNow(now.vitals_at, now.vitals, dict(section.vitals))


class _Health:
    def __init__(self, live: Live) -> None:
        self._live = live

    def reasons(self) -> Sequence[str]:
        return self._live.health().reasons

    def components(self) -> Sequence[ports.Component]:
        return [
            ports.Component(one.name, ports.ComponentStatus(one.status.value), one.age, one.detail)
            for one in self._live.health().components
        ]


class _Desk:
    def __init__(self, live: Live) -> None:
        self._live = live

    def acknowledge(self, incident: IncidentId, by: str, note: str = "") -> None:
        escalator = self._live.escalator()
        escalator.acknowledge(incident, by)
        self._finish(escalator, incident, by, note)

    def resolve(self, incident: IncidentId, by: str, note: str = "") -> None:
        escalator = self._live.escalator()
        escalator.resolve(incident, by)
        self._finish(escalator, incident, by, note)

    def _finish(self, escalator: Escalator, incident: IncidentId, by: str, note: str) -> None:
        if note:
            escalator.note(incident, note, by)
        self._live.urge()


class _Hand:
    def __init__(self, live: Live) -> None:
        self._live = live

    def kill(
        self, server: str, pid: int, action: Action, *, seen: Observation, by: str
    ) -> KillRecord:
        # A patrol of its own: the daemon's is for one thread, and at its round.
        with closing(self._live.app.patrol(server)) as patrol:
            done = patrol.kill(pid, action, by=by, seen=seen)
        self._live.count_kill(done)
        return done


class _Doctor:
    """Examines in a thread, one at a time; the last report is kept."""

    def __init__(
        self,
        live: Live,
        crashed: Callable[[str, BaseException], object],
        went_well: Callable[[str], object],
    ) -> None:
        self._live = live
        self._crashed = crashed
        self._went_well = went_well
        self._lock = threading.Lock()
        self._running = False
        self._report: ports.DoctorReport | None = None

    def report(self) -> ports.DoctorReport | None:
        return self._report

    @property
    def is_running(self) -> bool:
        return self._running

    def start(self) -> None:
        with self._lock:
            if self._running:
                return
            self._running = True
        thread = threading.Thread(target=self._examine, name="doctor", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the host has none to give; another try may get one
            self._running = False
            self._crashed("doctor", error)

    def _examine(self) -> None:
        live = self._live.app
        try:
            # Of its own, so that nothing it opens stays: gpg, a store's connections.
            with App(live.config, clock=live.clock, catalog=live.catalog) as app:
                checks = [
                    ports.DoctorCheck(
                        one.name, ports.CheckVerdict(one.verdict.value), one.found, one.mend
                    )
                    for one in examine(app)
                ]
            self._report = ports.DoctorReport(live.clock.now(), checks)
            self._went_well("doctor")
        except Exception as error:  # noqa: BLE001 - told, and the page says nothing new
            self._crashed("doctor", error)
        finally:
            self._running = False


def _doing(one: TaskNow) -> str:
    if one.started_at is None:
        return f"waits for its {one.task.kind}"
    return f"{_DOING[one.task.kind]} since {one.started_at:%H:%M} UTC"
