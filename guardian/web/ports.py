"""What the pages read from, and the few things that they can do.

The daemon implements these and hands them over as :class:`Sources`; so the web knows neither the
daemon nor the configuration. All methods may be called from several threads at once. None of them
waits for a guarded server: what they give was seen by the daemon's own rounds. They raise
GuardianError when something cannot be told, and the page says so in its place.

No record in here holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from guardian.backup.history import BackupHistory
from guardian.escalate.model import (
    ChannelHealth,
    Entry,
    Envelope,
    Incident,
    IncidentId,
    Silence,
)
from guardian.model import BackupId, BackupRecord, DatabaseRef, Manifest, ProofRecord
from guardian.ports import Clock
from guardian.watch.audit import KillRecord
from guardian.watch.model import Action, Mode, Observation
from guardian.watch.outage import Availability
from guardian.watch.policy import Decisions
from guardian.watch.trend import VitalsTrend
from guardian.watch.vitals import Bounds, Finding

# --- what is scheduled ---


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """One database that the configuration guards, as far as it is known without asking anybody.

    ``schedule`` and ``timezone`` are the backup's, as configured; the schedule is None where it is
    backed up by hand only. ``overdue``: the backup that should have been there by now is not.
    ``running`` names what is done with it just now ("backing up since 02:00"), else None.
    """

    ref: DatabaseRef
    schedule: str | None
    timezone: str
    next_backup_at: datetime | None = None
    overdue: bool = False
    running: str | None = None


@dataclass(frozen=True, slots=True)
class NextRun:
    """Something that the daemon will do. ``what`` and ``subject``: ``backup`` of ``main/mina``."""

    at: datetime
    what: str
    subject: str


class Schedules(Protocol):
    """What is configured, and what comes next."""

    def plans(self) -> Sequence[DatabasePlan]:
        """Every configured database, also those that ``"*"`` has found."""

    def next_runs(self, limit: int) -> Sequence[NextRun]:
        """What comes next, the soonest first; leave out what runs every few seconds."""


# --- what is seen of the servers ---


@dataclass(frozen=True, slots=True)
class ServerNow:
    """One configured server, as the probe knows it.

    ``since`` is since when it is so, ``checked_at`` the last probe's instant. ``detail`` is one
    line: why it is down, or its version. ``mode`` is the watch's.
    """

    name: str
    availability: Availability
    since: datetime | None = None
    checked_at: datetime | None = None
    latency_seconds: float | None = None
    detail: str = ""
    mode: Mode = Mode.OBSERVE


@dataclass(frozen=True, slots=True)
class Look:
    """The last look at a server's sessions, by guardian's own clock ``at``.

    ``problems`` are lines for people: what our role may not see, what could not be recorded.
    ``error`` says why the latest try failed, should this look be older than that.
    """

    at: datetime
    observation: Observation
    decisions: Decisions
    problems: Sequence[str] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class VitalsNow:
    """The last round of a server's vitals, its databases', backups' and disks' among them."""

    at: datetime
    findings: Sequence[Finding]
    bounds: Bounds


class WatchState(Protocol):
    """The last that the watch, the probe and the vitals saw."""

    def servers(self) -> Sequence[ServerNow]:
        """Every configured server, in the order of the configuration."""

    def look(self, server: str) -> Look | None:
        """None before the first look, or for an unknown server."""

    def vitals(self, server: str) -> VitalsNow | None:
        """None before the first round, or for an unknown server."""


# --- doctor ---


class CheckVerdict(StrEnum):
    """How one of the doctor's checks came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One line of the doctor's report; ``mend`` says what to do where it falls short."""

    name: str
    verdict: CheckVerdict
    found: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """A whole examination, which ended at ``at``."""

    at: datetime
    checks: Sequence[DoctorCheck]


class Doctor(Protocol):
    """Examinations take a while, so they are made in the background."""

    def report(self) -> DoctorReport | None:
        """The last one that ended, None when there was none."""

    @property
    def is_running(self) -> bool:
        """Whether one is being made."""

    def start(self) -> None:
        """Begin one, and return at once; nothing happens while another is being made."""


# --- health and metrics ---


class ComponentStatus(StrEnum):
    """How one part of guardian, or a thing that it guards, does."""

    OK = "ok"
    IMPAIRED = "impaired"
    """Something in it does not work; the rest does."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Component:
    """One part for ``/health/detailed``; ``age`` is that of what is known, in seconds."""

    name: str
    status: ComponentStatus
    age: float | None = None
    detail: str = ""


class Health(Protocol):
    """Whether guardian itself does its work. A guarded server that is down does not make it ill."""

    def reasons(self) -> Sequence[str]:
        """Why it is unhealthy, a line each; none when it is healthy. Quick, and never raises."""

    def components(self) -> Sequence[Component]:
        """Each part, guarded servers and probes too. Never raises."""


class Metrics(Protocol):
    """Prometheus' numbers."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition that suits the request's Accept header, and its content type."""


# --- what can be done ---


class Desk(Protocol):
    """What a person can do about an incident. ``by`` is their name, kept in its timeline."""

    def acknowledge(self, incident: IncidentId, by: str, note: str = "") -> None:
        """They have it. Raises NotFoundError; UsageError where it is resolved already."""

    def resolve(self, incident: IncidentId, by: str, note: str = "") -> None:
        """It is over, whatever the sensors say; one that still holds comes back. Raises as above.

        The messages that belong to it are on their way when this returns, or soon after.
        """


class Hand(Protocol):
    """What ends sessions."""

    def kill(
        self, server: str, pid: int, action: Action, *, seen: Observation, by: str
    ) -> KillRecord:
        """One kill by hand, as ``Patrol.kill``: audited, and nobody but who was ``seen`` is hit."""


# --- the catalog ---


class PageCatalog(BackupHistory, VitalsTrend, Protocol):
    """What pages read of the catalog. All methods raise CatalogError.

    They are those of guardian.ports.Catalog, guardian.watch.ports.WatchCatalog and
    guardian.escalate.ports.EscalationCatalog, where each says what it gives.
    """

    def backup(self, backup: BackupId) -> BackupRecord | None: ...

    def manifest(self, backup: BackupId) -> Manifest | None: ...

    def proofs(self, backup: BackupId) -> Sequence[ProofRecord]: ...

    def kills(
        self, server: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> Sequence[KillRecord]: ...

    def open_incidents(self) -> Sequence[Incident]: ...

    def incidents(
        self, *, only_open: bool = False, since: datetime | None = None, limit: int | None = None
    ) -> Sequence[Incident]: ...

    def find_incidents(self, id_prefix: str) -> Sequence[Incident]: ...

    def timeline(self, incident: IncidentId) -> Sequence[Entry]: ...

    def envelopes(self, incident: IncidentId) -> Sequence[Envelope]: ...

    def channel_health(self) -> Sequence[ChannelHealth]: ...

    def silences(self, now: datetime | None = None) -> Sequence[Silence]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the web reads from. What is None is left out: no page offers it.

    ``version`` is guardian's. ``query_text``: whether texts of queries may be shown.
    ``heading`` names this guardian among several ("production"), for the pages' titles.
    """

    clock: Clock
    catalog: PageCatalog
    schedules: Schedules
    watch: WatchState
    health: Health
    metrics: Metrics
    desk: Desk | None = None
    hand: Hand | None = None
    doctor: Doctor | None = None
    version: str = ""
    heading: str = ""
    query_text: bool = True
    stale_after: timedelta = timedelta(minutes=2)
    """A look or a round of vitals that is older than this is shown as stale."""
