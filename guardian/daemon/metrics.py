"""What Prometheus scrapes: made of a snapshot at each scrape, in a registry of its own.

Names begin with ``guardian_`` and carry base units. Those that the contract names never change.
Times of backups are those of their snapshots: what could be brought back, not when it was packed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from guardian.daemon.health import judge
from guardian.daemon.overview import DatabaseStatus
from guardian.daemon.state import Role, ServerNow, Snapshot
from guardian.daemon.work import Kind
from guardian.escalate.model import Severity
from guardian.watch.locks import LockGraph
from guardian.watch.outage import Availability
from guardian.watch.readings import Unit

Metric = GaugeMetricFamily | CounterMetricFamily
_DATABASE = ("server", "database")
_VITALS = {
    Unit.PERCENT: ("ratio", 0.01),
    Unit.SECONDS: ("seconds", 1.0),
    Unit.BYTES: ("bytes", 1.0),
    Unit.COUNT: ("count", 1.0),
    Unit.INTERVALS: ("intervals", 1.0),
}


class Metrics:
    """All of them. ``snapshot`` is asked at each scrape; from any thread."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SnapshotCollector(snapshot))
        ProcessCollector(namespace="guardian", registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text that suits a request's Accept header, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Make them all."""
        snapshot = self._snapshot()
        yield from _daemon(snapshot)
        yield from _backups(snapshot.memory.databases)
        yield from _drills(snapshot)
        yield from _tasks(snapshot)
        yield from _servers(snapshot)
        yield from _sessions(snapshot.memory.servers.values())
        yield from _vitals(snapshot.memory.servers.values())
        yield from _incidents(snapshot)
        yield from _jobs(snapshot)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the moment."""
        return ()


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    memory = snapshot.memory
    yield _one("guardian_build_info", "Always 1; its label says which version.",
               1, version=memory.version)  # fmt: skip
    yield _one("guardian_active", "1 for the active process, 0 for a standby.",
               memory.role is Role.ACTIVE)  # fmt: skip
    yield _one("guardian_healthy", "1 when /health says so.", judge(snapshot).healthy)
    yield _one("guardian_started_timestamp_seconds", "When the process started.",
               memory.started_at.timestamp())  # fmt: skip
    yield _one("guardian_catalog_up", "1 when the catalog could be written at last.",
               memory.catalog.failing_since is None)  # fmt: skip
    yield _one("guardian_config_valid", "0 when the file could not be loaded again.",
               memory.config.problem is None)  # fmt: skip
    yield _one("guardian_config_loaded_timestamp_seconds", "When the configuration was read.",
               memory.config.loaded_at.timestamp())  # fmt: skip


def _backups(databases: Iterable[DatabaseStatus]) -> Iterator[Metric]:
    success = _gauge(
        "guardian_backup_last_success_timestamp_seconds",
        "The instant that the last backup shows.", _DATABASE)  # fmt: skip
    proven = _gauge(
        "guardian_backup_last_proven_timestamp_seconds",
        "The instant that the last proven backup shows.", _DATABASE)  # fmt: skip
    stored = _gauge("guardian_backup_stored_bytes", "Of the last backup, in one store.", _DATABASE)
    dumped = _gauge("guardian_backup_dumped_bytes", "Of the last backup, plain.", _DATABASE)
    seconds = _gauge("guardian_backup_duration_seconds", "Of the last backup.", _DATABASE)
    failures = _gauge(
        "guardian_backup_consecutive_failures",
        "Failed tries since the last that succeeded.", _DATABASE)  # fmt: skip
    count = _gauge("guardian_backups", "Backups that lie in a store.", _DATABASE)
    overdue = _gauge("guardian_backup_overdue", "1 when the schedule was missed.", _DATABASE)
    following = _gauge(
        "guardian_backup_next_timestamp_seconds", "When the schedule is due next.",
        _DATABASE)  # fmt: skip
    for one in databases:
        labels = [one.ref.server, one.ref.database]
        failures.add_metric(labels, one.consecutive_failures)
        count.add_metric(labels, one.backups)
        overdue.add_metric(labels, one.overdue)
        _add(following, labels, _timestamp(one.next_at))
        if one.last is not None:
            _add(success, labels, _timestamp(one.last.snapshot_at))
            stored.add_metric(labels, one.last.stored_bytes)
            dumped.add_metric(labels, one.last.dumped_bytes)
            if one.last.finished_at is not None:
                took = one.last.finished_at - one.last.started_at
                seconds.add_metric(labels, took.total_seconds())
        if one.last_proven is not None:
            _add(proven, labels, _timestamp(one.last_proven.snapshot_at))
    yield from (success, proven, stored, dumped, seconds, failures, count, overdue, following)


def _drills(snapshot: Snapshot) -> Iterator[Metric]:
    ended = _gauge("guardian_drill_last_timestamp_seconds", "When it ended.", _DATABASE)
    seconds = _gauge("guardian_drill_duration_seconds", "All of the last drill.", _DATABASE)
    restore = _gauge(
        "guardian_drill_restore_seconds", "What the restore itself took.", _DATABASE)  # fmt: skip
    passed = _gauge(
        "guardian_drill_proven", "1 when the last drill proved the backup.", _DATABASE)  # fmt: skip
    for ref, proof in snapshot.memory.drills.items():
        labels = [ref.server, ref.database]
        ended.add_metric(labels, proof.at.timestamp())
        seconds.add_metric(labels, proof.seconds)
        restore.add_metric(labels, proof.restore_seconds)
        passed.add_metric(labels, proof.proven is True)
    yield from (ended, seconds, restore, passed)


def _tasks(snapshot: Snapshot) -> Iterator[Metric]:
    done = CounterMetricFamily(
        "guardian_tasks_total", "Backups, drills and prunes that have ended.",
        labels=("kind", "server", "database", "result"))  # fmt: skip
    for key, count in snapshot.memory.tasks_done.items():
        done.add_metric(list(key), count)
    yield done
    at_hand = _gauge("guardian_tasks", "Tasks at hand.", ("kind", "state"))
    found = Counter(
        (one.task.kind, "waiting" if one.started_at is None else "running")
        for one in snapshot.tasks
    )
    for kind in Kind:
        for state in ("running", "waiting"):
            at_hand.add_metric([kind, state], found[kind, state])
    yield at_hand


def _servers(snapshot: Snapshot) -> Iterator[Metric]:
    up = _gauge("guardian_server_up", "1 when the server lets us in and answers.", ("server",))
    seconds = _gauge("guardian_server_probe_seconds", "The latest good probe.", ("server",))
    for server in snapshot.memory.servers.values():
        if server.outage.availability is not Availability.UNKNOWN:
            up.add_metric([server.name], server.outage.availability is not Availability.DOWN)
        _add(seconds, [server.name], server.outage.latency_seconds)
    yield from (up, seconds)
    up = _gauge("guardian_probe_up", "1 when the probed thing is well.", ("probe", "kind"))
    seconds = _gauge("guardian_probe_seconds", "The latest good probe.", ("probe", "kind"))
    for probe in snapshot.memory.probes.values():
        labels = [probe.name, probe.kind]
        if probe.outage.availability is not Availability.UNKNOWN:
            up.add_metric(labels, probe.outage.availability is not Availability.DOWN)
        _add(seconds, labels, probe.outage.latency_seconds)
    yield from (up, seconds)


def _sessions(servers: Iterable[ServerNow]) -> Iterator[Metric]:
    sessions = _gauge("guardian_sessions", "Client sessions by state.", ("server", "state"))
    blocked = _gauge("guardian_sessions_blocked", "Sessions that wait for another.", ("server",))
    oldest = _gauge(
        "guardian_transaction_oldest_seconds", "The oldest open transaction.",
        ("server",))  # fmt: skip
    looked = _gauge(
        "guardian_watch_last_look_timestamp_seconds", "The latest look at the sessions.",
        ("server",))  # fmt: skip
    for server in servers:
        look = server.observation
        if look is None or server.looked_at is None:
            continue
        looked.add_metric([server.name], server.looked_at.timestamp())
        if server.watch_error is not None:
            continue  # what was seen once is no measure of now
        clients = [one for one in look.sessions if one.backend_type == "client backend"]
        states = Counter(one.state or "unknown" for one in clients)
        for state, count in sorted(states.items()):
            sessions.add_metric([server.name, state], count)
        graph = LockGraph(look)
        blocked.add_metric([server.name], sum(graph.is_waiting(one.pid) for one in clients))
        ages = [one.transaction_seconds(look.at) or 0.0 for one in clients]
        oldest.add_metric([server.name], max(ages, default=0.0))
    yield from (sessions, blocked, oldest, looked)


def _vitals(servers: Iterable[ServerNow]) -> Iterator[Metric]:
    labels = ("server", "vital", "subject")
    values = {
        unit: _gauge(f"guardian_vital_{suffix}", "A vital sign.", labels)
        for unit, (suffix, _) in _VITALS.items()
    }
    rank = _gauge(
        "guardian_vital_severity", "0 fine, 1 unknown, 2 warning, 3 critical.",
        ("server", "vital"))  # fmt: skip
    for server in servers:
        worst: dict[str, int] = {}
        for one in {(one.vital, one.subject): one for one in server.vitals}.values():
            worst[one.vital] = max(worst.get(one.vital, 0), one.severity.rank)
            if one.value is not None and one.unit is not None:
                key = [server.name, one.vital, one.subject or ""]
                values[one.unit].add_metric(key, one.value * _VITALS[one.unit][1])
        for vital, severity in worst.items():
            rank.add_metric([server.name, vital], severity)
    yield from values.values()
    yield rank


def _incidents(snapshot: Snapshot) -> Iterator[Metric]:
    memory = snapshot.memory
    found = _gauge("guardian_incidents_open", "Incidents that are not resolved.", ("severity",))
    counted = Counter(one.severity for one in memory.incidents)
    for severity in Severity:
        found.add_metric([severity], counted[severity])
    yield found
    yield _one("guardian_messages_waiting", "Messages not delivered yet.", memory.outstanding)
    up = _gauge("guardian_channel_up", "1 when the channel took its latest message.", ("channel",))
    for channel in memory.channels:
        up.add_metric([channel.name], channel.failing_since is None)
    yield up
    beat = _gauge(
        "guardian_heartbeat_last_timestamp_seconds", "When a dead man's switch last heard from us.",
        ("heartbeat",))  # fmt: skip
    for name, at in memory.heartbeats.items():
        beat.add_metric([name], at.timestamp())
    yield beat
    kills = CounterMetricFamily(
        "guardian_kills_total", "Signals sent, refused, or only decided on (would).",
        labels=("server", "policy", "action", "outcome"))  # fmt: skip
    for key, count in memory.kills.items():
        kills.add_metric(list(key), count)
    yield kills


def _jobs(snapshot: Snapshot) -> Iterator[Metric]:
    ran = _gauge("guardian_job_last_run_timestamp_seconds", "When its last run ended.", ("job",))
    failures = _gauge("guardian_job_consecutive_failures", "Failed runs in a row.", ("job",))
    stuck = _gauge("guardian_job_stuck", "1 when a run takes far too long.", ("job",))
    runs = CounterMetricFamily("guardian_job_runs_total", "Runs.", labels=("job",))
    for job in snapshot.jobs:
        _add(ran, [job.name], _timestamp(job.last_ended_at))
        failures.add_metric([job.name], job.failures)
        stuck.add_metric([job.name], job.stuck)
        runs.add_metric([job.name], job.runs)
    crashes = CounterMetricFamily("guardian_crashes_total", "Unexpected errors.", labels=("job",))
    for name, crash in snapshot.memory.crashes.items():
        crashes.add_metric([name], crash.count)
    yield from (ran, failures, stuck, runs, crashes)


def _gauge(name: str, text: str, labels: Iterable[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=tuple(labels))


def _one(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = _gauge(name, text, labels)
    family.add_metric(list(labels.values()), value)
    return family


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
