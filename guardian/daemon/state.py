"""What the daemon knows at this moment, for those who show it: health, metrics, the dashboard.

The jobs write into one :class:`State`, from many threads; readers take a :class:`Snapshot`, which
never changes. Nothing in here is remembered beyond the process: what must outlive it is in the
catalog. Nothing holds a secret; texts of queries have passed the watch's redaction.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from guardian.daemon.overview import DatabaseStatus
from guardian.daemon.work import Task
from guardian.escalate.model import Incident
from guardian.model import DatabaseRef, ProofRecord
from guardian.watch.model import Observation
from guardian.watch.outage import Outage
from guardian.watch.policy import Decisions
from guardian.watch.vitals import Finding


class Role(StrEnum):
    """What this process is among those that share its catalog."""

    STARTING = "starting"
    ACTIVE = "active"
    STANDBY = "standby"
    """Another one is active; this one waits for its lease to lapse."""
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ServerNow:
    """One server, as it was last seen.

    ``looked_at`` is our own time of the latest look at its sessions, ``observation`` and
    ``decisions`` are that look (its times are the server's), kept when a later look fails:
    ``watch_error`` is why the latest one did, None when it did not. ``shortcomings`` is what our
    role may not see or do there, each with its GRANT. ``vitals`` are judged, the worst first.
    """

    name: str
    outage: Outage = field(default_factory=Outage)
    observation: Observation | None = None
    decisions: Decisions | None = None
    looked_at: datetime | None = None
    watch_error: str | None = None
    shortcomings: tuple[str, ...] = ()
    vitals: tuple[Finding, ...] = ()
    vitals_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProbeNow:
    """One of the other things that are probed."""

    name: str
    kind: str
    outage: Outage = field(default_factory=Outage)


@dataclass(frozen=True, slots=True)
class JobNow:
    """One job of the scheduler: how it does, and when it runs next.

    ``allowance`` is how many seconds one run may take before it counts as stuck. ``error`` is that
    of the latest run, None when it went well; ``failures`` counts those in a row.
    """

    name: str
    next_at: datetime | None = None
    running_since: datetime | None = None
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    runs: int = 0
    failures: int = 0
    skipped: int = 0
    """Times that it was due while it still ran."""
    error: str | None = None
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class TaskNow:
    """A backup, drill or prune that runs or waits for its turn.

    ``label`` is what it does right now, ``done_bytes`` of ``total_bytes`` of that. ``heard_at`` is
    when its process last said something. ``started_at`` is None while it waits.
    """

    task: Task
    offered_at: datetime
    started_at: datetime | None = None
    label: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    heard_at: datetime | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class CatalogNow:
    """Whether guardian's own memory can be written: ``error`` is why not, since ``failing_since``.

    ``written_at`` is when something last went in.
    """

    written_at: datetime | None = None
    failing_since: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelNow:
    """One way to reach people: since when it has failed, None when it does not."""

    name: str
    failing_since: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigNow:
    """Where the configuration came from, and what is wrong with the file by now, if anything."""

    path: str
    loaded_at: datetime
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class CrashNow:
    """Unexpected errors of one job or task: how many since the start, and the latest.

    ``over``: it has run and gone well since.
    """

    count: int
    at: datetime
    text: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What the jobs have found, as of its last change; a part of every :class:`Snapshot`.

    ``databases`` is how each one stands by the catalog, read at most a minute ago and after each
    task. ``drills`` holds the latest drill of each database that this process knows of.
    ``holder`` names the active process while this one is standby. The counters begin with the
    process: ``kills`` by (server, policy, action, outcome), ``tasks_done`` by (kind, server,
    database, what came of it), ``crashes`` (unexpected errors) by job or task.
    """

    role: Role
    run_id: str
    version: str
    started_at: datetime
    config: ConfigNow
    holder: str | None = None
    dashboard_problem: str | None = None
    """Why nobody is served at ``service.listen``."""
    catalog: CatalogNow = field(default_factory=CatalogNow)
    servers: Mapping[str, ServerNow] = field(default_factory=dict)
    probes: Mapping[str, ProbeNow] = field(default_factory=dict)
    channels: tuple[ChannelNow, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Channels of the configuration that cannot even be made here, and why."""
    databases: tuple[DatabaseStatus, ...] = ()
    drills: Mapping[DatabaseRef, ProofRecord] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    outstanding: int = 0
    """Messages that wait to be delivered."""
    heartbeats: Mapping[str, datetime] = field(default_factory=dict)
    """When each dead man's switch last heard from us."""
    kills: Mapping[tuple[str, str, str, str], int] = field(default_factory=dict)
    tasks_done: Mapping[tuple[str, str, str, str], int] = field(default_factory=dict)
    crashes: Mapping[str, CrashNow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at one instant.

    ``pulse_age`` is how many seconds ago the scheduler last did something; None before it runs.
    """

    at: datetime
    memory: Memory
    pulse_age: float | None = None
    jobs: tuple[JobNow, ...] = ()
    tasks: tuple[TaskNow, ...] = ()


class State:
    """Where the jobs write to. Every method may be called from any thread."""

    def __init__(self, memory: Memory) -> None:
        self._lock = threading.Lock()
        self._memory = memory
        self._guarded: frozenset[str] | None = None
        self._probed: frozenset[str] | None = None

    @property
    def memory(self) -> Memory:
        """As of now; it does not change any more."""
        with self._lock:
            return self._memory

    def change(self, **fields: Any) -> None:
        """Put new values in the place of old ones."""
        with self._lock:
            self._memory = replace(self._memory, **fields)

    def server(self, name: str, **fields: Any) -> None:
        """What was seen of one server; the rest of it stays. Of one that has left, nothing."""
        with self._lock:
            if self._guarded is not None and name not in self._guarded:
                return
            servers = dict(self._memory.servers)
            servers[name] = replace(servers.get(name) or ServerNow(name), **fields)
            self._memory = replace(self._memory, servers=servers)

    def probe(self, name: str, kind: str, outage: Outage) -> None:
        """What was seen of another probed thing."""
        with self._lock:
            if self._probed is not None and name not in self._probed:
                return
            probes = {**self._memory.probes, name: ProbeNow(name, kind, outage)}
            self._memory = replace(self._memory, probes=probes)

    def keep_only(self, servers: Iterable[str], probes: Iterable[str]) -> None:
        """Forget what has left the configuration, also what a last round may yet say of it."""
        with self._lock:
            guarded, probed = frozenset(servers), frozenset(probes)
            self._guarded, self._probed = guarded, probed
            self._memory = replace(
                self._memory,
                servers={n: one for n, one in self._memory.servers.items() if n in guarded},
                probes={n: one for n, one in self._memory.probes.items() if n in probed},
            )

    def drilled(self, ref: DatabaseRef, proof: ProofRecord) -> None:
        """A drill of this database has ended."""
        with self._lock:
            drills = {**self._memory.drills, ref: proof}
            self._memory = replace(self._memory, drills=drills)

    def heard(self, heartbeat: str, at: datetime) -> None:
        """A dead man's switch took our sign of life."""
        with self._lock:
            heartbeats = {**self._memory.heartbeats, heartbeat: at}
            self._memory = replace(self._memory, heartbeats=heartbeats)

    def count_kill(self, server: str, policy: str | None, action: str, outcome: str) -> None:
        """One more signal, sent or only decided on."""
        self._count("kills", (server, policy or "", action, outcome))

    def count_task(self, kind: str, ref: DatabaseRef | None, result: str) -> None:
        """One more task has ended."""
        server, database = ("", "") if ref is None else (ref.server, ref.database)
        self._count("tasks_done", (kind, server, database, result))

    def crashed(self, name: str, at: datetime, text: str) -> None:
        """One more unexpected error of a job or task; ``text`` holds no secret."""
        with self._lock:
            before = self._memory.crashes.get(name)
            now = CrashNow(1 if before is None else before.count + 1, at, text)
            self._memory = replace(self._memory, crashes={**self._memory.crashes, name: now})

    def went_well(self, name: str) -> None:
        """A job or task has run without an unexpected error."""
        with self._lock:
            before = self._memory.crashes.get(name)
            if before is not None and not before.over:
                crashes = {**self._memory.crashes, name: replace(before, over=True)}
                self._memory = replace(self._memory, crashes=crashes)

    def catalog_written(self, at: datetime) -> None:
        """Something went into the catalog."""
        self.change(catalog=CatalogNow(written_at=at))

    def catalog_failed(self, at: datetime, error: str) -> None:
        """Something did not."""
        with self._lock:
            now = self._memory.catalog
            since = now.failing_since or at
            now = CatalogNow(now.written_at, failing_since=since, error=error)
            self._memory = replace(self._memory, catalog=now)

    def _count(self, name: str, key: Any) -> None:
        with self._lock:
            counter = Counter(getattr(self._memory, name))
            counter[key] += 1
            changed: dict[str, Any] = {name: dict(counter)}
            self._memory = replace(self._memory, **changed)
