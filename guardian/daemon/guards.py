"""The eyes on what is guarded: for each server its watch, its probe and its vitals; other probes.

Each method is one round, for a job to call; rounds of different kinds run beside each other. What
they see goes into the daemon's state, what is to be remembered into the catalog. A server that does
not answer is what they are here to see: it is noted, and no error of the job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from guardian.adapters.postgres.probe import ConnectionProbe
from guardian.adapters.postgres.vitals import read_database_vitals, read_server_vitals
from guardian.config.watching import HttpProbeConfig, OutageConfig, ProbeConfig
from guardian.daemon.alerting import Alerting
from guardian.daemon.app import App
from guardian.daemon.state import State
from guardian.daemon.vital_signs import backup_readings, file_systems
from guardian.errors import CatalogError, GuardianError
from guardian.model import Event
from guardian.watch.outage import Change, ChangeKind, Outage, OutageRules, ProbeResult, observe
from guardian.watch.readings import (
    BACKUP_VITALS,
    DATABASE_VITALS,
    SERVER_VITALS,
    Reading,
    Unknown,
)
from guardian.watch.trend import TrendLog
from guardian.watch.vitals import assess

_log = logging.getLogger(__name__)

SLOW_VITALS_EVERY = timedelta(minutes=10)
"""What changes slowly, and asks every database: sequences, indexes."""
_CLOSING_SECONDS = 10.0
_WORDS = {
    ChangeKind.SUSPECTED: "does not answer",
    ChangeKind.CLEARED: "answers again",
    ChangeKind.WENT_DOWN: "is down",
    ChangeKind.CAUSE_CHANGED: "is still down",
    ChangeKind.CAME_UP: "is up again",
}


class ProbeGuard:
    """One thing that is probed: a server, a web address. For one thread at a time."""

    def __init__(
        self,
        thing: str,
        probe: Callable[[], ProbeResult],
        rules: OutageRules,
        outage: Outage,
        note: Callable[[Outage], object],
    ) -> None:
        self._thing = thing
        self._probe = probe
        self._rules = rules
        self._outage = outage
        self._note = note

    def round(self) -> Change | None:
        """Probe once; what that changed, for people."""
        self._outage, change = observe(self._outage, self._probe(), self._rules)
        self._note(self._outage)
        if change is not None:
            good = change.kind in {ChangeKind.CLEARED, ChangeKind.CAME_UP}
            what = _WORDS[change.kind] if change.since is not None else "answers"
            text = f": {change.text}" if change.text and not good else ""
            level = logging.INFO if good else logging.WARNING
            _log.log(level, "%s %s%s", self._thing, what, text)
        return change


class ServerGuard:
    """One server. The three kinds of rounds may run beside each other, each one at a time."""

    def __init__(self, app: App, name: str, state: State, alerting: Alerting) -> None:
        self._app = app
        self._name = name
        self._state = state
        self._alerting = alerting
        self._patrolling = threading.Lock()
        self._patrol = app.patrol(name)
        self._retired = threading.Event()
        self._trend = TrendLog(app.catalog, name)
        self._slow: tuple[datetime, Sequence[Reading | Unknown]] | None = None
        section = app.server(name).outage
        known = state.memory.servers.get(name)
        self._probe = ProbeGuard(
            f"server {name}",
            ConnectionProbe(app.connector(name), app.clock, timeout=section.timeout).probe,
            outage_rules(section),
            Outage() if known is None else known.outage,
            self._note_outage,
        )

    @property
    def name(self) -> str:
        """Of the server."""
        return self._name

    def retire(self) -> None:
        """Another one takes over: begin no round any more."""
        self._retired.set()

    def probe(self) -> None:
        """Does it let us in and answer?"""
        if self._retired.is_set():
            return
        change = self._probe.round()
        if change is None:
            return
        kind = f"server.{change.kind.value}"
        text = change.text or f"server {self._name} answers"
        event = Event(self._app.clock.now(), kind, text, server=self._name)
        try:
            self._app.catalog.record_event(event)
        except CatalogError as error:  # the alarm above is what matters
            self._state.catalog_failed(self._app.clock.now(), str(error))

    def watch(self) -> None:
        """Look at its sessions, and do what the policies say."""
        with self._patrolling:
            if self._retired.is_set():
                return
            now = self._app.clock.now()
            try:
                report = self._patrol.cycle()
            except CatalogError as error:
                self._state.catalog_failed(now, str(error))
                self._state.server(self._name, watch_error=str(error))
                raise
            except GuardianError as error:
                self._state.server(self._name, watch_error=str(error))
                return
        facts = self._patrol.facts
        shortcomings = () if facts is None else facts.shortcomings
        self._state.server(
            self._name,
            observation=report.observation,
            decisions=report.decisions,
            looked_at=now,
            watch_error=None,
            shortcomings=shortcomings,
        )
        for kill in report.kills:
            self._state.count_kill(self._name, kill.policy, kill.action, kill.outcome)
            _log.warning(
                "server %s: %s of pid %d by policy %r: %s (%s)",
                self._name, kill.action, kill.pid, kill.policy, kill.outcome, kill.reason,
            )  # fmt: skip
        if self._retired.is_set():
            return
        self._alerting.observed(
            self._alerting.sensors.watch(
                self._name,
                report.observation,
                report.decisions,
                shortcomings=shortcomings,
                kills=report.kills,
            )
        )

    def read_vitals(self) -> None:
        """Read its vital signs, and ours that concern it."""
        if self._retired.is_set():
            return
        now = self._app.clock.now()
        readings = [*self._ask(now), *self._backups()]
        readings += [one.reading for one in file_systems(self._app, self._name)]
        vitals = assess(readings, dict(self._app.server(self._name).vitals))
        self._state.server(self._name, vitals=vitals, vitals_at=now)
        self._trend.add(vitals, now)
        if not self._retired.is_set():
            self._alerting.observed(self._alerting.sensors.vitals(self._name, vitals))

    def _note_outage(self, outage: Outage) -> None:
        self._state.server(self._name, outage=outage)
        if not self._retired.is_set():
            self._alerting.observed(self._alerting.sensors.outage(self._name, outage))

    def close(self) -> None:
        """Write the recording to its end, hang up. A round that does not end is left behind."""
        self.retire()
        if not self._patrolling.acquire(timeout=_CLOSING_SECONDS):
            _log.warning("server %s: a look at its sessions does not end", self._name)
            return
        try:
            self._trend.flush()
            self._patrol.close()
        except GuardianError as error:
            _log.warning("server %s: the recording was not saved: %s", self._name, error)
        finally:
            self._patrolling.release()

    def _ask(self, now: datetime) -> Sequence[Reading | Unknown]:
        try:
            with self._app.connector(self._name).connect(None, "vitals") as connection:
                readings = list(read_server_vitals(connection))
        except GuardianError as error:
            return [
                Unknown(vital, "the server could not be asked", error.mend)
                for vital in (*SERVER_VITALS, *DATABASE_VITALS)
            ]
        if self._slow is None or now - self._slow[0] >= SLOW_VITALS_EVERY or now < self._slow[0]:
            self._slow = (now, self._ask_databases())
        return [*readings, *self._slow[1]]

    def _ask_databases(self) -> Sequence[Reading | Unknown]:
        try:
            names = self._app.source(self._name).databases()
        except GuardianError as error:
            return [Unknown(vital, error.message, error.mend) for vital in DATABASE_VITALS]
        found: list[Reading | Unknown] = []
        for database in names:
            try:
                with self._app.connector(self._name).connect(database, "vitals") as connection:
                    found += read_database_vitals(connection)
            except GuardianError as error:
                found += [
                    Unknown(vital, error.message, error.mend, database) for vital in DATABASE_VITALS
                ]
        return found

    def _backups(self) -> Sequence[Reading | Unknown]:
        try:
            return backup_readings(self._app, self._name)
        except CatalogError as error:
            return [Unknown(vital, error.message, error.mend) for vital in BACKUP_VITALS]


def outage_rules(section: OutageConfig) -> OutageRules:
    """When a server counts as down, as configured."""
    return OutageRules(failures=section.failures, successes=section.successes)


def other_probe(app: App, section: ProbeConfig, state: State, alerting: Alerting) -> ProbeGuard:
    """The guard of one of the config's probes."""
    # httpx takes a quarter of a second and 6 MB, so who probes nothing does without.
    from guardian.adapters.probing import HttpProbe, TcpProbe  # noqa: PLC0415

    known = state.memory.probes.get(section.name)
    probe: HttpProbe | TcpProbe
    if isinstance(section, HttpProbeConfig):
        probe = HttpProbe(
            section.name,
            section.url,
            app.clock,
            expect_status=section.expect_status,
            expect_json=section.expect_json,
            headers={name: one.get_secret_value() for name, one in section.headers.items()},
            timeout=section.timeout,
        )
    else:
        probe = TcpProbe(section.name, section.address, app.clock, timeout=section.timeout)

    def note(outage: Outage) -> None:
        state.probe(section.name, section.kind, outage)
        alerting.observed(alerting.sensors.probe(section.name, outage))

    return ProbeGuard(
        f"probe {section.name}",
        probe.probe,
        OutageRules(failures=section.failures),
        Outage() if known is None else known.outage,
        note,
    )
